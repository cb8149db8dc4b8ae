"""Two roles of a Postgres node, the one that is used and the one that is to take over. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RoleSetting:
    """One setting that a role's sessions begin with (`ALTER ROLE … SET`)."""

    database: str | None
    """None: in every database."""
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class PairReading:
    """What it takes to have one role stand in for another, as read within a moment."""

    node: str
    old_can_log_in: bool
    exists: bool
    """The second role does."""
    can_log_in: bool
    expired: bool
    """VALID UNTIL of the second role has passed."""
    stored: str | None = field(repr=False)
    """The second role's secret as pg_authid has it; None: our role may not read that. "" for none."""
    is_member: bool
    """The second role is a member of the first already."""
    is_above: bool
    """The first role is a member of the second, so the second cannot be made one of the first."""
    groups: tuple[str, ...]
    """What the first role is a member of and the second is not; without the two themselves."""
    attributes: tuple[str, ...]
    """Of the first role, those that membership does not give, e.g. `CREATEDB`."""
    lacking: tuple[str, ...]
    """Those of them that the second role, which exists, does not have."""
    connection_limit: int
    """Of the first role; -1: none."""
    settings: tuple[RoleSetting, ...]
    """Of the first role."""
    owned: int
    """How many objects the first role owns, or has rights on by its own name."""
    why_not: str | None
    """Why our role may not make or change the second one; None: it may, as far as can be told."""

    def grants(self, role: str) -> tuple[str, ...]:
        """Return the roles that the second one has to become a member of; `role`: the first one's name."""
        if self.is_above:
            return self.groups
        return () if self.is_member else (role,)
