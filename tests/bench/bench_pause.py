"""Bench (e): 20 bouncers under load, paused and resumed together, beside a bare loop of the same statements.

What is measured is what clients feel: from the first PAUSE on its way to the last RESUME answered. Plan,
intent and guardian come before it, the last reading back and the outcome's record after it; the time before
is said beside. Both contestants log in straight, without SSH, so that only what is done with the connections
differs. Rounds are interleaved, medians compared.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.cli.guardian import guardian_command
from console.clock import SystemClock
from console.config.credentials import Credentials
from console.config.schema import Inventory
from console.guard.verdict import Confirm
from console.lab.fleet import Lab
from console.lab.packages import fetch_pgbouncers
from console.lab.secrets import ADMIN
from console.operations.lease.client import GuardianLeases
from console.operations.outcome import Event, EventKind, Outcome
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.poolers.connect import PoolerConnector
from console.transport.ssh import SshTransport
from tests.bench.table import BenchRow, print_table

BOUNCERS = 20
SLOW = "core-1"
"""The lab's load keeps session-mode clients and long reports on it: a pause would measure those."""
ROUNDS = 7
LOAD_S = 120
RATIO_LIMIT = 1.5
GAP_LIMIT_MS = 50.0
RETRY_AT_ONCE, RETRY_AGAIN = "SET server_login_retry = 0", "SET server_login_retry = 15"
"""Around each RESUME; the second one is not waited for by any client."""


def _straight(lab: Lab) -> Inventory:
    """Return the lab's inventory without SSH, every bouncer by TCP or its socket, but the slow one."""
    inventory = lab.inventory
    bouncers = tuple(
        bouncer.model_copy(update={"host": None}) for bouncer in inventory.bouncers if bouncer.name != SLOW
    )
    return inventory.model_copy(update={"bouncers": bouncers, "postgres": ()})


class Bare:
    """The same statements over psycopg, one connection a bouncer, all asked at once, nothing looked at."""

    def __init__(self, lab: Lab, inventory: Inventory) -> None:
        self._lab = lab
        self._inventory = inventory
        self._connections: list[psycopg.AsyncConnection[Any]] = []

    async def open(self) -> None:
        for bouncer in self._inventory.bouncers:
            server = self._lab.bouncers[bouncer.name]
            tls = f"sslmode={bouncer.sslmode}" if bouncer.sslmode else "sslmode=disable"
            root = f" sslrootcert={bouncer.sslrootcert}" if bouncer.sslrootcert else ""
            host = str(bouncer.unix) if bouncer.unix else bouncer.tcp_host
            self._connections.append(
                await psycopg.AsyncConnection.connect(
                    f"host={host} port={bouncer.listen_port} user={ADMIN} dbname=pgbouncer {tls}{root}",
                    password=server.secrets.password(ADMIN),
                    autocommit=True,
                    prepare_threshold=None,
                )
            )

    async def round(self) -> tuple[float, float]:
        """Return the seconds with the SHOWs that verify, and with the statements alone."""
        taken = []
        for shows in (("POOLS", "STATE"), ()):
            started = time.perf_counter()
            await asyncio.gather(*(self._send(one, "PAUSE", shows) for one in self._connections))
            await asyncio.gather(*map(self._resume, self._connections))
            taken.append(time.perf_counter() - started)
            await asyncio.gather(*(self._send(one, RETRY_AGAIN, ()) for one in self._connections))
            await asyncio.sleep(0.3)
        return taken[0], taken[1]

    async def _resume(self, connection: psycopg.AsyncConnection[Any]) -> None:
        for statement in (RETRY_AT_ONCE, "RESUME"):
            await self._send(connection, statement, ())

    async def _send(
        self, connection: psycopg.AsyncConnection[Any], statement: str, shows: tuple[str, ...]
    ) -> None:
        await connection.execute(statement)
        for what in shows:
            await (await connection.execute(f"SHOW {what}")).fetchall()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()


