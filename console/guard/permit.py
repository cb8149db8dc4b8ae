"""The only place where a permit is minted, and where it is spent.

A permit is bound to one plan (its hash covers what the plan observed), can be spent once, by the
office that minted it, and expires. It never leaves the process and is never stored.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from console.clock import Clock
from console.errors import RefusedError
from console.guard.policy import Policy, Subject
from console.guard.request import Request
from console.guard.verdict import Confirm, Deny, Verdict

PERMIT_LIFE_S = 60.0
"""Long enough to press a key, short enough that the plan a person read is still the world."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to carry one plan out once. Made by `PermitOffice.mint` only."""

    serial: str
    plan_hash: str
    expires_s: float
    """On the monotonic clock."""
    answer: str
    """How the verdict was answered, for the journal: `not asked`, `reviewed`, `--yes`, `name typed` …"""
    request: Request
    """Who asked, and with what."""

    @property
    def reason(self) -> str | None:
        """Why, in the person's words."""
        return self.request.reason

    @property
    def plan_maker(self) -> str | None:
        """Who made the plan that was approved; None: no approval."""
        return self.request.plan_maker


class PermitOffice:
    """Mints and redeems permits under one policy."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._open: dict[str, Permit] = {}

    def mint(
        self, subject: Subject, verdict: Verdict, phrase: str | None, *, request: Request, answer: str
    ) -> Permit:
        """Return a permit for `subject`, whose `verdict` a person or a flag has answered.

        Args:
            subject: the plan.
            verdict: the verdict that was shown; it must be what the policy says now.
            phrase: what was typed; None when nothing was.
            request: who asks, and with what; an approved plan (`plan_maker`) answers a Confirm by itself.
            answer: how it was answered, for the journal.

        Raises:
            RefusedError: denied, answered wrongly, or the verdict shown is no longer the verdict.
        """
        now = self._policy.judge(subject, self._present(request))
        if isinstance(now, Deny):
            raise RefusedError(now.reason, where=now.rule, hint=now.hint)
        if now != verdict:
            raise RefusedError(
                "the verdict is no longer the one that was shown", where="guard.verdict", hint="plan it anew"
            )
        if isinstance(now, Confirm) and not request.plan_maker and not now.accepts(phrase):
            raise RefusedError(
                f"what confirms this is {now.phrase}" + (f", not {phrase}" if phrase else "; none was given"),
                where="guard.confirm",
            )
        permit = Permit(
            serial=secrets.token_hex(16),
            plan_hash=subject.hash,
            expires_s=self._clock.monotonic_s() + PERMIT_LIFE_S,
            answer=answer if isinstance(now, Confirm) else "not asked",
            request=request,
        )
        self._forget_expired()
        self._open[permit.serial] = permit
        return permit

    def redeem(self, permit: Permit, subject: Subject) -> None:
        """Spend `permit` on `subject`; it is void afterwards, whatever comes of it.

        Raises:
            RefusedError: not ours, spent, expired, for another plan, or the policy denies it now.
        """
        known = self._open.pop(permit.serial, None)
        if known is None or known != permit:
            raise RefusedError("this permit was already used or was never given", where="guard.permit")
        if self._clock.monotonic_s() > known.expires_s:
            raise RefusedError(
                f"the permit is older than {PERMIT_LIFE_S:g} s", where="guard.permit", hint="plan it anew"
            )
        if known.plan_hash != subject.hash:
            raise RefusedError("the permit is for another plan", where="guard.permit")
        now = self._policy.judge(subject, self._present(known.request))
        if isinstance(now, Deny):
            raise RefusedError(now.reason, where=now.rule, hint=now.hint)

    def _present(self, request: Request) -> Request:
        """A driver's request may be as old as the question it answers: a window may have closed meanwhile."""
        return replace(request, wall_s=self._clock.wall_s())

    def _forget_expired(self) -> None:
        now = self._clock.monotonic_s()
        self._open = {serial: permit for serial, permit in self._open.items() if permit.expires_s >= now}
