"""What the guard answers to a plan: Allow, Confirm or Deny. Values only; drivers show or answer them.

A verdict opens nothing by itself: `console.guard.permit` judges again before it mints a permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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
    phrase: str | None
    """What must be typed, letter for letter; None: reviewing and pressing Enter is enough."""
    arm_after_s: float
    """How long the OK button stays dead after the question appeared; 0 = at once."""
    yes_suffices: bool
    """Whether a blanket `--yes` may answer; False: the phrase itself must be given."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Not by this policy."""

    tier: Tier
    reason: str
    rule: str
    """The rule that refused, as a dotted name such as `policy.read_only`."""


Verdict = Allow | Confirm | Deny
