"""Security flaws of PgBouncer that are public, by the versions that have them. Pure.

By its number alone: a distribution's package may carry a fix under an older number. Source: PgBouncer's
NEWS.md, and the reference's T27.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.model.version import Version

ALWAYS = Version(0, 0)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One flaw."""

    name: str
    since: Version
    """The first version that has it; `ALWAYS`: not known, taken for all."""
    fixed: Version
    """The first version without it."""
    allows: str
    """What somebody can do, as a clause."""

    def concerns(self, version: Version) -> bool:
        """Say whether a version has it, by its number."""
        return self.since <= version < self.fixed

    def __str__(self) -> str:
        return f"{self.allows} ({self.name}, fixed in {self.fixed})"


KILL_CLIENT_BY_READERS = Advisory(
    "CVE-2026-6667",
    Version(1, 24),
    Version(1, 25, 2),
    "every user of stats_users may send KILL_CLIENT",
)
_ALL = (
    Advisory(
        "CVE-2026-107350",
        Version(1, 17),
        Version(1, 26, 1),
        "a user of auth_file can become any user with SCRAM, admins too, by a second startup message",
    ),
    KILL_CLIENT_BY_READERS,
    Advisory("CVE-2026-19888", ALWAYS, Version(1, 26), "anybody who can connect can crash or hang it"),
    Advisory("CVE-2026-6668", ALWAYS, Version(1, 26), "anybody who can connect can crash or hang it"),
)


def advisories(version: Version) -> tuple[Advisory, ...]:
    """Return the flaws that a version has; () for one that has none of those known here."""
    return tuple(one for one in _ALL if one.concerns(version))
