"""A guardian inside the test's own process: on a fake pooler, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.model.table import ResultTable
from console.operations.lease.base import Cover, LeaseOrder
from console.operations.lease.conversation import GuardianLease
from console.operations.lease.guardian import guard
from console.operations.lease.protocol import Hello, Limits
from console.operations.lease.store import LeaseStore, ProcessMark
from console.operations.lease.ward import Means
from console.operations.target import Target
from console.transport.fake import FakeTransport
from tests.unit.operations.fake_pooler import FakePooler, FakeSession

EDGE = Target("edge")
LIMIT_S = 10.0
PATIENT = Limits(silence_s=1e9, poll_s=0.02)
"""The test moves the clock; the heartbeats of its run go by the machine's."""
_STATS = ("xact_count", "query_count", "received", "sent", "xact_time", "query_time", "wait_time")


class KnowingSession(FakeSession):
    """It knows that it is over, as a real one does."""

    lost: str | None = None


@dataclass
class CountingPooler(FakePooler):
    """It counts what goes between clients and servers."""

    traffic: dict[str, int] = field(default_factory=lambda: {"app": 1000})
    looks: int = 0
    """How often its counters were read."""
    sessions: list[KnowingSession] = field(default_factory=list)

    def _session(self) -> FakeSession:
        super()._session()
        self.sessions.append(KnowingSession(self))
        return self.sessions[-1]

    async def hang_up(self) -> None:
        """End every session; whoever has one knows at once."""
        for session in self.sessions:
            session.lost = "the pooler hung up"
            await session.close()

    def show(self, what: str) -> ResultTable:
        if what != "STATS":
            return super().show(what)
        self.looks += 1
        names = ("database", *(f"total_{word}" for word in _STATS))
        rows = [
            (name, *(str(count if word == "sent" else 0) for word in _STATS))
            for name, count in self.traffic.items()
        ]
        return ResultTable(names, tuple(rows))


def order_for(*targets: Target, drain_s: float = 10.0, hold_s: float = 30.0, op: str = "pause") -> LeaseOrder:
    """Return the order of a run on these."""
    covers = tuple(
        Cover(one, ("RESUME" if one.database is None else f'RESUME "{one.database}"',), "1.24.1", {})
        for one in targets or (EDGE,)
    )
    return LeaseOrder(
        "1ea5e", "a" * 16, op, "f" * 64, "test", "PAUSE edge", "why not", covers, drain_s, hold_s
    )


class MovableClock(SystemClock):
    """The machine's clock, set forward or back by a test."""

    wall_shift_s = 0.0
    shift_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.wall_shift_s

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.shift_s


class NoPasswords:
    """None is asked for by a fake pooler."""

    async def password(self, source: str | None, **who: Any) -> None:  # noqa: ARG002
        raise AssertionError("a fake pooler asks for none")


class Bed:
    """A guardian at the other end of a socket pair. `open`, then be its run."""

    def __init__(self, pooler: FakePooler, folder: Path) -> None:
        self.pooler = pooler
        self.clock = MovableClock()
        self.store = LeaseStore(folder)
        self.journal_path = folder / "journal.jsonl"
        self.actor = Actor.current({})
        self.told: list[tuple[str, str]] = []
        self.over: asyncio.Task[int] | None = None

    async def open(
        self,
        order: LeaseOrder | None = None,
        limits: Limits | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> GuardianLease:
        """Start a guardian and return the lease once it stands by."""
        wanted = order or order_for()
        names = {cover.target.bouncer for cover in wanted.covers}
        inventory = Inventory(
            fleet="test",
            environment="development",
            bouncers=tuple(Bouncer(name=name, tcp="127.0.0.1:1", admin_user="admin") for name in names),
        )
        ours, its = socket.socketpair()
        for end in (ours, its):
            end.setblocking(False)
        journal = Journal(self.journal_path, SystemClock(), self.actor)
        self.over = asyncio.create_task(guard(its, self._means, journal, self.store, self.actor))
        lease = GuardianLease(
            wanted, lambda name, text: self.told.append((name, text)), ours, 0, progress=progress
        )
        hello = Hello(
            wanted,
            inventory.model_dump(mode="json"),
            limits or PATIENT,
            asdict(ProcessMark.of(self.actor)),
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                await lease.begin(hello)
        except BaseException:
            lease.abandon()
            raise
        return lease

    async def ended(self) -> int:
        """Wait until the guardian has ended, and return its exit status."""
        assert self.over is not None
        async with asyncio.timeout(LIMIT_S):
            return await self.over

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The journal's records of a kind, or all."""
        if not self.journal_path.exists():
            return []
        found = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [one for one in found if kind in (None, one["kind"])]

    @asynccontextmanager
    async def _means(self, inventory: Inventory) -> AsyncIterator[Means]:
        yield Means(inventory, self.pooler, FakeTransport(), NoPasswords(), lambda _: None, self.clock)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - the condition is another task's
            await asyncio.sleep(0.005)
