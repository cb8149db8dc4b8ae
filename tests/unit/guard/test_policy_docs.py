"""docs/policy.md is complete and true: tiers, keys, rules, examples, and the words of a refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from console.config.load import load_inventory
from console.config.policy_schema import VERBS, Policies, Rules
from console.config.windows import parse_window
from console.guard import policy
from console.guard.policy import Policy
from console.guard.verdict import Confirm, Deny, Tier
from console.operations.registry import REGISTRY
from tests.unit.guard.test_guard import Subject
from tests.unit.guard.test_policy import ASKS

TEXT = (Path(__file__).parents[3] / "docs/policy.md").read_text(encoding="utf-8")


def rows(heading: str, number: int = 0) -> list[list[str]]:
    """A table of the part under a heading, without its head."""
    assert TEXT.count(f"\n{heading}\n") == 1, heading
    part = TEXT.split(f"\n{heading}\n")[1].split("\n## ")[0]
    table = re.findall(r"^\|---.*\n((?:\|.*\n)+)", part, flags=re.MULTILINE)[number]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


TIERS = {"harmless": Tier.HARMLESS, "felt": Tier.FELT, "cut": Tier.CUT}


def test_every_verb_stands_at_its_tier() -> None:
    told = {
        verb: TIERS[one_target]
        for _, verbs, one_target, _ in rows("## How much is asked")
        for verb in re.findall(r"`([a-z -]+)`", verbs)
    }
    assert told == {spec.name: spec.tier for spec in REGISTRY.values()}


def test_what_several_targets_are_asked_is_what_the_guard_asks() -> None:
    judge = Policy("staging", read_only=False).tier_of
    for _, verbs, _, several in rows("## How much is asked"):
        tier, _, exceptions = several.partition(";")
        for verb in re.findall(r"`([a-z -]+)`", verbs):
            spec = REGISTRY[verb]
            subject = Subject(spec.tier, op=verb, target_count=2, rescues=spec.rescues)
            expected = exceptions.rpartition(": ")[2] if f"`{verb}`" in exceptions else tier
            assert judge(subject) is TIERS[expected], verb


def test_what_each_tier_asks_is_what_the_guard_asks() -> None:
    for word, lenient, strict in rows("## How much is asked", 1):
        for environment, told in (("staging", lenient), ("production", strict)):
            told = lenient if told == "the same" else told
            verdict = Policy(environment, read_only=False).judge(Subject(TIERS[word]), ASKS)  # type: ignore[arg-type]
            assert isinstance(verdict, Confirm)
            assert ("second" in told) is (verdict.arm_after_s == 1.0)
            assert told.endswith("`--yes`") is verdict.yes_suffices
            wanted = {None: "`--yes`", "edge": "--confirm NAME`", "edge 3": '--confirm "NAME COUNT"`'}
            assert verdict.yes_suffices or told.endswith(wanted[verdict.phrase])


def test_every_key_is_explained() -> None:
    told = {key for row in rows("## `[policy]`") for key in re.findall(r"^`([a-z_]+)`", row[0])}
    assert told == set(Rules.model_fields)


def test_every_rule_that_refuses_is_in_the_table_and_in_the_order_of_the_guard() -> None:
    told = [re.findall(r"`(.+?)`", row[0])[0] for row in rows("## Refused")]
    source = Path(policy.__file__).read_text(encoding="utf-8")
    assert told == re.findall(r'"((?:policy|plan)\.[a-z_]+)"', source)


def test_the_example_is_an_inventory_that_means_what_its_comments_say(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "fleet.toml"
    path.write_text(example, encoding="utf-8")
    rules = load_inventory(path).policy.resolved("production")
    assert (rules.max_targets, rules.max_pause_s) == (10, 60)
    assert rules.tiers == {"reload": "felt"}
    assert len(rules.windows) == 2
    assert rules.forbid < set(VERBS)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"require_reason": ["pause", "kill"]}, None),
        ({"production": {"windows": ["Mon-Fri 22:00-05:00 Europe/Berlin"]}}, "change 4711"),
    ],
)
def test_refusals_are_quoted_as_they_are(rules: dict[str, object], reason: str | None) -> None:
    verdict = Policy("production", read_only=False, policies=Policies.model_validate(rules)).judge(
        Subject(), replace(ASKS, reason=reason)
    )
    assert isinstance(verdict, Deny)
    assert f"pooldeck: {verdict.rule}: {verdict.reason}\n  next: {verdict.hint}\n" in TEXT


def test_every_form_of_a_window_that_is_shown_can_be_read() -> None:
    table = {row[0]: re.findall(r"`([^`]+)`", row[1]) for row in rows("## Change windows")}
    days = [text for text in table["days"] if len(text) > 3]
    times = [text for text in table["times"] if "-" in text]
    zones = [text for text in table["zone"] if text != "tzdata"]
    assert min(len(days), len(times), len(zones)) >= 2
    for day in days:
        for time in times:
            for zone in zones:
                parse_window(f"{day} {time} {zone}")
