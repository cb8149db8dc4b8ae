"""`[policy]` of an inventory: what it means in which environment, and mistakes told where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.config.load import load_inventory
from console.config.policy_schema import VERBS, Policies, Rules
from console.errors import InventoryError

FLEET = """\
fleet = "payments"
environment = "staging"
[[bouncers]]
name = "edge"
tcp = "10.0.0.2:6432"
monitor_user = "monitor"
"""
FIRST_LINE = FLEET.count("\n") + 1


def load(folder: Path, text: str) -> Policies:
    path = folder / "fleet.toml"
    path.write_text(FLEET + text, encoding="utf-8")
    return load_inventory(path).policy


def test_without_the_table_everything_is_allowed(tmp_path: Path) -> None:
    rules = load(tmp_path, "").resolved("staging")
    assert not rules.forbid
    assert not rules.windows
    assert not rules.require_reason
    assert not rules.two_person
    assert (rules.max_targets, rules.max_pause_s, rules.allow_long_pause) == (None, None, False)


def test_an_environment_replaces_what_it_sets_and_its_tiers_are_merged(tmp_path: Path) -> None:
    policies = load(
        tmp_path,
        "[policy]\n"
        'forbid = ["shutdown"]\nmax_targets = 10\nmax_pause_s = 120\nallow_long_pause = true\n'
        'require_reason = true\ntwo_person = ["kill", "shutdown"]\nwindows = ["Sat,Sun 00:00-24:00 UTC"]\n'
        '[policy.tiers]\nreload = "felt"\nkill = "felt"\n'
        "[policy.staging]\n"
        "forbid = []\nmax_targets = 2\nmax_pause_s = 7.5\nallow_long_pause = false\n"
        'require_reason = ["kill"]\ntwo_person = false\nwindows = []\ntiers = { kill = "cut" }\n',
    )
    everywhere, staging = policies.resolved("production"), policies.resolved("staging")
    assert everywhere.forbid == {"shutdown"}
    assert everywhere.require_reason == set(VERBS)
    assert everywhere.two_person == {"kill", "shutdown"}
    assert [window.text for window in everywhere.windows] == ["Sat,Sun 00:00-24:00 UTC"]
    assert (everywhere.max_targets, everywhere.max_pause_s, everywhere.allow_long_pause) == (10, 120, True)
    assert everywhere.tiers == {"reload": "felt", "kill": "felt"}
    assert staging.require_reason == {"kill"}
    assert (staging.forbid, staging.two_person, staging.windows) == (frozenset(), frozenset(), ())
    assert (staging.max_targets, staging.max_pause_s, staging.allow_long_pause) == (2, 7.5, False)
    assert staging.tiers == {"reload": "felt", "kill": "cut"}


def test_what_an_environment_leaves_out_stays_in_force(tmp_path: Path) -> None:
    policies = load(
        tmp_path, '[policy]\nforbid = ["kill"]\nmax_targets = 3\n[policy.staging]\nmax_targets = 4\n'
    )
    rules = policies.resolved("staging")
    assert rules.forbid == {"kill"}
    assert rules.max_targets == 4
    assert rules.origin == {"forbid": "policy.forbid", "max_targets": "policy.staging.max_targets"}


_VERBS_ARE = f"(verbs are {', '.join(VERBS)})"
_WINDOW = "(as in Mon-Fri 22:00-05:00 Europe/Berlin)"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            'forbid = ["kill",\n"shutdwon"]',
            2,
            "policy.forbid[#2]: there is no verb 'shutdwon' (did you mean shutdown?)",
        ),
        ('forbid = ["PAUSE"]', 1, "policy.forbid[#1]: there is no verb 'PAUSE' (did you mean pause?)"),
        ('forbid = ["xyz"]', 1, f"policy.forbid[#1]: there is no verb 'xyz' {_VERBS_ARE}"),
        ('forbid = [""]', 1, f"policy.forbid[#1]: there is no verb '' {_VERBS_ARE}"),
        ("forbid = [1]", 1, "policy.forbid[#1]: must be a text in quotes"),
        # Nothing could be resumed any more: whoever wants that has to write every verb.
        ("forbid = true", 1, 'policy.forbid: must be a list, as in ["a", "b"]'),
        (
            'require_reason = "pause"',
            1,
            'policy.require_reason: must be a list of verbs, true or false (as in ["pause", "kill"])',
        ),
        (
            "two_person = 2",
            1,
            'policy.two_person: must be a list of verbs, true or false (as in ["pause", "kill"])',
        ),
        ("two_person = [true]", 1, "policy.two_person[#1]: must be a text in quotes"),
        (
            'two_person = ["kil"]',
            1,
            "policy.two_person[#1]: there is no verb 'kil' (did you mean kill?)",
        ),
        ("max_targets = 0", 1, "policy.max_targets: must be at least 1"),
        ("max_targets = true", 1, "policy.max_targets: must be a whole number, without quotes"),
        ("max_pause_s = 0", 1, "policy.max_pause_s: must be above 0 and at most 3600 seconds"),
        ('max_pause_s = "2m"', 1, "policy.max_pause_s: must be a number of seconds, without quotes"),
        ("allow_long_pause = 1", 1, "policy.allow_long_pause: must be true or false, without quotes"),
        (
            'tiers = { reload = "flet" }',
            1,
            "policy.tiers.reload: 'flet' is not valid (did you mean felt? valid: harmless, felt, cut)",
        ),
        ("tiers = { reload = 2 }", 1, "policy.tiers.reload: must be a text (one of harmless, felt, cut)"),
        (
            'tiers = { relaod = "felt" }',
            1,
            "policy.tiers.relaod: there is no verb 'relaod' (did you mean reload?)",
        ),
        ('tiers = "felt"', 1, "policy.tiers: must be a table"),
        ('windows = "Mon 22:00-05:00 UTC"', 1, 'policy.windows: must be a list, as in ["a", "b"]'),
        (
            'windows = [\n"Mon 22:00-05:00 UTC",\n"Tue 9-5 UTC"]',
            3,
            f"policy.windows[#2]: a change window is days, begin-end and a time zone {_WINDOW}",
        ),
        (
            'windows = ["Mo 22:00-05:00 UTC"]',
            1,
            f"policy.windows[#1]: Mo is no day; days are Mon, Tue, Wed, Thu, Fri, Sat, Sun {_WINDOW}",
        ),
        (
            'windows = ["Mon 22:00-05:00 Europe/Berlim"]',
            1,
            "policy.windows[#1]: this machine knows no time zone Europe/Berlim; did you mean Europe/Berlin? "
            f"{_WINDOW}",
        ),
        ('forbit = ["kill"]', 1, "policy.forbit: unknown key (did you mean forbid?)"),
        ("[policy.prod]\nforbid = []", 1, "policy.prod: unknown key (did you mean production?)"),
        (
            "[policy.staging]\nstaging = {}",
            2,
            "policy.staging.staging: unknown key here (it belongs in [policy])",
        ),
        (
            '[policy.staging]\ntiers.kil = "cut"',
            2,
            "policy.staging.tiers.kil: there is no verb 'kil' (did you mean kill?)",
        ),
        # Rules of another environment are read too: the file is shared.
        (
            '[policy.production]\nwindows = ["always"]',
            2,
            f"policy.production.windows[#1]: a change window is days, begin-end and a time zone {_WINDOW}",
        ),
        ("[defaults]\nmax_targets = 2", 2, "defaults.max_targets: unknown key here (it belongs in [policy])"),
    ],
)
def test_a_mistake_is_told_where_it_stands_with_what_was_meant(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    if not text.startswith("["):
        text, line = f"[policy]\n{text}", line + 1
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, f"{text}\n")
    told = [str(told) for told in caught.value.problems]
    assert told == [f"{tmp_path}/fleet.toml:{FIRST_LINE + line - 1}: {problem}"]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, '[policy]\nforbid = ["kil", "puase"]\nmax_targets = 0\nwindows = ["x", "y"]\n')
    assert len(caught.value.problems) == 5


def test_no_table_of_an_environment_lacks_a_rule() -> None:
    assert set(Policies.model_fields) == {*Rules.model_fields, "development", "staging", "production"}