async def _ours(service: OperationService) -> tuple[float, float, float]:
    """Return the seconds of the pause, the gap between first and last PAUSE, and the seconds before it."""
    begun = time.time()
    plan = await service.plan("pause", "all", hold_s=0)
    verdict = service.judge(plan)
    phrase = verdict.phrase if isinstance(verdict, Confirm) else None
    run = service.submit(plan, service.permit(plan, verdict, phrase))
    events: list[Event] = [event async for event in run.events()]
    receipt = await run.receipt()
    if receipt.outcome is not Outcome.OK:
        raise RuntimeError(f"not all were paused: {[(str(r.target), r.detail) for r in receipt.targets]}")
    sent = [e.at_s for e in events if e.kind is EventKind.SENT and e.text == "→ PAUSE"]
    resumed = [e.at_s for e in events if e.kind is EventKind.ANSWERED and e.text.startswith("← RESUME")]
    if len(sent) != BOUNCERS or len(resumed) != BOUNCERS:
        raise RuntimeError(f"{len(sent)} PAUSE and {len(resumed)} RESUME were told of {BOUNCERS} bouncers")
    return max(resumed) - min(sent), max(sent) - min(sent), min(sent) - begun


async def _measure(lab: Lab, state: Path) -> dict[str, float]:
    inventory = _straight(lab)
    clock = SystemClock()
    actor = Actor.current(os.environ)
    transport = SshTransport(inventory.hosts, clock=clock, runtime_dir=state / "run")
    connector = PoolerConnector(inventory, transport, Credentials())
    leases = GuardianLeases(inventory, guardian_command(), state, actor=actor)
    journal = Journal(state / "journal.jsonl", clock, actor)
    service = OperationService(
        inventory, Reach(connector, leases=leases), journal, clock, read_only=False, actor=actor
    )
    bare = Bare(lab, inventory)
    await bare.open()
    found: dict[str, list[float]] = {"ours": [], "gap": [], "before": [], "bare": [], "bare alone": []}
    try:
        async with service:
            for number in range(ROUNDS + 1):
                ours, gap, before = await _ours(service)
                with_shows, alone = await bare.round()
                if number:
                    found["ours"].append(ours)
                    found["gap"].append(gap)
                    found["before"].append(before)
                    found["bare"].append(with_shows)
                    found["bare alone"].append(alone)
    finally:
        await bare.close()
        await transport.close()
    medians = {name: statistics.median(values) * 1_000 for name, values in found.items()}
    return {**medians, "worst gap": max(found["gap"]) * 1_000}


def run() -> list[BenchRow]:
    """Measure both in one lab."""
    with tempfile.TemporaryDirectory(prefix="pd-bench-", dir="/tmp") as folder:
        state = Path(folder, "state")
        os.environ["XDG_STATE_HOME"] = str(state)
        (state / "pooldeck" / "run").mkdir(parents=True, mode=0o700)
        directory = Path(folder, "lab")
        # The servers run as an unprivileged account, which has to get through.
        Path(folder).chmod(0o711)
        # With SHOW STATE (1.19 and later); every `make bench` fetches these as `make test` does.
        found = fetch_pgbouncers()
        newer = [path for version, path in found.items() if not version.startswith("1.18")]
        lab = Lab.up(directory, bouncers=BOUNCERS + 1, load_s=LOAD_S, pgbouncer=newer)
        try:
            ms = asyncio.run(_measure(lab, state / "pooldeck"))
        finally:
            Lab.down(directory)
    ratio = ms["ours"] / ms["bare"]
    return [
        BenchRow(
            name=f"(e) {BOUNCERS} bouncers paused and resumed, against a bare loop",
            figure=f"{ratio:.2f}",
            limit=f"<= {RATIO_LIMIT}",
            ok=ratio <= RATIO_LIMIT,
            detail=f"ours {ms['ours']:.0f} ms; bare, with the SHOWs that verify {ms['bare']:.0f} ms",
        ),
        BenchRow(
            name="(e) the same against PAUSE and RESUME alone, nothing verified",
            figure=f"{ms['ours'] / ms['bare alone']:.2f}",
            limit="(said beside)",
            ok=True,
            detail=f"bare {ms['bare alone']:.0f} ms; plan, journal, guardian before: {ms['before']:.0f} ms",
        ),
        BenchRow(
            name="(e) gap between the first and the last PAUSE",
            figure=f"{ms['worst gap']:.1f} ms",
            limit=f"<= {GAP_LIMIT_MS:g} ms",
            ok=ms["worst gap"] <= GAP_LIMIT_MS,
            detail=f"the worst of {ROUNDS} rounds; median {ms['gap']:.1f} ms",
        ),
    ]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
