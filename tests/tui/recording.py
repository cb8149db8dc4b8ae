"""A fixed recording of a fleet in every state, for snapshot tests: the same bytes every time.

Nothing here reads a clock, a network or chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.errors import Phase
from console.model.derive import state_of
from console.model.fleet import (
    Connecting,
    FleetSnapshot,
    Fresh,
    Freshness,
    PoolerInfo,
    PoolerSnapshot,
    PoolerState,
    PostgresReading,
    PostgresSnapshot,
    PostgresState,
    Stale,
    Unreachable,
)
from console.model.rows import Database, PauseState, Pool, Setting
from console.model.sample import DatabaseRates, Reading, Sample
from console.model.version import Version

WALL_S = 1_790_000_000.0
MONOTONIC_S = 1_000.0
FRESH = Fresh(0.2)
RUNS = PauseState(paused=False, suspended=False)
MISSING_118 = {
    "pools.load_balance_hosts": "1.24",
    "databases.max_client_connections": "1.24",
    "state.paused": "1.19",
}


def pool(database: str, user: str, *, step: int = 0, **numbers: int | str | None) -> Pool:
    values: dict[str, int | str | None] = {
        "cl_active": 40 + step % 3,
        "cl_waiting": 0,
        "sv_active": 6,
        "sv_idle": 4,
        "sv_used": 1,
        "sv_tested": 0,
        "sv_login": 0,
        "maxwait_us": 0,
        "pool_mode": "transaction",
        "cl_active_cancel_req": 0,
        "cl_waiting_cancel_req": 0,
        "sv_active_cancel": 0,
        "sv_being_canceled": 0,
        "load_balance_hosts": "round-robin",
    }
    return Pool(database=database, user=user, **(values | numbers))  # type: ignore[arg-type]


def database(name: str, **more: int | str | bool | None) -> Database:
    values: dict[str, int | str | bool | None] = {
        "host": "10.0.0.5",
        "port": 5432,
        "database": name,
        "force_user": None,
        "pool_size": 20,
        "pool_mode": None,
        "max_connections": 0,
        "current_connections": 11,
        "paused": False,
        "disabled": False,
    }
    return Database(name=name, **(values | more))  # type: ignore[arg-type]


def rates(name: str, per_s: float, *, wait_us: float | None = 120.0) -> DatabaseRates:
    return DatabaseRates(
        database=name,
        interval_s=5.0,
        xact_per_s=per_s,
        query_per_s=per_s * 3,
        received_bytes_per_s=per_s * 420,
        sent_bytes_per_s=per_s * 3_100,
        mean_xact_time_us=4_300.0,
        mean_query_time_us=1_240.0 if per_s else None,
        mean_wait_time_us=wait_us if per_s else None,
    )


@dataclass(frozen=True)
class Part:
    """One bouncer of the recording."""

    name: str
    version: str = "1.26.1"
    host: str | None = "gate-1"
    freshness: Freshness = FRESH
    state: PoolerState | None = None
    pause: PauseState = RUNS
    pools: tuple[Pool, ...] = ()
    databases: tuple[Database, ...] = ()
    rates: Mapping[str, DatabaseRates] | None = None
    missing: Mapping[str, str] | None = None
    zone: str = "a"
    read: bool = True
    trend: tuple[float | None, ...] = ()


def pooler(part: Part, step: int) -> PoolerSnapshot:
    sample = None
    if part.read:
        config = {
            "conffile": Setting("conffile", "/etc/pgbouncer/pgbouncer.ini", None, True),
            "default_pool_size": Setting("default_pool_size", "20", "20", True),
            "max_client_conn": Setting("max_client_conn", "5000", "100", True),
            "listen_port": Setting("listen_port", "6432", "6432", False),
        }
        sample = Sample(
            pooler=part.name,
            taken_at_s=WALL_S + step,
            monotonic_s=MONOTONIC_S + step,
            version=Version.parse(part.version),
            state=part.pause,
            pools=part.pools,
            databases=part.databases,
            lists={"databases": len(part.databases), "pools": len(part.pools), "login_clients": 0},
            config=Reading(config, MONOTONIC_S),
            missing=part.missing or {},
            answer_us=850,
        )
    state = part.state or (state_of(sample) if sample else PoolerState.UNREACHABLE)
    index = sum(map(ord, part.name))
    return PoolerSnapshot(
        info=PoolerInfo(part.name, "pgbouncer", part.host, "127.0.0.1:6432", {"zone": part.zone}),
        freshness=part.freshness,
        state=state,
        sample=sample,
        rates=part.rates,
        waiting_trend=part.trend,
        xact_trend=tuple(float((i * 37 + index + step * 7) % 90) for i in range(40)) if part.rates else (),
    )


def parts(step: int) -> tuple[Part, ...]:
    app, report = database("app"), database("reporting", pool_mode="session", pool_size=5)
    pools = (pool("app", "web", step=step), pool("reporting", "analyst", sv_active=2, pool_mode="session"))
    moving = {"app": rates("app", 214.0 + step), "reporting": rates("reporting", 3.1)}
    full = pool("app", "web", cl_active=57, cl_waiting=12, sv_active=20, sv_idle=0, maxwait_us=6_200_000)
    queue = tuple(float(max(0, i - 28)) for i in range(41))
    legacy = pool("app", "web", load_balance_hosts=None, sv_idle=0, sv_used=0)
    huge = pool(
        "analytics_warehouse_production",
        "service_account_for_the_nightly_batch",
        cl_active=48_211,
        cl_waiting=1_930_000,
        sv_active=4_999,
        sv_idle=1,
        maxwait_us=190_000_000,
    )
    return (
        Part("edge-1a", pools=pools, databases=(app, report), rates=moving, trend=(0.0,) * 20),
        Part(
            "edge-1b",
            version="1.24.1",
            pools=(full, pools[1]),
            databases=(app, report),
            rates=moving,
            trend=queue,
        ),
        Part(
            "edge-2a",
            pools=(pool("app", "web", sv_active=0, sv_idle=0, sv_used=0),),
            databases=(app,),
            zone="b",
            pause=PauseState(paused=True, suspended=False),
            rates={"app": rates("app", 0.0)},
        ),
        Part(
            "edge-2b",
            pools=pools,
            databases=(app, database("reporting", paused=True)),
            rates=moving,
            zone="b",
        ),
        Part(
            "lagging-1",
            pools=pools,
            databases=(app, report),
            rates=moving,
            state=PoolerState.STALE,
            freshness=Stale(7.4, Phase.PROTOCOL, "no answer to SHOW POOLS within 5 s"),
        ),
        Part(
            "legacy-118",
            version="1.18.0",
            pools=(legacy,),
            databases=(app,),
            rates={"app": rates("app", 9.4)},
            pause=PauseState(paused=None, suspended=None),
            missing=MISSING_118,
            host=None,
        ),
        Part(
            "far-away-datacentre-bouncer-07",
            pools=(huge,),
            databases=(database("analytics_warehouse_production", pool_size=5_000),),
            rates={"analytics_warehouse_production": rates("x", 1_234_567.0)},
            trend=queue,
        ),
        Part(
            "gone-1",
            pools=pools,
            databases=(app, report),
            rates=moving,
            state=PoolerState.UNREACHABLE,
            freshness=Unreachable(
                Phase.SSH,
                "the host key of gate-3 has changed",
                75.0,
                12.0,
                "compare fingerprints before you accept it",
            ),
        ),
        Part(
            "gone-2",
            read=False,
            state=PoolerState.UNREACHABLE,
            freshness=Unreachable(Phase.CONNECT, "connection refused", None, None),
        ),
        Part("new-1", read=False, state=PoolerState.CONNECTING, freshness=Connecting()),
    )


def postgres_nodes() -> tuple[PostgresSnapshot, ...]:
    primary = PostgresReading(
        version=Version(15, 18, text="PostgreSQL 15.18"),
        in_recovery=False,
        max_connections=100,
        superuser_reserved_connections=3,
        reserved_connections=None,
        backends_by_state={"active": 11, "idle": 68, "idle in transaction": 2},
        replication_lag_s=None,
        replicas=("pg-2",),
    )
    replica = PostgresReading(
        version=Version(16, 4, text="PostgreSQL 16.4"),
        in_recovery=True,
        max_connections=100,
        superuser_reserved_connections=3,
        reserved_connections=2,
        backends_by_state={"active": 1, "idle": 4},
        replication_lag_s=12.5,
    )
    broken = Unreachable(Phase.AUTH, 'password authentication failed for user "monitor"', None, 4.0)
    return (
        PostgresSnapshot("pg-1", "primary", "10.0.0.5:5432", {}, Fresh(0.8), PostgresState.UP, primary),
        PostgresSnapshot("pg-2", "replica", "10.0.0.6:5432", {}, Fresh(0.8), PostgresState.UP, replica),
        PostgresSnapshot("pg-3", "replica", "10.0.0.7:5432", {}, broken, PostgresState.UNREACHABLE, None),
    )


def snapshot(step: int = 0, environment: str = "production") -> FleetSnapshot:
    return FleetSnapshot(
        fleet="shop",
        environment=environment,  # type: ignore[arg-type]
        taken_at_s=WALL_S + step,
        monotonic_s=MONOTONIC_S + step,
        generation=step + 1,
        poolers=tuple(pooler(part, step) for part in parts(step)),
        postgres=postgres_nodes(),
    )


def empty_snapshot() -> FleetSnapshot:
    return FleetSnapshot("shop", "development", WALL_S, MONOTONIC_S, 1, ())
