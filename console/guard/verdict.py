"""What the guard answers to a plan: Allow, Confirm or Deny. Values only; drivers show or answer them.

A verdict opens nothing by itself: `console.guard.permit` judges again before it mints a permit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

COUNT_TENTH = 10
COUNT_SLACK = 3
"""A typed number of clients is right within a tenth, at least this many: a live fleet's number moves."""
_COUNT = re.compile(r"[0-9]{1,9}")


class Tier(IntEnum):
    """How far an operation reaches; a higher one asks for more (design.md, 4)."""

    READ = 0
    """Changes nothing."""
    HARMLESS = 1
    """One pooler; clients do not feel it."""
    FELT = 2
    """One pooler; its clients feel it."""
    CUT = 3
    """Many poolers, or clients lose their connection."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on without a question."""

    tier: Tier


@dataclass(frozen=True, slots=True)
class Confirm:
    """A person has to agree first."""

    tier: Tier
    question: str
    """One sentence to show above the answer."""
    name: str | None
    """The name that must be typed, letter for letter; None: reviewing and pressing Enter is enough."""
    arm_after_s: float
    """How long the OK button stays dead after the question appeared; 0 = at once."""
    yes_suffices: bool
    """Whether a blanket `--yes` may answer; False: the phrase itself must be given."""
    count: int | None = None
    """The number of clients to type behind the name; None: the name alone."""

    @property
    def phrase(self) -> str | None:
        """What to type, to be shown; None: nothing."""
        return self.name if self.name is None or self.count is None else f"{self.name} {self.count}"

    def accepts(self, typed: str | None) -> bool:
        """Say whether what was typed is the phrase; its number may be a little off.

        Where nothing is to be typed, anything agrees: whether Enter was pressed is the driver's to see.
        """
        if self.name is None:
            return True
        if typed is None or self.count is None:
            return typed == self.name
        name, _, number = typed.rpartition(" ")
        if name != self.name or not _COUNT.fullmatch(number):
            return False
        return abs(int(number) - self.count) <= max(COUNT_SLACK, self.count // COUNT_TENTH)


@dataclass(frozen=True, slots=True)
class Deny:
    """Not by this policy."""

    tier: Tier
    reason: str
    rule: str
    """The rule that refused, as a dotted name such as `policy.read_only`."""
    hint: str | None = None
    """What to do instead."""


Verdict = Allow | Confirm | Deny
