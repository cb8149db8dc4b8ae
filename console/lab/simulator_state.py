"""One simulated PgBouncer: pools that move with time, and what its console answers. No IO.

A simulator, for scale only: numbers are made up, they follow from the seed and the tick, and PAUSE is
complete at once. What a real pooler does is tested on real ones. Answers are encoded once a tick.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from console.lab.simulator_columns import HEADERS
from console.lab.simulator_wire import Refused, command_complete, data_rows, row_description

ADMIN_USER: Final = "admin"
MONITOR_USER: Final = "monitor"
POOL_SIZE: Final = 20
_COMMAND: Final = re.compile(r'^\s*(\w+)(?:\s+("(?:[^"]|"")*"|\w+))?\s*;?\s*$')
_WAVE_TICKS: Final = 60
_CONFIG: Final = {
    "admin_users": ADMIN_USER,
    "auth_type": "trust",
    "default_pool_size": str(POOL_SIZE),
    "listen_addr": "127.0.0.1",
    "max_client_conn": "1000",
    "max_db_connections": "0",
    "min_pool_size": "0",
    "pool_mode": "transaction",
    "query_wait_timeout": "120",
    "reserve_pool_size": "0",
    "server_lifetime": "3600",
    "stats_period": "60",
    "stats_users": MONITOR_USER,
}
Row = list[str | None]


@dataclass(frozen=True, slots=True)
class SimulatedPool:
    """What does not change about a pool; everything else follows from the tick."""

    database: str
    user: str
    clients: int
    xact_per_tick: int
    phase: float

    def wave(self, tick: int) -> float:
        """Return where the pool's load stands, 0.0 to 1.0."""
        return (1 + math.sin(self.phase + 2 * math.pi * tick / _WAVE_TICKS)) / 2

    def transactions(self, tick: int) -> int:
        """Return how many ended up to `tick`: never falls, and moves between half and one and a half."""
        swing = self.xact_per_tick * _WAVE_TICKS / (4 * math.pi)
        return int(self.xact_per_tick * (tick + 1) + swing * (1 - math.cos(2 * math.pi * tick / _WAVE_TICKS)))


