"""Is it still the same pooler process, and still the pause of this lease? Pure: what was read goes in.

What counts, and why (seen on 1.18.0, 1.24.1 and 1.26.1):

* A session that never broke is the same process for sure.
* Under a pause no byte goes between clients and servers, so `total_received` and `total_sent` of SHOW STATS
  stand still, also while waiting clients leave, are cut or killed, and while new ones log in. The counts of
  queries and transactions do not: they grow by one for each waiting client that goes.
* After a restart all of them begin at 0 again. A single database may lose its own without one: by KILL, by a
  RELOAD that drops it, or because its pools were idle for long (1.26). So all must have become fewer.
* On this machine the pid file names the process, whatever was carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from console.model.derive import ADMIN_DATABASE
from console.model.rows import Stats

Traffic = Mapping[str, int]
"""Bytes that went between clients and servers since the pooler started, by database."""


class Standing(StrEnum):
    """Whose pause it is."""

    OURS = "ours"
    """It is paused, and nothing speaks against its being the pause of this lease."""
    RUNNING = "running"
    """It is not paused."""
    FOREIGN = "somebody else's"
    """It is paused, but not by this lease: that pause was ended before."""
    GONE = "gone"
    """Another process answers: the pause ended with the one that was paused."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows, and the sentence for people."""

    standing: Standing
    because: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One target, as it was and as it is."""

    database: str | None
    """None: the whole pooler."""
    paused: bool | None
    """None: a paused database is no longer listed, or it was not asked."""
    same_session: bool
    """The session over which this was read is the one of the beginning."""
    same_settings: bool
    """The settings that tell processes apart read as at the beginning."""
    process_then: str | None
    """What the pid file named at the beginning; None: it cannot be read from here."""
    process_now: str | None
    traffic_then: Traffic
    """At the beginning, before anything was sent."""
    traffic_held: Traffic | None
    """When it was seen held; None: it was not."""
    traffic_now: Traffic
    seen_running: bool = False
    """It ran at some time after it was held."""
    loses_counters: bool = False
    """The operation itself destroys those of its database (KILL)."""


def judge(seen: Evidence) -> Judgement:
    """Say whose pause it is.

    When nothing tells a restarted process from the old one, as with a pooler that never carried a byte, it
    counts as the old one: that a pause ends matters more than a restart and another's pause within minutes.
    """
    other = another_process(seen)
    if other is not None:
        return Judgement(Standing.GONE, other)
    if seen.paused is False:
        return Judgement(Standing.RUNNING, "it is not paused")
    if seen.seen_running:
        return Judgement(
            Standing.FOREIGN, "it ran after it was held, so somebody resumed it and paused it again"
        )
    if seen.traffic_held is not None and served(seen.database, seen.traffic_held, seen.traffic_now):
        return Judgement(
            Standing.FOREIGN,
            "clients were served since it was held, so somebody resumed it and paused it again",
        )
    return Judgement(Standing.OURS, "it is paused as this lease left it")


def another_process(seen: Evidence) -> str | None:
    """Say why what answers is not the process that was met at the beginning; None: it may well be."""
    if seen.same_session:
        return None
    if seen.process_then is not None and seen.process_now is not None:
        if seen.process_then == seen.process_now:
            return None
        return "the pooler was restarted, and the pause ended with its process"
    before = seen.traffic_then if seen.traffic_held is None else seen.traffic_held
    own = {seen.database} if seen.loses_counters else set()
    carried = {name: count for name, count in before.items() if count and name not in own}
    if not seen.same_settings and not (carried and carried.items() <= seen.traffic_now.items()):
        # With the very same counts it is the old process after a RELOAD that changed them.
        return "another process answers there now, and the pause ended with the old one"
    if carried and all(seen.traffic_now.get(name, 0) < count for name, count in carried.items()):
        return "its counters began anew: the pooler was restarted, and the pause ended with it"
    return None


def served(database: str | None, before: Traffic, now: Traffic) -> bool:
    """Say whether clients of a target were served between two readings."""
    return any(count > before.get(name, 0) for name, count in now.items() if database in (None, name))


def traffic_of(stats: Iterable[Stats]) -> dict[str, int]:
    """Return the bytes carried for each database of applications."""
    return {
        row.database: row.total_received_bytes + row.total_sent_bytes
        for row in stats
        if row.database != ADMIN_DATABASE
    }
