"""The rules: which verdict an operation gets, from its tier, the environment and the read-only switch.

Pure. It knows plans only by the few facts of `Subject`, so it cannot depend on how one is made.
Source of the tiers: design.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from console.model.fleet import Environment


class Subject(Protocol):
    """What the guard needs to know of a plan."""

    @property
    def title(self) -> str:
        """What would be done, e.g. `PAUSE edge-1a/app`."""
        ...

    @property
    def tier(self) -> Tier:
        """How far it reaches."""
        ...

    @property
    def phrase(self) -> str:
        """The name to type: the target as a selector writes it."""
        ...

    @property
    def clients(self) -> int:
        """How many clients it hits."""
        ...

    @property
    def changes(self) -> bool:
        """False when everything is already as wanted and nothing would be sent."""
        ...

    @property
    def blocked(self) -> str | None:
        """Why it cannot be carried out as things are; None when it can."""
        ...

    @property
    def hash(self) -> str:
        """Identifies the plan, what it observed included."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What this fleet allows."""

    environment: Environment
    read_only: bool

    def judge(self, subject: Subject) -> Verdict:
        """Return the verdict on `subject`."""
        tier = subject.tier
        if tier is Tier.READ:
            return Allow(tier)
        if self.read_only:
            return Deny(tier, "this session is read-only", "policy.read_only")
        if subject.blocked is not None:
            return Deny(tier, subject.blocked, "plan.blocked")
        if not subject.changes:
            return Allow(tier)
        production = self.environment == "production"
        return Confirm(
            tier=tier,
            question=_question(subject, self.environment),
            phrase=subject.phrase if tier >= Tier.FELT else None,
            arm_after_s=1.0 if production or tier >= Tier.CUT else 0.0,
            yes_suffices=not (production and tier >= Tier.FELT) and tier < Tier.CUT,
        )


def _question(subject: Subject, environment: Environment) -> str:
    clients = "no client" if not subject.clients else f"{subject.clients} client"
    plural = "s" if subject.clients > 1 else ""
    return f"{subject.title} in {environment}: {clients}{plural} connected"