class SimulatedBouncer:
    """See `console.lab.simulator_wire.Console`.

    Args:
        name: of the bouncer; with `seed` it decides its numbers.
        version: one of `simulator_columns.VERSIONS`.
        pools: how many pools, two users a database.
        clients: rows of SHOW CLIENTS.
        ticks: returns the current tick, a number that never falls.
    """

    def __init__(
        self, name: str, version: str, *, pools: int, clients: int, seed: int, ticks: Callable[[], int]
    ) -> None:
        dice = random.Random(f"{seed}/{name}")
        self.name = name
        self.version = version
        self._ticks = ticks
        self._clients = clients
        self._headers = {what: row_description(header) for what, header in HEADERS[version].items()}
        self._pools = [
            SimulatedPool(
                f"app{number // 2}",
                ("app", "batch")[number % 2],
                dice.randrange(5, 60),
                dice.randrange(5, 400),
                dice.random() * 2 * math.pi,
            )
            for number in range(pools)
        ]
        self._databases = sorted({pool.database for pool in self._pools})
        self._paused_since: int | None = None
        self._paused_databases: dict[str, int] = {}
        self._ticks_lost = 0
        self._cache: dict[str, tuple[tuple[int, int], bytes]] = {}
        self._changes = 0

    def may_log_in(self, user: str) -> bool:
        """See `Console`."""
        return user in (ADMIN_USER, MONITOR_USER)

    def answer(self, statement: str, user: str) -> bytes:
        """See `Console`."""
        found = _COMMAND.match(statement)
        word = found[1].upper() if found else ""
        if found is None or word not in ("SHOW", "PAUSE", "RESUME", "RELOAD"):
            raise Refused(f"invalid command '{statement}', use SHOW HELP;")
        argument = found[2] or ""
        if argument.startswith('"'):
            argument = argument[1:-1].replace('""', '"')
        if word == "SHOW":
            return self._show(argument.upper(), statement)
        if user != ADMIN_USER:
            raise Refused("admin access needed")
        self._changes += 1
        if word != "RELOAD":
            (self._pause if word == "PAUSE" else self._resume)(argument or None)
        return command_complete(word)

    def _show(self, what: str, statement: str) -> bytes:
        header = self._headers.get(what)
        if header is None:
            raise Refused(f"invalid command '{statement}', use SHOW HELP;")
        state = (self._ticks(), self._changes)
        kept = self._cache.get(what)
        if kept is not None and (kept[0] == state or what == "CLIENTS"):
            return kept[1]
        rows: Iterator[Row] = getattr(self, f"_rows_{what.lower()}")(state[0])
        encoded = header + data_rows(rows) + command_complete("SHOW")
        self._cache[what] = (state, encoded)
        return encoded

    def _pause(self, database: str | None) -> None:
        tick = self._ticks()
        if self._paused_since is not None:
            raise Refused("already paused" if self.version >= "1.26" else "already suspended/paused")
        if database is None:
            self._paused_since = tick
            return
        if database == "pgbouncer":
            raise Refused("cannot pause admin db: pgbouncer")
        if database not in self._databases:
            raise Refused(f"no such database: {database}")
        self._paused_databases.setdefault(database, tick)

    def _resume(self, database: str | None) -> None:
        tick = self._ticks()
        if database is not None:
            if database not in self._paused_databases:
                raise Refused(f"database {database} is not paused")
            del self._paused_databases[database]
            return
        if self._paused_since is None:
            tail = "paused" if self.version >= "1.26" else "paused/suspended"
            raise Refused(f"pooler is not {tail}")
        self._ticks_lost += tick - self._paused_since
        self._paused_since = None

    def _busy_ticks(self, tick: int) -> int:
        """Return how many ticks transactions ran: a pause stands still."""
        return (tick if self._paused_since is None else self._paused_since) - self._ticks_lost

    def _counts(self, pool: SimulatedPool, tick: int) -> dict[str, int]:
        since = self._paused_databases.get(pool.database, self._paused_since)
        if since is not None:
            return {"cl_waiting": pool.clients, "maxwait": tick - since, "maxwait_us": 250_000}
        wanted = int(pool.clients * pool.wave(tick))
        waiting = max(0, wanted - POOL_SIZE)
        active = min(wanted, POOL_SIZE)
        return {
            "cl_active": pool.clients - waiting,
            "cl_waiting": waiting,
            "sv_active": active,
            "sv_idle": min(5, POOL_SIZE - active),
            "maxwait_us": waiting * 9_731,
        }

    def _filled(self, what: str, values: dict[str, str | None]) -> Row:
        """Lay `values` out in this version's order; numbers not told are 0, texts NULL."""
        return [values.get(name, None if oid == 25 else "0") for name, oid in HEADERS[self.version][what]]

    def _rows_version(self, _tick: int) -> Iterator[Row]:
        yield [f"PgBouncer {self.version}"]

    def _rows_state(self, _tick: int) -> Iterator[Row]:
        paused = self._paused_since is not None
        yield ["active", "no" if paused else "yes"]
        yield ["paused", "yes" if paused else "no"]
        if self.version < "1.26":
            yield ["suspended", "no"]

    def _rows_pools(self, tick: int) -> Iterator[Row]:
        for pool in self._pools:
            counts = {name: str(number) for name, number in self._counts(pool, tick).items()}
            own = {"database": pool.database, "user": pool.user, "pool_mode": "transaction"}
            yield self._filled("POOLS", {**own, **counts})
        console = {"database": "pgbouncer", "user": "pgbouncer", "cl_active": "1", "pool_mode": "statement"}
        yield self._filled("POOLS", {**console})

    def _rows_databases(self, tick: int) -> Iterator[Row]:
        servers: dict[str, int] = dict.fromkeys(self._databases, 0)
        for pool in self._pools:
            counts = self._counts(pool, tick)
            servers[pool.database] += counts.get("sv_active", 0) + counts.get("sv_idle", 0)
        common = {"host": "127.0.0.1", "port": "5432", "server_lifetime": "3600"}
        for name in self._databases:
            own = {
                "name": name,
                "database": name,
                "pool_size": str(POOL_SIZE),
                "current_connections": str(servers[name]),
                "paused": str(int(name in self._paused_databases)),
            }
            yield self._filled("DATABASES", {**common, **own})
        console = {"name": "pgbouncer", "database": "pgbouncer", "force_user": "pgbouncer"}
        yield self._filled(
            "DATABASES", {**common, **console, "host": None, "pool_size": "2", "pool_mode": "statement"}
        )

    def _rows_lists(self, tick: int) -> Iterator[Row]:
        counts = [self._counts(pool, tick) for pool in self._pools]
        numbers = {
            "databases": len(self._databases) + 1,
            "users": 5,
            **({"peers": 0} if self.version >= "1.24" else {}),
            "pools": len(self._pools) + 1,
            **({"peer_pools": 0} if self.version >= "1.24" else {}),
            "free_clients": 100,
            "used_clients": sum(pool.clients for pool in self._pools) + 1,
            "login_clients": 0,
            "free_servers": 50,
            "used_servers": sum(count.get("sv_active", 0) + count.get("sv_idle", 0) for count in counts),
            "dns_names": 0,
            "dns_zones": 0,
            "dns_queries": 0,
            "dns_pending": 0,
        }
        for name, number in numbers.items():
            yield [name, str(number)]

    def _rows_stats(self, tick: int) -> Iterator[Row]:
        busy = self._busy_ticks(tick)
        for database in self._databases:
            done = sum(pool.transactions(busy) for pool in self._pools if pool.database == database)
            totals = {
                "xact_count": done,
                "server_assignment_count": done,
                "query_count": done * 3,
                "received": done * 420,
                "sent": done * 2_100,
                "xact_time": done * 4_200,
                "query_time": done * 2_900,
                "wait_time": done * 150,
            }
            named: dict[str, str | None] = {f"total_{name}": str(value) for name, value in totals.items()}
            yield self._filled("STATS", {"database": database, **named})

    def _rows_users(self, _tick: int) -> Iterator[Row]:
        empty: dict[str, str | None] = {}
        if self.version >= "1.24":
            empty = {"pool_size": "", "reserve_pool_size": ""}
        for name in (ADMIN_USER, "app", "batch", MONITOR_USER, "pgbouncer"):
            yield self._filled("USERS", {"name": name, **empty})

    def _rows_config(self, _tick: int) -> Iterator[Row]:
        for key, value in _CONFIG.items():
            yield [key, value, value, "no" if key == "listen_addr" else "yes"]

    def _peer(self, what: str, number: int, database: str, user: str, state: str) -> Row:
        values = {
            "type": what[0],
            "user": user,
            "database": database,
            "replication": "none",
            "state": state,
            "addr": "127.0.0.1",
            "port": str(20_000 + number % 40_000),
            "local_addr": "127.0.0.1",
            "local_port": "6432",
            "connect_time": "2026-11-20 12:00:00 UTC",
            "request_time": "2026-11-20 12:00:05 UTC",
            "ptr": f"0x55d{number:09x}",
            "link": f"0x56d{number:09x}" if state == "active" else "",
            "tls": "",
            "application_name": f"worker-{number % 97}",
            "id": str(number),
        }
        return self._filled(what, {**values})

    def _rows_clients(self, _tick: int) -> Iterator[Row]:
        for number in range(self._clients):
            pool = self._pools[number % len(self._pools)]
            yield self._peer("CLIENTS", number, pool.database, pool.user, "active")

    def _rows_servers(self, tick: int) -> Iterator[Row]:
        numbers = count(1)
        for pool in self._pools:
            counts = self._counts(pool, tick)
            for state in ("active", "idle"):
                for _ in range(counts.get(f"sv_{state}", 0)):
                    yield self._peer("SERVERS", next(numbers), pool.database, pool.user, state)
