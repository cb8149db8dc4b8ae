"""The command told to a user does what it says to what it names, however odd the name."""

from __future__ import annotations

import shlex

import pytest

from console.config.schema import Bouncer
from console.config.selector import parse_selector
from console.operations.target import Target

ODD = [
    "app",
    "a.b-c_1",
    "we ird",
    "x;reboot",
    "$(reboot)",
    "it's",
    'q"uo',
    "a,b",
    "a/b",
    "*",
    "[x]",
    " x ",
    "!x",
    "dä→",
]


@pytest.mark.parametrize("database", ODD)
def test_the_command_names_exactly_its_target(database: str) -> None:
    words = shlex.split(Target("edge", database).command("resume"))
    assert words[:2] == ["pooldeck", "resume"]
    (selector,) = words[2:]
    (chosen,) = parse_selector(selector).select(
        [Bouncer(name="edge", kind="pgbouncer", tcp="127.0.0.1:6432")]
    )
    assert (chosen.name, chosen.database, chosen.is_exact) == ("edge", database, True)


def test_plain_names_stay_plain() -> None:
    assert Target("edge", "app").command("pause") == "pooldeck pause edge/app"
    assert Target("edge").command("reload") == "pooldeck reload edge"
