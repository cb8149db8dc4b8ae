"""What tests of reading real servers share: an inventory of them, a running collector, load by pgbench."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from console.clock import SystemClock
from console.config.schema import Inventory
from console.fleet.collector import FleetCollector
from console.fleet.polling import PollBudget
from console.fleet.store import FleetStore
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PACKAGE
from console.lab.secrets import MONITOR, Secrets
from console.lab.server import program
from console.model.fleet import FleetSnapshot, Fresh, PoolerSnapshot
from console.poolers.connect import PoolerConnector
from console.postgres.connect import PostgresConnector
from console.transport.ssh import SshTransport

QUICK = PollBudget(
    tick_s=0.2,
    stats_s=0.6,
    postgres_s=0.5,
    knock_s=0.4,
    slow_after_s=0.4,
    backoff_first_s=0.2,
    backoff_limit_s=0.5,
)
LIMIT_S = 20.0


class LabPasswords:
    """Passwords of the lab's roles, or one that is wrong."""

    def __init__(self, secrets: Secrets, *, wrong: bool = False) -> None:
        self._secrets = secrets
        self._wrong = wrong

    async def password(self, source: str | None, *, user: str, **_: Any) -> SecretStr:
        assert source is None
        return SecretStr("not the password" if self._wrong else self._secrets.password(user))


def inventory_of(ports: Mapping[str, int], *, limit_s: float = 1.0) -> Inventory:
    """Return a fleet of bouncers on loopback by name."""
    return Inventory.model_validate(
        {
            "fleet": "test",
            "environment": "development",
            "defaults": {"connect_timeout_s": limit_s, "query_timeout_s": limit_s},
            "bouncers": [
                {"name": name, "tcp": f"127.0.0.1:{port}", "monitor_user": MONITOR, "sslmode": "disable"}
                for name, port in ports.items()
            ],
        }
    )


class Watched:
    """A running collector and the snapshots it made."""

    def __init__(self, collector: FleetCollector, store: FleetStore) -> None:
        self.collector = collector
        self.store = store
        self.seen: list[FleetSnapshot] = []
        store.subscribe(self.seen.append)

    async def until(
        self, name: str, holds: Callable[[PoolerSnapshot], bool], limit_s: float = LIMIT_S
    ) -> PoolerSnapshot:
        """Return the first snapshot of a pooler from now on that is as wanted."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    found = (await self.store.next_after(self.store.generation, limit_s)).by_name[name]
                    if holds(found):
                        return found
        except TimeoutError:
            last = self.store.latest.by_name[name] if self.store.latest else None
            raise AssertionError(f"not within {limit_s:g} s; last seen: {last}") from None

    def past(self, name: str, since: int = 0) -> list[PoolerSnapshot]:
        """Return what was seen of a pooler from generation `since` on."""
        return [fleet.by_name[name] for fleet in self.seen if fleet.generation >= since]


@asynccontextmanager
async def watching(
    inventory: Inventory, secrets: Secrets, folder: Path, *, wrong_password: bool = False
) -> AsyncIterator[Watched]:
    """Run a collector on real servers."""
    clock, store = SystemClock(), FleetStore()
    transport = SshTransport(inventory.hosts, clock=clock, runtime_dir=folder)
    passwords = LabPasswords(secrets, wrong=wrong_password)
    collector = FleetCollector(
        inventory,
        PoolerConnector(inventory, transport, passwords),
        PostgresConnector(inventory, transport, passwords),
        store,
        clock,
        budget=QUICK,
    )
    try:
        async with collector:
            yield Watched(collector, store)
    finally:
        await transport.close()


def fresh(pooler: PoolerSnapshot) -> bool:
    """Say whether the last tick was answered."""
    return isinstance(pooler.freshness, Fresh)


@contextmanager
def pgbench(
    server: PgBouncerServer, folder: Path, *, per_s: int = 200, database: str = "app"
) -> Iterator[None]:
    """Send transactions of one query through a bouncer, `per_s` a second."""
    script, pgpass = folder / "one.sql", folder / "load-pgpass"
    script.write_text("SELECT 1;\n")
    pgpass.touch(mode=0o600)
    pgpass.write_text(server.secrets.pgpass())
    command = [program("pgbench", PACKAGE), "-n", "-f", script, "-c", "4", "-R", str(per_s), "-T", "60"]
    environment = {
        **os.environ,
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": "app",
        "PGDATABASE": database,
        "PGPASSFILE": str(pgpass),
    }
    process = subprocess.Popen(
        [*map(str, command)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)
