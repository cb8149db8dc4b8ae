"""The options of verbs: made from the verb's own list, told in groups, refused by their own names."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import typer
from typer.testing import CliRunner

from console.cli.context import bouncers_and_nodes
from console.cli.operation_options import VerbCommand, Wish, command_of
from console.errors import UsageError
from console.operations.duration import parse_duration
from console.operations.rollout import Rollout, Share, parse_serial
from console.operations.rollout_options import rollout_of
from console.operations.verb import Option, Verb
from console.operations.verbs import VERBS

VERB = Verb(
    name="tilt",
    title="Tilt",
    summary="Tilt a bouncer.",
    help="It stands up again.",
    timeout_help="Seconds to tilt.",
    timeout_s=7.0,
    options=(
        Option("angle", None, "ANGLE", "How far."),
        Option("side", "--side", "left|right", "Which way.", default="left", choices=("left", "right")),
        Option("pids", "--pid", "PID", "Whom.", "texts", default=""),
        Option("hold_s", "--for", "TIME", "How long.", "duration", "30s"),
        Option("hard", "--hard", "", "With force.", "switch"),
    ),
)
LIST = Verb(
    name="end",
    title="End",
    summary="End backends.",
    help="At once.",
    timeout_help="Seconds.",
    single="NODE",
    options=(Option("pids", None, "PID", "Whom.", "texts"),),
)


def wish_of(*words: str, verb: Verb = VERB) -> Wish:
    found: list[Wish] = []

    def run(_context: typer.Context, wish: Wish) -> int:
        found.append(wish)
        return 0

    app = typer.Typer(rich_markup_mode=None)
    app.command(verb.name, cls=VerbCommand)(command_of(verb, run))
    app(list(words), standalone_mode=False)
    (wish,) = found
    return wish


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        rollout_of(wish_of(*words).rollout, "100%")
    return str(caught.value)


def test_each_kind_of_option_becomes_what_the_verb_takes() -> None:
    wish = wish_of("edge", "45", "--side", "right", "--pid", "1", "--pid", "2", "--for", "2m", "--hard")
    assert wish.parameters == {
        "angle": "45",
        "side": "right",
        "pids": ("1", "2"),
        "hold_s": 120.0,
        "hard": True,
        "timeout_s": 7.0,
    }
    plain = wish_of("edge", "45")
    assert plain.parameters["hold_s"] == 30.0
    assert plain.parameters["pids"] == ()
    assert plain.parameters["hard"] is False
    assert wish_of("edge", "1", "2", "3", verb=LIST).parameters["pids"] == ("1", "2", "3")


def test_what_must_be_given_is_asked_for() -> None:
    for words, verb in ((("edge",), VERB), (("edge",), LIST), ((), VERB)):
        with pytest.raises(Exception, match=r"[Mm]issing"):
            wish_of(*words, verb=verb)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--for", "soon"), "--for: 'soon' is no time"),
        (("--timeout", "5 minutes"), "--timeout: '5 minutes' is no time"),
        (("--side", "up"), "--side: 'up' is none of left, right"),
        (("--serial", "1,0"), "--serial: a wave of 0 would never end"),
        (("--serial", "some"), "--serial: 'some' is no number of targets"),
        (("--max-failed", "101%"), "--max-failed: 101% is more than all"),
        (("--max-unavailable", "0"), "--max-unavailable: '0' is no number of targets"),
        (("--max-unavailable", "-1"), "--max-unavailable: '-1' is no number of targets"),
        (("--soak", "x"), "--soak: 'x' is no time"),
        (("--gate-timeout", "1d"), "--gate-timeout: '1d' is no time"),
        (("--max-wait", "-1s"), "--max-wait: '-1s' is no time"),
        (("--plan", "--approve", "f" * 12), "--plan and --save show a plan, --approve runs one"),
        (("--save", "x", "--approve", "f" * 12), "--plan and --save show a plan, --approve runs one"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(words: Sequence[str], told: str) -> None:
    assert refused("edge", "45", *words) == told


@pytest.mark.parametrize(
    "flag",
    [
        "--save",
        "--approve",
        "--confirm",
        "--reason",
        "--serial",
        "--max-unavailable",
        "--max-failed",
        "--soak",
    ],
)
def test_a_variable_that_is_not_set_makes_no_real_run_and_lifts_no_limit(flag: str) -> None:
    assert refused("edge", "45", "--yes", flag, "") == f"{flag}: it is empty"


def test_a_verb_on_a_single_target_takes_no_waves() -> None:
    with pytest.raises(Exception, match="No such option"):
        wish_of("primary", "1", "--serial", "1", verb=LIST)
    assert wish_of("primary", "1", "2", verb=LIST).rollout == {}
    assert wish_of("primary", "1", "2", verb=LIST).command == "pooldeck end primary 1 2"


def test_waves_and_limits_are_the_verbs_own_unless_something_is_said() -> None:
    assert rollout_of(wish_of("edge", "45").rollout, "1,100%") is None
    given = wish_of("edge", "45", "--max-failed", "10%", "--soak", "5s", "--max-unavailable", "2")
    assert rollout_of(given.rollout, "1,100%") == Rollout(
        parse_serial("1,100%"), max_unavailable=2, max_failed=Share(10, is_percent=True), soak_s=5.0
    )
    all_of_it = wish_of("edge", "45", "--serial", "3", "--gate-timeout", "1m", "--max-wait", "500ms")
    assert rollout_of(all_of_it.rollout, "1,100%") == Rollout(
        parse_serial("3"), gate_timeout_s=60.0, max_wait_s=0.5
    )


def test_to_save_a_plan_is_to_plan_only() -> None:
    wish = wish_of("edge", "45", "--save", "x.json")
    assert wish.plan_only
    assert wish.save == Path("x.json")
    assert not wish_of("edge", "45").plan_only


def test_the_command_of_a_plan_can_be_pasted_and_asks_for_the_same() -> None:
    words = ('edge/"a b"', "4 5", "--pid", "1", "--pid", "2;reboot", "--hard", "--for", "2m")
    more = ("--reason", "it's time", "--serial", "1,50%", "--side", "right", "--timeout", "9")
    wish = wish_of(*words, *more, "--plan", "--json", "-v")
    pasted = shlex.split(wish.command)
    assert pasted[:2] == ["pooldeck", "tilt"]
    again = wish_of(*pasted[2:])
    assert (again.selector, again.parameters, again.rollout, again.reason) == (
        wish.selector,
        wish.parameters,
        wish.rollout,
        wish.reason,
    )
    assert wish_of("edge", "45", "--plan").command == "pooldeck tilt edge 45"
    assert wish_of("edge", "", "--plan").command == "pooldeck tilt edge ''", "SET of an empty value"


def test_a_selector_may_stand_behind_a_flag_and_plan_have_another_name() -> None:
    verb = replace(VERB, name="turn", default_selector="all", selector_flag="--on", plan_flag="--check")
    wish = wish_of("45", "--check", verb=verb)
    assert (wish.selector, wish.parameters["angle"], wish.plan_only) == ("all", "45", True)
    wish = wish_of("45", "--on", "@zone=a", "--plan", verb=verb)
    assert wish.command == "pooldeck turn 45 --on @zone=a"
    assert wish_of(*shlex.split(wish.command)[2:], verb=verb).selector == "@zone=a"


@pytest.mark.parametrize("verb", [*VERBS, VERB, LIST], ids=lambda verb: verb.name)
def test_help_is_in_groups_and_fits_80_columns(verb: Verb) -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command(verb.name, cls=VerbCommand, help=verb.help)(command_of(verb, lambda *_: 0))
    shown = CliRunner().invoke(app, ["--help"], terminal_width=80, env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    heads = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    many = [] if verb.single else ["Several targets:"]
    assert heads == ["Arguments:", f"{verb.title}:", "Plan and agreement:", *many, "Output:"]
    assert max(map(len, lines)) <= 80
    positional = " ".join(option.metavar for option in verb.options if option.flag is None)
    selector = verb.single or ("SELECTOR" if verb.default_selector is None else "[SELECTOR]")
    if verb.selector_flag is not None:
        assert any(verb.selector_flag in line for line in lines)
        selector = ""
    assert lines[0].split("[OPTIONS] ")[1].replace("...", "") == f"{selector} {positional}".strip()
    for option in verb.options:
        if option.flag is not None:
            assert any(option.flag in line for line in lines)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2m", 120), ("1h", 3600), ("1h30m", 5400), ("500ms", 0.5), (" 0.5 ", 0.5)],
)
def test_durations_as_people_type_them(text: str, seconds: float) -> None:
    assert parse_duration(text, where="--for") == seconds


@pytest.mark.parametrize("text", ["", "s", "1d", "-1", "1 h", "nan", "inf", "1e3", "1m 30s", "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_duration(text, where="--for")


NODES = """\
fleet = "test"
environment = "development"
defaults.monitor_user = "m"
[[bouncers]]
name = "edge-1"
tcp = "127.0.0.1:1"
[[bouncers]]
name = "edge-2"
tcp = "127.0.0.1:2"
[[postgres]]
name = "primary"
role = "primary"
tcp = "127.0.0.1:3"
"""


@pytest.mark.parametrize(
    ("verb", "typed", "completed"),
    [
        ("pause", "", ["edge-1", "edge-2"]),
        ("pause", "edge-2", ["edge-2"]),
        ("pause", "edge-1,!e", ["edge-1,!edge-1", "edge-1,!edge-2"]),
        ("cancel", "", ["primary"]),
        ("pause", "primary", []),
    ],
)
def test_a_verb_completes_what_it_can_act_on(
    tmp_path: Path, verb: str, typed: str, completed: list[str]
) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(NODES)
    root = SimpleNamespace(params={"fleet": fleet})
    context = SimpleNamespace(find_root=lambda: root, command=SimpleNamespace(name=verb))
    assert bouncers_and_nodes(cast("typer.Context", context), typed) == completed
    root.params = {"fleet": tmp_path / "nowhere.toml"}
    assert bouncers_and_nodes(cast("typer.Context", context), typed) == []
