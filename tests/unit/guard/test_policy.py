"""`[policy]`: each rule refuses what it says, in words that name its key; nothing denied can be minted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.clock import FixedClock
from console.config.policy_schema import Policies, unknown_verbs
from console.errors import RefusedError
from console.guard.permit import PermitOffice
from console.guard.policy import Policy
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from tests.unit.guard.test_guard import Subject

SATURDAY_NOON_UTC_S = 1_790_424_000.0  # 2026-09-26 12:00 UTC
ASKS = Request("alice", SATURDAY_NOON_UTC_S)


def judge(rules: dict[str, Any], subject: Subject, request: Request = ASKS) -> Verdict:
    return Policy("production", read_only=False, policies=Policies.model_validate(rules)).judge(
        subject, request
    )


@pytest.mark.parametrize(
    ("rules", "subject", "rule", "words"),
    [
        ({"forbid": ["pause"]}, Subject(), "policy.forbid", "policy.forbid names pause"),
        (
            {"production": {"forbid": ["pause"]}},
            Subject(),
            "policy.forbid",
            "policy.production.forbid names pause",
        ),
        ({"max_targets": 2}, Subject(target_count=3), "policy.max_targets", "3 targets"),
        ({"require_reason": True}, Subject(), "policy.reason", "wants a reason for pause"),
        ({"require_reason": ["pause"]}, Subject(), "policy.reason", "policy.require_reason"),
        ({"two_person": ["pause"]}, Subject(), "policy.two_person", "approved by another"),
        ({"windows": ["Mon-Fri 22:00-05:00 UTC"]}, Subject(), "policy.window", "outside the change windows"),
    ],
)
def test_each_rule_refuses_and_names_its_key(
    rules: dict[str, Any], subject: Subject, rule: str, words: str
) -> None:
    verdict = judge(rules, subject)
    assert isinstance(verdict, Deny), verdict
    assert verdict.rule == rule
    assert words in verdict.reason
    assert rule == "policy.forbid" or verdict.hint, "it says what to do"


@pytest.mark.parametrize(
    ("rules", "request_", "subject"),
    [
        ({"forbid": ["kill"]}, ASKS, Subject()),
        ({"forbid": ["pause"], "production": {"forbid": []}}, ASKS, Subject()),
        ({"max_targets": 3}, ASKS, Subject(target_count=3)),
        ({"require_reason": ["pause"]}, replace(ASKS, reason="change 4711"), Subject()),
        ({"require_reason": ["kill"]}, ASKS, Subject()),
        ({"two_person": True}, replace(ASKS, plan_maker="bob"), Subject()),
        ({"windows": ["Sat 11:00-13:00 UTC"]}, ASKS, Subject()),
        ({"windows": ["Mon 01:00-02:00 UTC", "Sat 00:00-24:00 UTC"]}, ASKS, Subject()),
    ],
)
def test_what_a_rule_does_not_mean_is_asked_as_ever(
    rules: dict[str, Any], request_: Request, subject: Subject
) -> None:
    assert isinstance(judge(rules, subject, request_), Confirm)


def test_who_made_the_plan_cannot_approve_it() -> None:
    verdict = judge({"two_person": ["pause"]}, Subject(), replace(ASKS, plan_maker="alice"))
    assert isinstance(verdict, Deny)
    assert "alice, who asks now, made this plan" in verdict.reason


def test_a_way_out_is_held_up_by_nothing_but_forbid() -> None:
    rules: dict[str, Any] = {
        "max_targets": 1,
        "require_reason": True,
        "two_person": True,
        "windows": ["Mon 01:00-02:00 UTC"],
    }
    way_out = Subject(op="resume", rescues=True, target_count=9, tier=Tier.HARMLESS)
    assert isinstance(judge(rules, way_out), Confirm)
    assert isinstance(judge({"forbid": ["resume"]}, way_out), Deny)


def test_a_closed_window_tells_when_the_next_one_opens() -> None:
    verdict = judge({"windows": ["Mon-Fri 22:00-05:00 Europe/Berlin"]}, Subject())
    assert isinstance(verdict, Deny)
    assert verdict.hint == "the next one opens Mon 2026-09-28 22:00 Europe/Berlin (Mon 20:00 UTC)"


@pytest.mark.parametrize(
    ("tier", "rules", "targets", "rescues", "expected"),
    [
        (Tier.HARMLESS, {}, 1, False, Tier.HARMLESS),
        (Tier.HARMLESS, {}, 2, False, Tier.FELT),
        (Tier.FELT, {}, 2, False, Tier.CUT),
        (Tier.CUT, {}, 5, False, Tier.CUT),
        (Tier.HARMLESS, {}, 5, True, Tier.HARMLESS),
        (Tier.FELT, {"tiers": {"pause": "harmless"}}, 1, False, Tier.HARMLESS),
        (Tier.FELT, {"tiers": {"pause": "cut"}}, 1, False, Tier.CUT),
        (
            Tier.FELT,
            {"tiers": {"pause": "cut"}, "production": {"tiers": {"pause": "felt"}}},
            1,
            False,
            Tier.FELT,
        ),
    ],
)
def test_tiers_by_verb_environment_and_number_of_targets(
    tier: Tier, rules: dict[str, Any], targets: int, rescues: bool, expected: Tier
) -> None:
    verdict = judge(rules, Subject(tier, target_count=targets, rescues=rescues))
    assert verdict.tier is expected


@pytest.mark.parametrize(
    ("count", "typed", "right"),
    [
        (400, "edge 400", True),
        (400, "edge 440", True),
        (400, "edge 360", True),
        (400, "edge 441", False),
        (400, "edge 359", False),
        (0, "edge 3", True),
        (0, "edge 4", False),
        (400, "edge", False),
        (400, "400", False),
        (400, "Edge 400", False),
        (400, "edge -400", False),
        (400, "edge 4_00", False),
        (400, "edge ٤٠٠", False),
        (None, "edge", True),
        (None, "edge 400", False),
        (None, None, False),
    ],
)
def test_the_number_of_clients_may_be_a_tenth_off(count: int | None, typed: str | None, right: bool) -> None:
    confirm = Confirm(Tier.CUT, "?", "edge", 0.0, yes_suffices=False, count=count)
    assert confirm.accepts(typed) is right


def test_verbs_that_do_not_exist_are_found_with_the_nearest() -> None:
    policies = Policies.model_validate({"forbid": ["shutdwn"], "staging": {"tiers": {"puase": "cut"}}})
    assert list(unknown_verbs(policies, ("pause", "shutdown"))) == [
        "policy.forbid: there is no verb shutdwn; did you mean shutdown?",
        "policy.staging.tiers: there is no verb puase; did you mean pause?",
    ]


_verbs = st.one_of(st.booleans(), st.lists(st.sampled_from(["pause", "kill", "resume"]), max_size=2))
_rules = st.fixed_dictionaries(
    {},
    optional={
        "forbid": st.lists(st.sampled_from(["pause", "kill"]), max_size=2),
        "max_targets": st.integers(1, 4),
        "require_reason": _verbs,
        "two_person": _verbs,
        "windows": st.lists(st.sampled_from(["Sat 11:00-13:00 UTC", "Mon 01:00-02:00 UTC"]), max_size=2),
        "tiers": st.dictionaries(st.sampled_from(["pause", "kill"]), st.sampled_from(["felt", "cut"])),
    },
)


@given(
    rules=_rules,
    own=_rules,
    op=st.sampled_from(["pause", "kill", "resume"]),
    tier=st.sampled_from(list(Tier)),
    targets=st.integers(1, 5),
    rescues=st.booleans(),
    read_only=st.booleans(),
    blocked=st.sampled_from([None, "it is suspended"]),
    reason=st.sampled_from([None, "", "because"]),
    maker=st.sampled_from([None, "alice", "bob"]),
)
def test_what_is_denied_can_be_neither_minted_nor_redeemed(
    rules: dict[str, Any],
    own: dict[str, Any],
    op: str,
    tier: Tier,
    targets: int,
    rescues: bool,
    read_only: bool,
    blocked: str | None,
    reason: str | None,
    maker: str | None,
) -> None:
    policies = Policies.model_validate({**rules, "production": own})
    policy = Policy("production", read_only, policies)
    subject = Subject(tier, op=op, target_count=targets, rescues=rescues, blocked=blocked)
    request = Request("alice", SATURDAY_NOON_UTC_S, reason, maker)
    clock = FixedClock(wall=SATURDAY_NOON_UTC_S)
    office = PermitOffice(policy, clock)
    verdict = policy.judge(subject, request)
    if not isinstance(verdict, Deny):
        phrase = verdict.phrase if isinstance(verdict, Confirm) else None
        permit = office.mint(subject, verdict, phrase, request=request, answer="typed")
        office.redeem(permit, subject)
        return
    for shown in (verdict, Allow(tier)):
        with pytest.raises(RefusedError):
            office.mint(subject, shown, "edge 3", request=request, answer="typed")


def test_a_permit_is_void_when_the_window_has_closed_meanwhile() -> None:
    policies = Policies.model_validate({"windows": ["Sat 11:00-12:01 UTC"]})
    clock = FixedClock(wall=SATURDAY_NOON_UTC_S)
    office = PermitOffice(Policy("staging", read_only=False, policies=policies), clock)
    subject = Subject()
    verdict = office._policy.judge(subject, ASKS)
    permit = office.mint(subject, verdict, "edge", request=ASKS, answer="typed")
    clock.wall += 60
    with pytest.raises(RefusedError, match="outside the change windows"):
        office.redeem(permit, subject)
