"""Whose a pause is that was found, as far as the leases of this machine tell. Pure.

A pause made by hand, or from another machine, has no lease here.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.model.claims import Claim, claim_on
from console.operations.observe import Observation
from console.operations.spec import Ask
from console.operations.target import Target
from console.view.numbers import time_of_day


@dataclass(frozen=True, slots=True)
class Owner:
    """Who made a pause."""

    paused: Target
    """What is paused: the target itself, or its whole pooler."""
    claim: Claim | None
    """None: no run of this machine did."""

    @property
    def words(self) -> str:
        """Who holds it and until when, as a clause."""
        claim = self.claim
        if claim is None:
            return "somebody else paused it, under no lease of this machine"
        made = f"{claim.title} of {claim.who}"
        if claim.alive:
            return f"{made} holds it until {time_of_day(claim.until_wall_s)}"
        return f"{made} left it paused: its run and its guardian are dead"

    @property
    def next_steps(self) -> tuple[str, ...]:
        """Commands that go on from here; () when nothing is known."""
        if self.claim is None:
            return ()
        return ("pooldeck leases",) if self.claim.alive else (self.paused.command("mend"),)


def owner_of(ask: Ask[Observation]) -> Owner:
    """Return whose the pause is that the target of `ask` is under; a pause of the whole pooler goes first."""
    target = Target(ask.target.bouncer) if ask.seen.state.paused else ask.target
    return Owner(target, claim_on(ask.claims, target.bouncer, target.database))
