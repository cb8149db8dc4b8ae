"""The rules: which verdict an operation gets, from its tier, the environment and the inventory's `[policy]`.

Pure. It knows plans only by the few facts of `Subject`, so it cannot depend on how one is made.
Source of the tiers: design.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from console.config.policy_schema import Effective, Policies
from console.config.windows import next_opening, opening_words
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from console.model.fleet import Environment

_TIERS = {"harmless": Tier.HARMLESS, "felt": Tier.FELT, "cut": Tier.CUT}


class Subject(Protocol):
    """What the guard needs to know of a plan."""

    @property
    def op(self) -> str:
        """The verb."""
        ...

    @property
    def title(self) -> str:
        """What would be done, e.g. `PAUSE edge-1a/app`."""
        ...

    @property
    def tier(self) -> Tier:
        """How far it reaches on one target; not below `verb_tier`."""
        ...

    @property
    def verb_tier(self) -> Tier:
        """How far its verb reaches by itself; `tier` is above it when the plan found more."""
        ...

    @property
    def name(self) -> str:
        """The name to type: the target as a selector writes it, or the fleet's for several."""
        ...

    @property
    def target_count(self) -> int:
        """How many targets it names."""
        ...

    @property
    def rescues(self) -> bool:
        """Whether it is a way out of a bad state: nothing but `forbid` holds it up."""
        ...

    @property
    def clients(self) -> int | None:
        """How many clients it hits; None: they could not be counted."""
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


@dataclass(frozen=True)
class Policy:
    """What this fleet allows."""

    environment: Environment
    read_only: bool
    policies: Policies = field(default_factory=Policies)

    @cached_property
    def rules(self) -> Effective:
        """What holds in this environment."""
        return self.policies.resolved(self.environment)

    def judge(self, subject: Subject, request: Request) -> Verdict:
        """Return the verdict on `subject`, asked for by `request`."""
        tier = self.tier_of(subject)
        if tier is Tier.READ:
            return Allow(tier)
        if self.read_only:
            return Deny(tier, "this session is read-only", "policy.read_only")
        if subject.op in self.rules.forbid:
            return Deny(
                tier,
                f"{self._key('forbid')} names {subject.op}: it is never run in this fleet",
                "policy.forbid",
                "only a change of the inventory allows it",
            )
        if subject.blocked is not None:
            return Deny(tier, subject.blocked, "plan.blocked")
        if not subject.changes:
            return Allow(tier)
        if not subject.rescues:
            denied = self._denied(subject, request, tier)
            if denied is not None:
                return denied
        production = self.environment == "production"
        return Confirm(
            tier=tier,
            question=_question(subject, self.environment),
            name=subject.name if tier >= Tier.FELT else None,
            count=subject.clients if tier >= Tier.CUT else None,
            arm_after_s=1.0 if production or tier >= Tier.CUT else 0.0,
            yes_suffices=not (production and tier >= Tier.FELT) and tier < Tier.CUT,
        )

    def tier_of(self, subject: Subject) -> Tier:
        """Return the tier: the verb's or the policy's, one or two steps up on several targets."""
        own = self.rules.tiers.get(subject.op)
        tier = subject.tier if own is None else _TIERS[own]
        if subject.tier > subject.verb_tier:
            # What was found on the targets is not lowered, e.g. a RELOAD that would cut clients.
            tier = max(tier, subject.tier)
        if subject.target_count < 2 or tier is Tier.READ or subject.rescues:
            return tier
        return Tier.FELT if tier is Tier.HARMLESS else Tier.CUT

    def _denied(self, subject: Subject, request: Request, tier: Tier) -> Deny | None:
        rules = self.rules
        if rules.max_targets is not None and subject.target_count > rules.max_targets:
            reason = f"{subject.target_count} targets, and {self._key('max_targets')} is {rules.max_targets}"
            return Deny(tier, reason, "policy.max_targets", "name fewer, and run the rest after them")
        if rules.windows and not any(window.is_open(request.wall_s) for window in rules.windows):
            listed = ", ".join(window.text for window in rules.windows)
            opening = next_opening(rules.windows, request.wall_s)
            when = (
                f"the next one opens {opening_words(*opening)}"
                if opening
                else "none opens in the next 16 days"
            )
            return Deny(
                tier,
                f"outside the change windows of {self._key('windows')} ({listed})",
                "policy.window",
                when,
            )
        if subject.op in rules.require_reason and not (request.reason or "").strip():
            reason = f"{self._key('require_reason')} wants a reason for {subject.op}"
            return Deny(tier, reason, "policy.reason", "give one with --reason TEXT; it is kept in the audit")
        if subject.op in rules.two_person and request.plan_maker in (None, "", request.user):
            who = (
                f"{request.user}, who asks now, made this plan"
                if request.plan_maker
                else "nobody planned this before"
            )
            return Deny(
                tier,
                f"{self._key('two_person')} wants {subject.op} to be planned by one user and approved by "
                f"another; {who}",
                "policy.two_person",
                "make the plan with --plan --save FILE, and let another user run it with --approve FILE",
            )
        return None

    def _key(self, key: str) -> str:
        return self.rules.origin.get(key, f"policy.{key}")


def _question(subject: Subject, environment: Environment) -> str:
    count = subject.clients
    clients = "no client" if not count else "1 client" if count == 1 else f"{count} clients"
    connected = "clients could not be counted" if count is None else f"{clients} connected"
    return f"{subject.title} in {environment}: {connected}"
