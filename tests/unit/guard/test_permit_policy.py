"""Permits under a policy: what is denied can be neither minted nor redeemed, whatever a driver brings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from console.clock import FixedClock
from console.config.policy_schema import Policies
from console.errors import RefusedError
from console.guard.permit import PERMIT_LIFE_S, PermitOffice
from console.guard.policy import Policy
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier
from tests.unit.guard.test_guard import Subject
from tests.unit.guard.test_policy import ASKS, SATURDAY_NOON_S

_VERBS = ["pause", "kill", "resume"]
_verbs = st.one_of(st.booleans(), st.lists(st.sampled_from(_VERBS), max_size=2))
_rules = st.fixed_dictionaries(
    {},
    optional={
        "forbid": st.lists(st.sampled_from(_VERBS), max_size=1),
        "max_targets": st.integers(1, 4),
        "require_reason": _verbs,
        "two_person": _verbs,
        "windows": st.lists(
            st.sampled_from(["Sat 11:00-13:00 UTC", "Sat 11:00-12:01 UTC", "Mon 01:00-02:00 UTC"]), max_size=2
        ),
        "tiers": st.dictionaries(
            st.sampled_from(_VERBS), st.sampled_from(["harmless", "felt", "cut"]), max_size=2
        ),
    },
)
_policies = st.builds(
    lambda rules, own, environment, read_only: Policy(
        environment, read_only, Policies.model_validate({**rules, environment: own})
    ),
    _rules,
    _rules,
    st.sampled_from(["development", "staging", "production"]),
    st.sampled_from([False, False, False, True]),
)
_tiers = st.sampled_from(list(Tier))
_subjects = st.builds(
    lambda tiers, **rest: Subject(max(tiers), own_tier=min(tiers), **rest),
    st.tuples(_tiers, _tiers),
    op=st.sampled_from(_VERBS),
    target_count=st.integers(1, 5),
    rescues=st.booleans(),
    changes=st.sampled_from([True, True, False]),
    blocked=st.sampled_from([None, None, "it is suspended"]),
    clients=st.integers(0, 500),
)
_requests = st.builds(
    Request,
    st.just("alice"),
    st.sampled_from([SATURDAY_NOON_S, 0.0]),
    st.sampled_from([None, " ", "because"]),
    st.sampled_from([None, "", "alice", "bob"]),
)


@given(policy=_policies, subject=_subjects, request_=_requests, phrase=st.sampled_from([None, "", "edge 3"]))
def test_what_is_denied_cannot_be_minted(
    policy: Policy, subject: Subject, request_: Request, phrase: str | None
) -> None:
    office = PermitOffice(policy, FixedClock(wall=SATURDAY_NOON_S))
    verdict = policy.judge(subject, replace(request_, wall_s=SATURDAY_NOON_S))
    event(type(verdict).__name__)
    if isinstance(verdict, Deny):
        confirm = Confirm(verdict.tier, "?", None, 0.0, yes_suffices=True)
        for shown in (verdict, Allow(verdict.tier), Allow(Tier.READ), confirm):
            with pytest.raises(RefusedError) as caught:
                office.mint(subject, shown, phrase, request=request_, answer="typed")
            assert caught.value.where == verdict.rule
            assert caught.value.hint == verdict.hint
        return
    right = verdict.phrase if isinstance(verdict, Confirm) else None
    permit = office.mint(subject, verdict, right, request=request_, answer="typed")
    assert (permit.reason, permit.plan_maker) == (request_.reason, request_.plan_maker)
    assert permit.answer == ("typed" if isinstance(verdict, Confirm) else "not asked")
    office.redeem(permit, subject)


@given(
    policy=_policies,
    subject=_subjects,
    later=_subjects,
    request_=_requests,
    pause_s=st.floats(0, PERMIT_LIFE_S - 1),
)
def test_what_is_denied_cannot_be_redeemed(
    policy: Policy, subject: Subject, later: Subject, request_: Request, pause_s: float
) -> None:
    clock = FixedClock(wall=SATURDAY_NOON_S)
    office = PermitOffice(policy, clock)
    verdict = policy.judge(subject, replace(request_, wall_s=SATURDAY_NOON_S))
    if isinstance(verdict, Deny):
        return
    phrase = verdict.phrase if isinstance(verdict, Confirm) else None
    permit = office.mint(subject, verdict, phrase, request=request_, answer="typed")
    # The same plan by its hash, of which something is not as it was; and some time has passed.
    clock.advance(pause_s)
    now = policy.judge(later, replace(request_, wall_s=clock.wall_s()))
    event(type(now).__name__)
    if not isinstance(now, Deny):
        office.redeem(permit, later)
        return
    with pytest.raises(RefusedError) as caught:
        office.redeem(permit, later)
    assert caught.value.where == now.rule


def _office(clock: FixedClock, rules: dict[str, Any]) -> PermitOffice:
    return PermitOffice(Policy("staging", read_only=False, policies=Policies.model_validate(rules)), clock)


def test_a_permit_is_void_when_the_window_has_closed_meanwhile() -> None:
    clock = FixedClock(wall=SATURDAY_NOON_S)
    office = _office(clock, {"windows": ["Sat 11:00-12:01 UTC"]})
    verdict = office._policy.judge(Subject(), ASKS)
    permit = office.mint(Subject(), verdict, "edge", request=ASKS, answer="typed")
    clock.wall += 60
    with pytest.raises(RefusedError, match="outside the change windows"):
        office.redeem(permit, Subject())


def test_a_question_that_was_answered_after_the_window_closed_gives_no_permit() -> None:
    clock = FixedClock(wall=SATURDAY_NOON_S)
    office = _office(clock, {"windows": ["Sat 11:00-12:01 UTC"]})
    verdict = office._policy.judge(Subject(), ASKS)
    assert isinstance(verdict, Confirm)
    clock.wall += 60
    with pytest.raises(RefusedError, match="outside the change windows") as caught:
        office.mint(Subject(), verdict, "edge", request=ASKS, answer="typed")
    assert caught.value.hint == "the next one opens Sat 2026-10-03 11:00 UTC"


@pytest.mark.parametrize(("maker", "answered"), [("bob", True), ("alice", True), ("", False), (None, False)])
def test_an_approved_plan_is_answered_by_its_approval(maker: str | None, answered: bool) -> None:
    clock = FixedClock(wall=SATURDAY_NOON_S)
    office = _office(clock, {})
    request = replace(ASKS, plan_maker=maker, reason="change 4711")
    verdict = office._policy.judge(Subject(Tier.CUT), request)
    if not answered:
        with pytest.raises(RefusedError, match="what confirms this is edge 3"):
            office.mint(Subject(Tier.CUT), verdict, None, request=request, answer="approved plan h1")
        return
    permit = office.mint(Subject(Tier.CUT), verdict, None, request=request, answer="approved plan h1")
    assert (permit.answer, permit.plan_maker, permit.reason) == ("approved plan h1", maker, "change 4711")


@pytest.mark.parametrize(("typed", "right"), [(500, True), (450, True), (449, False), (551, False)])
def test_a_typed_number_is_measured_against_the_clients_of_now(typed: int, right: bool) -> None:
    office = _office(FixedClock(), {})
    subject = Subject(Tier.CUT, clients=500)
    verdict = office._policy.judge(subject, ASKS)
    if right:
        assert office.mint(subject, verdict, f"edge {typed}", request=ASKS, answer="typed")
        return
    with pytest.raises(RefusedError, match=f"what confirms this is edge 500, not edge {typed}"):
        office.mint(subject, verdict, f"edge {typed}", request=ASKS, answer="typed")
