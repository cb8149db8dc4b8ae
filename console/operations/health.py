"""Whether a pooler serves its clients as well as before: what the gate between waves compares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.model.rows import Pool
from console.operations.observe import Observation
from console.operations.render_layout import some
from console.operations.step import plural

WAIT_ROOM = 1.5
"""Clients of a queue that always waits may wait so many times what two looks before happened to see."""
LOGINS_ROOM = 5
"""So many more clients in their login than before are the coming and going of a busy pooler."""
PoolName = tuple[str, str]
"""Database and user."""


@dataclass(frozen=True, slots=True)
class Before:
    """How a pooler was before it was worked on; of several looks the worst counts."""

    waiting: int
    """Clients that waited."""
    longest_s: Mapping[PoolName, float]
    """How long a client of each pool had waited."""
    server_logins: frozenset[PoolName]
    """Pools that had a server login under way."""
    logging_in: int
    """Clients in their login; 0 also when that is not known."""
    at_s: float
    """Of the last look, on the monotonic clock."""

    def and_then(self, later: Before) -> Before:
        """Return the worst of both."""
        pools = self.longest_s.keys() | later.longest_s.keys()
        return Before(
            waiting=max(self.waiting, later.waiting),
            longest_s={
                name: max(self.longest_s.get(name, 0.0), later.longest_s.get(name, 0.0)) for name in pools
            },
            server_logins=self.server_logins | later.server_logins,
            logging_in=max(self.logging_in, later.logging_in),
            at_s=later.at_s,
        )


NEVER_SEEN = Before(0, {}, frozenset(), 0, 0.0)


class Baseline:
    """What is known of each bouncer from before."""

    def __init__(self) -> None:
        self._by_name: dict[str, Before] = {}

    def note(self, seen: object, at_s: float) -> None:
        """Take in a look; only an `Observation` tells anything.

        Args:
            seen: what was seen.
            at_s: when, on the monotonic clock.
        """
        if not isinstance(seen, Observation):
            return
        now = Before(
            waiting=waiting_of(seen),
            longest_s={name_of(pool): pool.maxwait_us / 1e6 for pool in seen.pools},
            server_logins=frozenset(name_of(pool) for pool in seen.pools if pool.sv_login),
            logging_in=seen.logging_in or 0,
            at_s=at_s,
        )
        known = self._by_name.get(seen.bouncer)
        self._by_name[seen.bouncer] = now if known is None else known.and_then(now)

    def of(self, name: str) -> Before | None:
        """Return how a bouncer was; None when nobody looked."""
        return self._by_name.get(name)


def name_of(pool: Pool) -> PoolName:
    """Return what tells a pool from others."""
    return pool.database, pool.user


def waiting_of(seen: Observation) -> int:
    """Return the clients that wait."""
    return sum(pool.cl_waiting for pool in seen.pools)


def waits_too_long(before: Before, seen: Observation, *, limit_s: float, at_s: float) -> str | None:
    """Say which client waits too long; None when none does.

    A pool whose clients waited longer than the limit before may go on so: about as long as was seen then,
    and for as long as its oldest waiter is one from before.

    Args:
        before: what is compared with.
        seen: now.
        limit_s: how long a client may wait.
        at_s: of this look, on the monotonic clock.
    """
    for pool in seen.pools:
        waited_s = pool.maxwait_us / 1e6
        then_s = before.longest_s.get(name_of(pool), 0.0)
        was_so = then_s > limit_s
        if waited_s <= (then_s * WAIT_ROOM if was_so else limit_s):
            continue
        if was_so and waited_s >= at_s - before.at_s:
            continue
        was = f", and {then_s:.1f} s was seen before" if was_so else ""
        return (
            f"a client of {pool.database}/{pool.user} has waited {waited_s:.1f} s, "
            f"the limit is {limit_s:g} s{was}"
        )
    return None


def waited_already(looks: Iterable[Observation], *, limit_s: float) -> tuple[str, ...]:
    """Warn of bouncers where clients wait longer than the gate allows before anything is begun."""
    found = []
    for seen in looks:
        longest = max(seen.pools, key=lambda pool: pool.maxwait_us, default=None)
        if longest is not None and longest.maxwait_us / 1e6 > limit_s:
            pool = f"{longest.database}/{longest.user}"
            found.append(f"{seen.bouncer} ({pool}, {longest.maxwait_us / 1e6:.1f} s)")
    if not found:
        return ()
    return (
        f"clients wait longer than --max-wait ({limit_s:g} s) already: {some(found)}; after that wave the "
        "gate opens when they wait about as long as now",
    )


def logins_hang(before: Before, last: Observation | None, seen: Observation) -> str | None:
    """Say which logins, to Postgres or of clients, do not get anywhere; None when they drain.

    Args:
        before: what is compared with: logins that hung then are no news.
        last: the look before this one; None: this is the first.
        seen: now.
    """
    earlier = {name_of(pool) for pool in last.pools if pool.sv_login} if last is not None else set()
    for pool in seen.pools:
        alone = not (pool.sv_active + pool.sv_idle + pool.sv_used)
        lasting = name_of(pool) in earlier
        if pool.sv_login and (alone or lasting) and name_of(pool) not in before.server_logins:
            return f"pool {pool.database}/{pool.user} is still logging in to its server"
    count = seen.logging_in or 0
    falling = last is not None and count < (last.logging_in or 0)
    if count > before.logging_in + LOGINS_ROOM and not falling:
        return f"{plural(count, 'client')} in their login, {before.logging_in} before"
    return None
