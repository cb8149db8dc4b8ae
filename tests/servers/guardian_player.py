"""A console for the tests of the guardian, run as a module: it does what its test says, one step at a time.

It arms a lease and sends real statements (JSON lines on standard input, answers on standard output), so that
it can be killed or stopped in any state.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from console.audit.actor import Actor
from console.cli.guardian import guardian_command
from console.config.credentials import Credentials
from console.config.paths import XdgPaths
from console.config.schema import Inventory
from console.errors import PooldeckError
from console.operations.lease.base import Cover, Lease
from console.operations.lease.client import GuardianLeases
from console.operations.lease.conversation import GuardianLease
from console.operations.observe import observe, read_paused, read_pools
from console.operations.sessions import WriteSession
from console.poolers.connect import PoolerConnector
from console.poolers.dialects import dialect_for
from tests.servers.guardian_kit import LIMIT_S, QUICK, cover_of, order_of, parse_target
from tests.servers.operations_kit import Direct


class _Player:
    """Does what the test says."""

    def __init__(self, inventory: Inventory) -> None:
        self._connector = PoolerConnector(inventory, Direct(), Credentials())
        self._leases = GuardianLeases(
            inventory,
            guardian_command(),
            XdgPaths().state,
            actor=Actor.current(os.environ),
        )
        self._inventory = inventory
        self._dialect = dialect_for("pgbouncer")
        self._lease: GuardianLease | None = None
        self._covers: dict[str, Cover] = {}
        self._sessions: dict[str, WriteSession] = {}
        self._pausers: dict[str, asyncio.Task[str]] = {}

    @property
    def lease(self) -> Lease:
        assert self._lease is not None
        return self._lease

    async def act(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Do one thing and answer."""
        return await getattr(self, f"do_{wish['do']}")(wish["targets"], wish) or {}

    async def do_learn(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        """Make the covers, for a time when the bouncers cannot be asked."""
        for text in targets:
            self._covers[text] = await cover_of(self._connector, parse_target(text))

    async def do_expose(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        self.lease.expose([parse_target(text) for text in targets])

    async def do_held(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        self.lease.held([parse_target(text) for text in targets])

    async def do_release(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        await self.lease.release([parse_target(text) for text in targets])

    async def do_send(self, targets: Sequence[str], wish: Mapping[str, Any]) -> None:
        session = await self._connector.writer(parse_target(targets[0]).bouncer)
        await session.execute(wish["statement"], 5.0)
        await session.close()

    async def do_hand_over(self, _: Sequence[str], wish: Mapping[str, Any]) -> None:
        await self.lease.hand_over(wish["hold_s"])

    async def do_wait_lost(self, *_: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.lease.lost.wait()

    async def do_lost(self, *_: Any) -> dict[str, Any]:
        return {"lost": self.lease.lost.is_set()}

    async def do_close(self, *_: Any) -> None:
        await self.lease.close()

    async def do_arm(self, _: Sequence[str], wish: Mapping[str, Any]) -> dict[str, Any]:
        for text in wish["targets"]:
            if text not in self._covers:
                self._covers[text] = await cover_of(self._connector, parse_target(text))
        order = order_of(
            [self._covers[text] for text in wish["targets"]],
            wish["lease_id"],
            drain_s=wish["drain_s"],
            hold_s=wish["hold_s"],
        )
        self._leases._limits = replace(QUICK, **wish["limits"])
        self._lease = await self._leases.arm(order, _told, timeout_s=LIMIT_S)
        return {
            "guardian": self._lease.pid,
            "uncovered": {str(target): text for target, text in self._lease.uncovered.items()},
            "notes": list(self._lease.notes),
        }

    async def do_open(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        """Log in for a PAUSE."""
        self._sessions[targets[0]] = await self._connector.writer(parse_target(*targets).bouncer)

    async def do_pause(self, targets: Sequence[str], wish: Mapping[str, Any]) -> None:
        """Send it; what comes of it is not waited for."""
        target = parse_target(*targets)
        if targets[0] not in self._sessions:
            await self.do_open(targets, wish)
        session = self._sessions[targets[0]]
        sending = asyncio.create_task(session.execute(self._dialect.pause(target.database), None))
        self._pausers[str(target)] = sending
        await asyncio.sleep(0)  # it is in the kernel's buffer then

    async def do_drained(self, targets: Sequence[str], _: Mapping[str, Any]) -> None:
        """Wait until it is seen paused and drained."""
        target = parse_target(*targets)
        sending = self._pausers[str(target)]
        async with asyncio.timeout(LIMIT_S):
            assert await sending == "PAUSE"
        watch = await self._connector.writer(target.bouncer)
        seen = await observe(watch, self._dialect, target.bouncer, timeout_s=5, prober=watch)
        pools = await read_pools(watch, self._dialect, timeout_s=5)
        assert not [p for p in pools if p.servers and target.database in (None, p.database)]
        assert await read_paused(watch, self._dialect, seen.version, target, watch, 5)
        await watch.close()


def _told(target: str, text: str) -> None:
    _answer({"told": f"{target}: {text}"})


def _answer(values: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


async def _play() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    player = _Player(Inventory.model_validate(json.loads(await reader.readline())))
    while line := await reader.readline():
        try:
            _answer(await player.act(json.loads(line)))
        except PooldeckError as error:
            _answer({"error": f"{error}; {error.hint or ''}"})


if __name__ == "__main__":
    asyncio.run(_play())
