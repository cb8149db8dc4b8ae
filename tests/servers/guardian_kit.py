"""What the tests of the guardian share: a console that can be killed, and the truth from outside.

The console is a real process (`guardian_player`), and its guardian the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from console.audit.processes import is_alive, process_start
from console.config.paths import XdgPaths
from console.config.schema import Bouncer, Inventory
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from console.operations.lease.base import Cover, LeaseOrder
from console.operations.lease.protocol import Limits
from console.operations.lease.store import LeasePhase, LeaseRecord, LeaseStore
from console.operations.observe import observe
from console.operations.resume import resume_statements
from console.operations.sessions import IDENTITY_KEYS
from console.operations.spec import Ask, Parameters
from console.operations.target import Target
from console.poolers.connect import PoolerConnector
from console.poolers.dialects import dialect_for
from tests.servers.operations_kit import is_paused, until

LIMIT_S = 20.0
"""For what must come; generous, since the machine may be busy."""
QUICK = Limits(silence_s=30.0, retry_s=60.0, poll_s=0.1, arm_s=15.0)
"""Looks often; the silence is for tests that stop the console to set."""
IMPATIENT = Limits(silence_s=3.0, retry_s=60.0, poll_s=0.1, arm_s=15.0)
RARELY = Limits(silence_s=30.0, retry_s=60.0, poll_s=3600.0, arm_s=15.0)
"""Looks only when it is told that a target is held."""


def bouncer_entry(server: PgBouncerServer, name: str = "edge", **more: Any) -> Bouncer:
    """Return a server as the inventory has it."""
    fields = {
        "name": name,
        "tcp": f"{server.host}:{server.port}",
        "sslmode": "disable",
        "admin_user": ADMIN,
        "monitor_user": MONITOR,
        "connect_timeout_s": 2.0,
        "query_timeout_s": 2.0,
    }
    return Bouncer.model_validate({**fields, **more})


def inventory_of(*bouncers: Bouncer) -> Inventory:
    """Return a fleet of them."""
    return Inventory(fleet="test", environment="development", bouncers=bouncers)


def write_passwords(server: PgBouncerServer) -> None:
    """Put the passwords of the lab's roles where console and guardian look for them."""
    file = Path(os.environ["HOME"]) / ".pgpass"
    roles = (ADMIN, MONITOR)
    file.write_text("".join(f"*:*:*:{role}:{server.secrets.password(role)}\n" for role in roles))
    file.chmod(0o600)


def parse_target(text: str) -> Target:
    """Read `edge` or `edge/app`."""
    bouncer, _, database = text.partition("/")
    return Target(bouncer, database or None)


async def cover_of(connector: PoolerConnector, target: Target) -> Cover:
    """Return the cover of a target as a plan makes it."""
    dialect = dialect_for("pgbouncer")
    session = await connector.writer(target.bouncer)
    try:
        seen = await observe(session, dialect, target.bouncer, timeout_s=5, prober=session)
    finally:
        await session.close()
    return Cover(
        target,
        resume_statements(Ask(target, seen, Parameters(), dialect)),
        str(seen.version),
        {key: seen.config[key].value or "" for key in IDENTITY_KEYS if key in seen.config},
    )


def order_of(
    covers: Sequence[Cover], lease_id: str, *, drain_s: float = 60, hold_s: float = 60
) -> LeaseOrder:
    """Return an order such as a pause makes."""
    return LeaseOrder(
        lease_id=lease_id,
        run_id="0123456789abcdef",
        op="pause",
        plan_hash="f" * 64,
        fleet="test",
        title="PAUSE edge",
        reason=None,
        covers=tuple(covers),
        drain_s=drain_s,
        hold_s=hold_s,
    )


@dataclass
class Wish:
    """What a console is to arm."""

    targets: Sequence[str]
    limits: Limits = QUICK
    drain_s: float = 60.0
    hold_s: float = 60.0


