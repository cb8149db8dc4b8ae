"""A rotation with two roles side by side: its halves, and what a run needs to know of the whole. Values only.

The first half lets the second role in everywhere (runbook R1; R2 and R6 where the first one is forced or asks
for others). Then people move their applications, for days. The second half shuts the first role out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from console.model.role_pair import PairReading
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.scheme import Scheme
from console.operations.rotate.two_roles_file import Phase, TwoRolesState


class Half(StrEnum):
    """What a run of it is to do."""

    FIRST = "first"
    """Let the second role in."""
    RESUMED = "resumed"
    """Go on with that."""
    FINISH = "finish"
    """Shut the first role out."""
    UNDO = "undo"
    """Take the second role out again."""

    @property
    def lets_in(self) -> bool:
        """Whether the second role is let in, so its secret is needed."""
        return self in (Half.FIRST, Half.RESUMED)


def half_of(asked: RotateParameters) -> Half:
    """Return what was asked for."""
    if asked.undo:
        return Half.UNDO
    if asked.finish:
        return Half.FINISH
    return Half.RESUMED if asked.resume else Half.FIRST


_GOES_ON = {
    Phase.PREPARED: (Half.RESUMED, Half.UNDO),
    Phase.ROLE: (Half.RESUMED, Half.UNDO),
    Phase.POOLERS: (Half.RESUMED, Half.UNDO),
    Phase.BOTH: (Half.FINISH, Half.UNDO),
    Phase.CLOSING: (Half.FINISH, Half.UNDO),
    Phase.UNDOING: (Half.UNDO,),
}
_FLAGS = {Half.RESUMED: "--resume", Half.FINISH: "--finish", Half.UNDO: "--undo"}
_STANDS = {
    Phase.BOTH: "both roles work",
    Phase.CLOSING: "the first role is being shut out",
    Phase.UNDOING: "the second role is being taken out again",
}


def why_not_now(half: Half, left: TwoRolesState | None, asked: RotateParameters) -> str | None:
    """Return why this half cannot be done as far as an open rotation came; None: it can."""
    if left is None:
        return None if half is Half.FIRST else f"no rotation from {asked.role} to {asked.to} is open here"
    same = (left.role, left.to) == (asked.role, asked.to)
    if same and half in _GOES_ON[left.phase]:
        return None
    stands = _STANDS.get(left.phase, f"it was interrupted ({left.phase})")
    return f"a rotation from {left.role} to {left.to} is open, and {stands}: {' or '.join(ways_on(left))}"


def ways_on(left: TwoRolesState) -> tuple[str, ...]:
    """Return the commands that go on with an open rotation."""
    command = f"pooldeck rotate {left.role} --to {left.to} --on {left.selector}"
    return tuple(f"{command} {_FLAGS[way]}" for way in _GOES_ON[left.phase])


@dataclass(frozen=True, slots=True)
class AuthQuery:
    """A query that a pooler has its auth_user ask."""

    node: str
    database: str
    """In Postgres."""
    query: str


@dataclass(frozen=True, slots=True)
class TwoRolesScheme:
    """The whole."""

    half: Half
    to: str
    base: Scheme
    """The first role on poolers and nodes."""
    pairs: Mapping[str, PairReading]
    """By primary."""
    databases: Mapping[str, tuple[str, ...]]
    """In Postgres, those that poolers lead to, by node."""
    auth_queries: tuple[AuthQuery, ...]
    order: tuple[str, ...]
    """Poolers as they are changed: one that others lead to comes before them."""
    left: TwoRolesState | None
    """What is open of it."""

    @property
    def role(self) -> str:
        """The first one."""
        return self.base.role
