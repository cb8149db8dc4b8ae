"""What a run of this machine began and, being dead, never wrote the end of. A value; no IO."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Unended:
    """One intent in the journal that no outcome follows, of a process that is gone."""

    op: str
    bouncer: str
    database: str | None
    """None: the whole pooler."""
    fleet: str
    who: str
    """For people, e.g. `alice@bastion`."""
    run_id: str
    since_wall_s: float | None
    """When it was begun; None: not readable."""

    @property
    def target(self) -> str:
        """As written: `edge-1a`, `edge-1a/app`."""
        return self.bouncer if self.database is None else f"{self.bouncer}/{self.database}"

    @property
    def words(self) -> str:
        """For people: `restart edge-1a of alice@bastion, begun 2026-11-21 14:02:11 UTC`."""
        if self.since_wall_s is None:
            return f"{self.op} {self.target} of {self.who}"
        begun = datetime.fromtimestamp(self.since_wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.op} {self.target} of {self.who}, begun {begun}"