class Console:
    """A console process in the hand of a test. `start`, `arm`, then step by step."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.told: list[str] = []
        """What the guardian told of targets."""
        self.lease_id = secrets.token_hex(8)
        self.guardian: int = 0
        self._guardian_start: str | None = None
        self._process: Process | None = None
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.servers.guardian_player", stdin=PIPE, stdout=PIPE, limit=1 << 20
        )
        self._reader = asyncio.create_task(self._read())
        self._write(self.inventory.model_dump(mode="json"))

    async def arm(self, *targets: str, **more: Any) -> dict[str, Any]:
        """Arm a lease and return what came of it: `uncovered`, `notes`, or `error`."""
        wish = Wish(targets, **more)
        limits = asdict(wish.limits)
        answer = await self._do(
            "arm",
            targets=list(wish.targets),
            limits=limits,
            drain_s=wish.drain_s,
            hold_s=wish.hold_s,
            lease_id=self.lease_id,
        )
        self.guardian = answer.get("guardian", 0)
        self._guardian_start = process_start(self.guardian) if self.guardian else None
        return answer

    async def pause(self, *targets: str) -> None:
        """Expose and send PAUSE to all; it is on its way when this returns."""
        for target in targets:
            await self._do("expose", targets=[target])
            await self._do("pause", targets=[target])

    async def hold(self, *targets: str) -> None:
        """Pause, wait until all are drained, and tell the guardian."""
        await self.pause(*targets)
        for target in targets:
            await self._do("drained", targets=[target])
        await self._do("held", targets=list(targets))

    async def do(self, word: str, *targets: str, **more: Any) -> dict[str, Any]:
        """Have it do one thing; its answer has `error` when it could not."""
        return await self._do(word, targets=list(targets), **more)

    def signal(self, number: int) -> None:
        """Send it a signal; SIGKILL is what most tests are about."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """Kill it and wait until it is dead."""
        assert self._process is not None
        if self._process.returncode is None:
            self.signal(signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            await self._process.wait()

    @property
    def guardian_alive(self) -> bool:
        """Whether its guardian runs."""
        return bool(self.guardian) and is_alive(self.guardian, self._guardian_start)

    async def guardian_over(self, limit_s: float = LIMIT_S) -> None:
        """Wait until its guardian has ended."""
        await until(lambda: not self.guardian_alive, limit_s)

    async def until_told(self, text: str) -> None:
        """Wait until the guardian has told something of this kind."""
        await until(lambda: any(text in line for line in self.told), LIMIT_S)

    async def end(self) -> None:
        """End everything of it; whatever it held is for the servers' end to clear."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
        await self.kill()
        if self.guardian_alive:
            os.kill(self.guardian, signal.SIGKILL)
        if self._reader is not None:
            await self._reader
        self._process._transport.close()  # type: ignore[attr-defined]

    async def _do(self, word: str, **fields: Any) -> dict[str, Any]:
        self._write({"do": word, **fields})
        async with asyncio.timeout(LIMIT_S * 2):
            return await self._answers.get()

    def _write(self, values: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            values = json.loads(line)
            if "told" in values:
                self.told.append(values["told"])
            else:
                self._answers.put_nowait(values)


class Scene:
    """Servers by their inventory name, consoles, and what is on record."""

    def __init__(self) -> None:
        self.servers: dict[str, PgBouncerServer] = {}
        self.consoles: list[Console] = []

    async def console(self, inventory: Inventory | None = None) -> Console:
        """Start a console on these servers."""
        for server in self.servers.values():
            write_passwords(server)
        found = inventory or inventory_of(*(bouncer_entry(s, name) for name, s in self.servers.items()))
        console = Console(found)
        self.consoles.append(console)
        await console.start()
        return console

    async def end(self) -> None:
        """End every console and guardian; a failed test shows what the guardians wrote."""
        for console in self.consoles:
            await console.end()
        for path in XdgPaths().state.glob("guardian.log"):
            sys.stdout.write(path.read_text())

    def is_paused(self, target: str = "edge") -> bool:
        """Ask the bouncer itself."""
        found = parse_target(target)
        with self.servers[found.bouncer].admin() as console:
            return is_paused(console, found.database)

    async def until_running(self, target: str = "edge", limit_s: float = LIMIT_S) -> None:
        """Wait until it is not paused; a bouncer that is down is neither."""
        await until(lambda: not self._paused_or_down(target), limit_s)

    def _paused_or_down(self, target: str) -> bool:
        try:
            return self.is_paused(target)
        except psycopg.OperationalError:
            return True

    @property
    def leases(self) -> tuple[LeaseRecord, ...]:
        """What the lease files say."""
        return LeaseStore(XdgPaths().state).list_leases()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The journal's records."""
        path = XdgPaths().state / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def until_phase(self, *phases: LeasePhase) -> None:
        """Wait until the only lease file tells these phases of its targets."""
        await until(
            lambda: [[one.phase for one in lease.targets] for lease in self.leases] == [list(phases)], LIMIT_S
        )

    def outcome(self, target: str = "edge") -> dict[str, Any]:
        """The last outcome on record of a target."""
        found = [one for one in self.records if one["kind"] == "outcome" and one["target"] == target]
        assert found, self.records
        return found[-1]

    def sent(self, name: str = "edge") -> list[str]:
        """Commands that the bouncer's own log has of anybody, in order; probes of a pause left out."""
        lines = self.servers[name].own_log_path.read_text().splitlines()
        said = [line.partition(" LOG ")[2] for line in lines if line.endswith(" command issued")]
        return [text.split()[0] for text in said if "'pgbouncer'" not in text]

    @property
    def guardian_log(self) -> str:
        """What the guardians wrote."""
        return (XdgPaths().state / "guardian.log").read_text()
