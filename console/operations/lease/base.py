"""The lease of a run that may leave clients waiting: its covers, and how a run speaks with its guardian.

Values and protocols only. `client` starts the guardian process and speaks with it, `guardian` is it,
`keepers` and `keeper_script` the second net on the pooler's own host (design.md, 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from console.operations.target import Target

HEARTBEAT_S = 1.0
"""How often a living run tells its guardian so."""
SILENCE_LIMIT_S = 10.0
"""After so long without a heartbeat a run counts as dead, though its process may still be there."""
GRACE_S = 5.0
"""How long after its announced end a lease still waits for its run to resume by itself."""
GUARDIAN_NAME = "pooldeck_guardian"
"""application_name of a guardian's sessions, so that an operator can tell them from a person's."""
KEEPER_NAME = "pooldeck_keeper"
"""The same of a keeper's; `keeper_wire` says it itself, since it runs without this package."""


@dataclass(frozen=True, slots=True)
class Cover:
    """One target under a lease."""

    target: Target
    lift: tuple[str, ...]
    """Statements that end what the run does to it, in order."""
    version: str
    identity: Mapping[str, str]
    """Settings that tell the process from its neighbours (`sessions.IDENTITY_KEYS`), as the plan saw them."""


@dataclass(frozen=True, slots=True)
class LeaseOrder:
    """What a guardian is told before the first statement. JSON-able, no secret in it."""

    lease_id: str
    run_id: str
    op: str
    plan_hash: str
    fleet: str
    title: str
    """For people, e.g. `PAUSE edge-1a`."""
    reason: str | None
    covers: tuple[Cover, ...]
    drain_s: float
    """How long the run may take until everything is held."""
    hold_s: float
    """How long it is held then."""

    @property
    def longest_s(self) -> float:
        """After so long the guardian ends it whatever the run says."""
        return self.drain_s + self.hold_s + GRACE_S

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LeaseOrder:
        """Read what `as_dict` gave.

        Raises:
            KeyError, TypeError: it is not such a mapping.
        """
        covers = tuple(
            Cover(Target(**cover["target"]), tuple(cover["lift"]), cover["version"], dict(cover["identity"]))
            for cover in values["covers"]
        )
        return cls(**{**values, "covers": covers})


Tell = Callable[[str, str], None]
"""Called with a target's name and a text: what the guardian or a keeper reports on its own."""


class Lease(Protocol):
    """A lease in force. Its heartbeat runs by itself until `close`."""

    @property
    def id(self) -> str:
        """Names it in the journal and in `pooldeck leases`."""
        ...

    @property
    def uncovered(self) -> Mapping[Target, str]:
        """Targets that the guardian cannot resume, and why: nothing may be sent to those."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is weaker than it could be, e.g. that a host has no keeper."""
        ...

    @property
    def lost(self) -> asyncio.Event:
        """Set when the guardian is gone: what is held must be ended now, or covered anew."""
        ...

    def expose(self, targets: Sequence[Target]) -> None:
        """Say that statements may reach these targets from now on; it is out before this returns.

        Raises:
            NodeError: the guardian is gone; nothing may be sent.
        """
        ...

    def held(self, targets: Sequence[Target]) -> None:
        """Say that these are seen drained and paused; from now on a running one was resumed by somebody."""
        ...

    async def release(self, targets: Sequence[Target]) -> None:
        """Say that these were seen running again, or were never touched; their keepers are disarmed.

        Never raises: a guardian that is gone has nothing more to do.
        """
        ...

    async def hand_over(self, hold_s: float) -> None:
        """Leave the guardian in charge: it ends everything after `hold_s`, with or without this process.

        Raises:
            NodeError: it did not agree; the run stays in charge.
        """
        ...

    async def close(self) -> None:
        """End the conversation; safe to call twice.

        What was exposed and not released is lifted by the guardian.
        """
        ...


class Leases(Protocol):
    """Makes leases."""

    def prepare(self) -> None:
        """Start a guardian ahead, e.g. while a plan is read: arming is quicker then. Safe to call often."""
        ...

    def dismiss(self) -> None:
        """End one that was started ahead and is not wanted; safe to call often."""
        ...

    async def arm(
        self,
        order: LeaseOrder,
        tell: Tell,
        *,
        timeout_s: float,
        progress: Callable[[str], None] | None = None,
    ) -> Lease:
        """Start a guardian that has its own admin sessions open on every target it can reach.

        Raises:
            NodeError: there is no guardian, so nothing may be sent. DeadlineError: not within `timeout_s`.
        """
        ...
