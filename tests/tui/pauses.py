"""A fleet with every disguise of a forgotten pause, and the leases that go with it; always the same."""

from __future__ import annotations

from dataclasses import replace

from console.model.claims import Claim
from console.model.fleet import FleetSnapshot, PoolerSnapshot, PoolerState
from console.model.rows import PauseState, Setting
from console.model.sample import Reading
from tests.tui.recording import (
    MISSING_118,
    MONOTONIC_S,
    RUNS,
    WALL_S,
    Part,
    database,
    pool,
    pooler,
)

PAUSED = PauseState(paused=True, suspended=False)
WAITS = pool(
    "app", "web", sv_active=0, sv_idle=0, sv_used=0, cl_active=0, cl_waiting=41, maxwait_us=64_000_000
)
BUSY = pool("app", "web", sv_active=3, sv_idle=0, sv_used=0, cl_waiting=38, maxwait_us=2_000_000)
APP = database("app")


def parts() -> tuple[Part, ...]:
    unread = PauseState(paused=None, suspended=None)
    return (
        Part("edge-1a", pools=(pool("app", "web"),), databases=(APP,)),
        Part("edge-1b", pools=(WAITS,), databases=(APP,), pause=PAUSED),
        Part("edge-2a", pools=(BUSY,), databases=(APP,), pause=PAUSED),
        Part("edge-2b", pools=(WAITS,), databases=(database("app", paused=True),), pause=RUNS),
        Part("held-1", pools=(WAITS,), databases=(APP,), pause=PAUSED),
        Part(
            "legacy-118",
            version="1.18.0",
            pools=(WAITS,),
            databases=(APP,),
            pause=unread,
            state=PoolerState.MAYBE_PAUSED,
            missing=MISSING_118,
        ),
        Part("quiet-1", pools=(pool("app", "web"),), databases=(database("app", disabled=True),)),
        Part(
            "stopped-124",
            version="1.24.1",
            pools=(WAITS,),
            databases=(APP,),
            pause=PauseState(paused=False, suspended=True),
        ),
    )


def _with_patience(found: PoolerSnapshot) -> PoolerSnapshot:
    sample = found.sample
    assert sample is not None
    assert sample.config is not None
    limit = Setting("query_wait_timeout", "120", "120", True)
    config = {**sample.config.value, "query_wait_timeout": limit}
    return replace(found, sample=replace(sample, config=Reading(config, MONOTONIC_S)))


def forgotten_snapshot(step: int = 0) -> FleetSnapshot:
    return FleetSnapshot(
        fleet="shop",
        environment="production",
        taken_at_s=WALL_S + step,
        monotonic_s=MONOTONIC_S + step,
        generation=step + 1,
        poolers=tuple(_with_patience(pooler(part, step)) for part in parts()),
    )


def _claim(
    bouncer: str, who: str, since_s: float, left_s: float, *, alive: bool, of: str | None = None
) -> Claim:
    name = bouncer if of is None else f"{bouncer}/{of}"
    return Claim(
        bouncer=bouncer,
        database=of,
        fleet="shop",
        who=who,
        run_id=f"run of {name}",
        lease_id=f"lease of {name}",
        title=f"PAUSE {name}",
        since_wall_s=WALL_S - since_s,
        until_wall_s=WALL_S + left_s,
        alive=alive,
    )


CLAIMS = (
    _claim("edge-1b", "alice@bastion", 240, -205, alive=False),
    _claim("held-1", "bob@bastion", 7, 23, alive=True),
)


async def read_claims() -> tuple[Claim, ...]:
    """What a real reader gives."""
    return CLAIMS
