"""The guard: tiers by environment, and permits that are good once, soon, and for one plan."""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from console.clock import FixedClock
from console.errors import RefusedError
from console.guard.permit import PERMIT_LIFE_S, Permit, PermitOffice
from console.guard.policy import Policy
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict

CONSOLE = Path(__file__).parents[3] / "console"


@dataclass(frozen=True)
class Subject:
    tier: Tier = Tier.FELT
    own_tier: Tier | None = None
    """None: the plan found nothing that reaches further than its verb."""
    changes: bool = True
    blocked: str | None = None
    hash: str = "h1"
    op: str = "pause"
    title: str = "PAUSE edge"
    name: str = "edge"
    target_count: int = 1
    rescues: bool = False
    clients: int = 3

    @property
    def verb_tier(self) -> Tier:
        return self.tier if self.own_tier is None else self.own_tier


ASKS = Request("alice", 1_790_000_000.0)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def office(clock: FixedClock) -> PermitOffice:
    return PermitOffice(Policy("staging", read_only=False), clock)


def _shown(office: PermitOffice, subject: Subject) -> Verdict:
    return office._policy.judge(subject, ASKS)


@pytest.mark.parametrize(
    ("environment", "tier", "phrase", "arm_after_s", "yes_suffices"),
    [
        ("development", Tier.HARMLESS, None, 0.0, True),
        ("staging", Tier.HARMLESS, None, 0.0, True),
        ("production", Tier.HARMLESS, None, 1.0, True),
        ("development", Tier.FELT, "edge", 0.0, True),
        ("production", Tier.FELT, "edge", 1.0, False),
        ("development", Tier.CUT, "edge 3", 1.0, False),
    ],
)
def test_what_has_to_be_confirmed(
    environment: Literal["development", "staging", "production"],
    tier: Tier,
    phrase: str | None,
    arm_after_s: float,
    yes_suffices: bool,
) -> None:
    verdict = Policy(environment, read_only=False).judge(Subject(tier), ASKS)
    assert isinstance(verdict, Confirm)
    assert (verdict.phrase, verdict.arm_after_s, verdict.yes_suffices) == (phrase, arm_after_s, yes_suffices)
    assert verdict.question == f"PAUSE edge in {environment}: 3 clients connected"


@pytest.mark.parametrize("tier", [tier for tier in Tier if tier is not Tier.READ])
def test_read_only_denies_everything_that_acts_even_when_nothing_would_change(tier: Tier) -> None:
    for changes in (True, False):
        verdict = Policy("development", read_only=True).judge(Subject(tier, changes=changes), ASKS)
        assert isinstance(verdict, Deny)
        assert verdict.rule == "policy.read_only"


def test_reading_and_what_is_so_already_need_nobody() -> None:
    assert isinstance(Policy("production", read_only=True).judge(Subject(Tier.READ), ASKS), Allow)
    assert isinstance(Policy("production", read_only=False).judge(Subject(changes=False), ASKS), Allow)


def test_a_blocked_plan_is_denied_with_its_reason(office: PermitOffice) -> None:
    subject = Subject(blocked="edge: suspended")
    verdict = _shown(office, subject)
    assert verdict == Deny(Tier.FELT, "edge: suspended", "plan.blocked")
    with pytest.raises(RefusedError, match="suspended"):
        office.mint(subject, verdict, "edge", request=ASKS, answer="x")


def test_a_permit_is_good_once(office: PermitOffice) -> None:
    subject = Subject()
    permit = office.mint(subject, _shown(office, subject), "edge", request=ASKS, answer="typed")
    office.redeem(permit, subject)
    with pytest.raises(RefusedError, match="already used"):
        office.redeem(permit, subject)


def test_a_permit_expires(office: PermitOffice, clock: FixedClock) -> None:
    subject = Subject()
    permit = office.mint(subject, _shown(office, subject), "edge", request=ASKS, answer="typed")
    clock.advance(PERMIT_LIFE_S + 0.1)
    with pytest.raises(RefusedError, match="older than 60 s"):
        office.redeem(permit, subject)


def test_a_permit_is_for_one_plan_and_void_after_the_attempt(office: PermitOffice) -> None:
    subject = Subject()
    permit = office.mint(subject, _shown(office, subject), "edge", request=ASKS, answer="typed")
    with pytest.raises(RefusedError, match="another plan"):
        office.redeem(permit, Subject(hash="h2"))
    with pytest.raises(RefusedError, match="already used"):
        office.redeem(permit, subject)


@pytest.mark.parametrize("phrase", [None, "", "Edge", "edge "])
def test_the_name_must_be_typed_letter_for_letter(office: PermitOffice, phrase: str | None) -> None:
    subject = Subject()
    with pytest.raises(RefusedError, match="what confirms this is edge"):
        office.mint(subject, _shown(office, subject), phrase, request=ASKS, answer="typed")


def test_a_driver_cannot_bring_a_milder_verdict(office: PermitOffice) -> None:
    with pytest.raises(RefusedError, match="no longer the one that was shown"):
        office.mint(Subject(), Allow(Tier.FELT), None, request=ASKS, answer="x")


def test_made_up_altered_and_foreign_permits_are_refused(office: PermitOffice, clock: FixedClock) -> None:
    subject = Subject()
    verdict = _shown(office, subject)
    real = office.mint(subject, verdict, "edge", request=ASKS, answer="typed")
    other = PermitOffice(Policy("staging", read_only=False), clock).mint(
        subject, verdict, "edge", request=ASKS, answer="x"
    )
    for permit in (
        Permit("00", subject.hash, clock.monotonic_s() + 60, "typed", ASKS),
        dataclasses.replace(real, expires_s=real.expires_s + 1000),
        other,
    ):
        with pytest.raises(RefusedError):
            office.redeem(permit, subject)


def test_permits_are_made_in_one_place_only() -> None:
    makers = set()
    for path in CONSOLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "Permit" in (
                getattr(node.func, "id", ""),
                getattr(node.func, "attr", ""),
            ):
                makers.add(path.relative_to(CONSOLE).as_posix())
    assert makers == {"guard/permit.py"}
