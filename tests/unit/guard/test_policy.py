"""`[policy]`: each rule refuses what it says, and says which key refused, its value and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from console.config.policy_schema import VERBS, Policies
from console.guard.policy import Policy
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from console.operations import verbs
from tests.unit.guard.test_guard import Subject

SATURDAY_NOON_S = 1_790_424_000.0  # 2026-09-26 12:00 UTC
ASKS = Request("alice", SATURDAY_NOON_S)
RESUME = Subject(op="resume", title="RESUME edge", rescues=True, tier=Tier.HARMLESS)


def judge(rules: dict[str, Any], subject: Subject, request: Request = ASKS) -> Verdict:
    return Policy("production", read_only=False, policies=Policies.model_validate(rules)).judge(
        subject, request
    )


@pytest.mark.parametrize(
    ("rules", "subject", "request_", "rule", "reason", "hint"),
    [
        (
            {"forbid": ["kill", "pause"]},
            Subject(),
            ASKS,
            "policy.forbid",
            "policy.forbid names pause: it is never run in this fleet",
            "only a change of the inventory allows it",
        ),
        (
            {"forbid": ["resume"]},
            RESUME,
            ASKS,
            "policy.forbid",
            "policy.forbid names resume: it is never run in this fleet",
            "only a change of the inventory allows it",
        ),
        (
            {"forbid": [], "production": {"forbid": ["pause"]}},
            Subject(),
            ASKS,
            "policy.forbid",
            "policy.production.forbid names pause: it is never run in this fleet",
            "only a change of the inventory allows it",
        ),
        (
            {"max_targets": 9, "production": {"max_targets": 2}},
            Subject(target_count=3),
            ASKS,
            "policy.max_targets",
            "3 targets, and policy.production.max_targets is 2",
            "name fewer, and run the rest after them",
        ),
        (
            {"require_reason": True},
            Subject(),
            ASKS,
            "policy.reason",
            "policy.require_reason wants a reason for pause",
            "give one with --reason TEXT; it is kept in the audit",
        ),
        (
            {"require_reason": ["kill", "pause"]},
            Subject(),
            replace(ASKS, reason=" \t"),
            "policy.reason",
            "policy.require_reason wants a reason for pause",
            "give one with --reason TEXT; it is kept in the audit",
        ),
        (
            {"two_person": ["pause"]},
            Subject(),
            ASKS,
            "policy.two_person",
            "policy.two_person wants pause to be planned by one user and approved by another; "
            "nobody planned this before",
            "make the plan with --plan --save FILE, and let another user run it with --approve FILE",
        ),
        (
            {"two_person": ["pause"]},
            Subject(),
            replace(ASKS, plan_maker=""),
            "policy.two_person",
            "policy.two_person wants pause to be planned by one user and approved by another; "
            "nobody planned this before",
            "make the plan with --plan --save FILE, and let another user run it with --approve FILE",
        ),
        (
            {"two_person": True},
            Subject(),
            replace(ASKS, plan_maker="alice"),
            "policy.two_person",
            "policy.two_person wants pause to be planned by one user and approved by another; "
            "alice, who asks now, made this plan",
            "make the plan with --plan --save FILE, and let another user run it with --approve FILE",
        ),
        (
            {"production": {"windows": ["Mon-Fri 22:00-05:00 Europe/Berlin", "Sun 08:00-09:00 UTC"]}},
            Subject(),
            ASKS,
            "policy.window",
            "outside the change windows of policy.production.windows "
            "(Mon-Fri 22:00-05:00 Europe/Berlin, Sun 08:00-09:00 UTC)",
            "the next one opens Sun 2026-09-27 08:00 UTC",
        ),
        (
            {"windows": ["Mon-Fri 22:00-05:00 Europe/Berlin"]},
            Subject(),
            ASKS,
            "policy.window",
            "outside the change windows of policy.windows (Mon-Fri 22:00-05:00 Europe/Berlin)",
            "the next one opens Mon 2026-09-28 22:00 Europe/Berlin (Mon 20:00 UTC)",
        ),
    ],
)
def test_each_rule_refuses_and_says_which_key_its_value_and_what_to_do(
    rules: dict[str, Any], subject: Subject, request_: Request, rule: str, reason: str, hint: str
) -> None:
    verdict = judge(rules, subject, request_)
    assert verdict == Deny(subject.tier if subject.target_count == 1 else Tier.CUT, reason, rule, hint)


@pytest.mark.parametrize(
    ("rules", "request_", "subject"),
    [
        ({}, ASKS, Subject(target_count=2000)),
        ({"forbid": ["kill"]}, ASKS, Subject()),
        ({"forbid": ["pause"], "production": {"forbid": []}}, ASKS, Subject()),
        ({"staging": {"forbid": ["pause"]}}, ASKS, Subject()),
        ({"max_targets": 3}, ASKS, Subject(target_count=3)),
        ({"max_targets": 1, "production": {"max_targets": 3}}, ASKS, Subject(target_count=3)),
        ({"require_reason": ["pause"]}, replace(ASKS, reason="change 4711"), Subject()),
        ({"require_reason": ["kill"]}, ASKS, Subject()),
        ({"require_reason": True, "production": {"require_reason": False}}, ASKS, Subject()),
        ({"two_person": True}, replace(ASKS, plan_maker="bob"), Subject()),
        ({"two_person": ["kill"]}, replace(ASKS, plan_maker="alice"), Subject()),
        ({"windows": []}, ASKS, Subject()),
        ({"windows": ["Mon 01:00-02:00 UTC"], "production": {"windows": []}}, ASKS, Subject()),
        ({"windows": ["Sat 11:00-13:00 UTC"]}, ASKS, Subject()),
        ({"windows": ["Mon 01:00-02:00 UTC", "Sat 00:00-24:00 UTC"]}, ASKS, Subject()),
    ],
)
def test_what_a_rule_does_not_mean_is_asked_as_ever(
    rules: dict[str, Any], request_: Request, subject: Subject
) -> None:
    assert isinstance(judge(rules, subject, request_), Confirm)


ALL_AT_ONCE: dict[str, Any] = {
    "max_targets": 1,
    "require_reason": True,
    "two_person": True,
    "windows": ["Mon 01:00-02:00 UTC"],
}


def test_a_way_out_is_held_up_by_nothing_but_forbid_and_read_only() -> None:
    way_out = replace(RESUME, target_count=9)
    assert judge(ALL_AT_ONCE, way_out) == judge({}, way_out)
    assert isinstance(judge(ALL_AT_ONCE, way_out), Confirm)
    assert isinstance(judge(ALL_AT_ONCE, replace(way_out, rescues=False)), Deny)
    policies = Policies.model_validate(ALL_AT_ONCE)
    assert isinstance(Policy("production", read_only=True, policies=policies).judge(way_out, ASKS), Deny)


def test_where_nothing_would_be_sent_no_rule_is_in_the_way_but_forbid() -> None:
    so_already = Subject(changes=False, target_count=9)
    assert isinstance(judge(ALL_AT_ONCE, so_already), Allow)
    assert isinstance(judge({"forbid": ["pause"]}, so_already), Deny)


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_rules_of_an_environment_hold_in_it_alone(
    environment: Literal["development", "staging", "production"],
) -> None:
    policies = Policies.model_validate({environment: {"forbid": ["pause"], "tiers": {"kill": "felt"}}})
    refusing: list[str] = []
    environments: tuple[Literal["development", "staging", "production"], ...]
    environments = ("development", "staging", "production")
    for other in environments:
        policy = Policy(other, read_only=False, policies=policies)
        if isinstance(policy.judge(Subject(), ASKS), Deny):
            refusing.append(other)
        kill = policy.judge(Subject(Tier.CUT, op="kill"), ASKS)
        assert kill.tier is (Tier.FELT if other == environment else Tier.CUT)
    assert refusing == [environment]


@pytest.mark.parametrize(
    ("tier", "own", "rules", "targets", "rescues", "expected"),
    [
        (Tier.HARMLESS, None, {}, 1, False, Tier.HARMLESS),
        (Tier.HARMLESS, None, {}, 2, False, Tier.FELT),
        (Tier.FELT, None, {}, 1, False, Tier.FELT),
        (Tier.FELT, None, {}, 2, False, Tier.CUT),
        (Tier.CUT, None, {}, 5, False, Tier.CUT),
        (Tier.HARMLESS, None, {}, 5, True, Tier.HARMLESS),
        (Tier.FELT, None, {}, 5, True, Tier.FELT),
        (Tier.FELT, None, {"tiers": {"pause": "harmless"}}, 1, False, Tier.HARMLESS),
        (Tier.FELT, None, {"tiers": {"pause": "harmless"}}, 2, False, Tier.FELT),
        (Tier.FELT, None, {"tiers": {"pause": "cut"}}, 1, False, Tier.CUT),
        (Tier.HARMLESS, None, {"tiers": {"pause": "felt"}}, 5, True, Tier.FELT),
        (Tier.CUT, Tier.HARMLESS, {}, 1, False, Tier.CUT),
        # Lowered by the policy, but the plan found that clients would be cut.
        (Tier.CUT, Tier.HARMLESS, {"tiers": {"pause": "felt"}}, 1, False, Tier.CUT),
        (Tier.FELT, Tier.HARMLESS, {"tiers": {"pause": "cut"}}, 1, False, Tier.CUT),
        (
            *(Tier.FELT, None, {"tiers": {"pause": "cut"}, "production": {"tiers": {"pause": "felt"}}}),
            *(1, False, Tier.FELT),
        ),
        (
            *(Tier.FELT, None, {"tiers": {"pause": "cut"}, "production": {"tiers": {"kill": "felt"}}}),
            *(1, False, Tier.CUT),
        ),
    ],
)
def test_tiers_by_verb_environment_number_of_targets_and_what_was_found(
    tier: Tier,
    own: Tier | None,
    rules: dict[str, Any],
    targets: int,
    rescues: bool,
    expected: Tier,
) -> None:
    subject = Subject(tier, own_tier=own, target_count=targets, rescues=rescues)
    verdict = judge(rules, subject)
    assert isinstance(verdict, Confirm)
    phrase = {Tier.HARMLESS: None, Tier.FELT: "edge", Tier.CUT: "edge 3"}[expected]
    assert (verdict.tier, verdict.phrase) == (expected, phrase)


@pytest.mark.parametrize(
    ("count", "typed", "right"),
    [
        (400, "edge 400", True),
        (400, "edge 440", True),
        (400, "edge 360", True),
        (400, "edge 441", False),
        (400, "edge 359", False),
        (29, "edge 26", True),
        (29, "edge 25", False),
        (0, "edge 3", True),
        (0, "edge 4", False),
        (400, "edge", False),
        (400, "400", False),
        (400, "Edge 400", False),
        (400, "edge 400 ", False),
        (400, "edge  400", False),
        (400, "edge -400", False),
        (400, "edge 4_00", False),
        (400, "edge ٤٠٠", False),
        (400, "edge " + "9" * 5000, False),
        (400, "", False),
        (400, None, False),
        (None, "edge", True),
        (None, "edge 400", False),
        (None, "", False),
        (None, None, False),
    ],
)
def test_the_number_of_clients_may_be_a_tenth_off(count: int | None, typed: str | None, right: bool) -> None:
    confirm = Confirm(Tier.CUT, "?", "edge", 0.0, yes_suffices=False, count=count)
    assert confirm.accepts(typed) is right


def test_a_name_with_spaces_can_be_typed() -> None:
    confirm = Confirm(Tier.CUT, "?", 'edge/"my db 7"', 0.0, yes_suffices=False, count=12)
    assert confirm.phrase is not None
    assert confirm.accepts(confirm.phrase)


def test_rules_can_name_every_verb_there_is_and_no_other() -> None:
    assert set(VERBS) == {verb.name for verb in verbs.VERBS}
    assert Policies.model_validate({"require_reason": True}).require_reason == VERBS
