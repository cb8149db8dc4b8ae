"""What is typed behind a verb: read, refused with what is expected, completed. From the verbs alone."""

from __future__ import annotations

from typing import Any

import pytest

from console.errors import UsageError
from console.operations.registry import REGISTRY
from console.operations.rollout import Share
from console.tui import wishes
from console.tui.wishes import Wish

NAMES = ("edge-1a", "edge-1b", "all", "@zone=a", "edge-1a/app")


def read(op: str, text: str) -> Wish:
    return wishes.parse(REGISTRY[op].verb, text, serial=REGISTRY[op].serial)


def offered(op: str, text: str) -> list[str]:
    def names(what: str, selector: str, begun: str) -> list[tuple[str, str]]:
        return [(name, "") for name in NAMES] if what == "target" else []

    return [text for text, _, _ in wishes.completions(REGISTRY[op].verb, text, names)]


@pytest.mark.parametrize(
    ("op", "text", "selector", "parameters"),
    [
        ("pause", "edge-1a for=60s timeout=10", "edge-1a", {"hold_s": 60.0, "timeout_s": 10.0}),
        ("pause", "edge-1a", "edge-1a", {"hold_s": 30.0, "timeout_s": 5.0}),
        ("pause", "detach for=1m30s", "", {"hold_s": 90.0, "detach": True, "timeout_s": 5.0}),
        ("pause", "--for=2m edge-1a, edge-1b", "edge-1a, edge-1b", {"hold_s": 120.0, "timeout_s": 5.0}),
        ("resume", '@zone=a,!edge-1a/"a b,""c"', '@zone=a,!edge-1a/"a b,""c"', {"timeout_s": 5.0}),
        (
            "set",
            'edge-1a server_check_query "select 1"',
            "edge-1a",
            {"key": "server_check_query", "value": "select 1", "timeout_s": 5.0},
        ),
        ("kill-client", "edge-1a 42 43", "edge-1a", {"ids": ("42", "43"), "timeout_s": 5.0}),
        (
            "config set",
            'edge-1a a_b=session verbose=2 databases.app.connect_query="select 1, 2" remove=a,b timeout=9',
            "edge-1a",
            {
                "changes": ("a_b=session", "verbose=2", "databases.app.connect_query=select 1, 2"),
                "remove": ("a", "b"),
                "timeout_s": 9.0,
            },
        ),
        (
            "config set",
            "edge-1a remove=query_timeout",
            "edge-1a",
            {"remove": ("query_timeout",), "timeout_s": 5.0},
        ),
        ("config rollback", "edge-1a", "edge-1a", {"timeout_s": 5.0}),
        (
            "shutdown",
            "edge-1a mode=wait-for-clients allow-last",
            "edge-1a",
            {"mode": "wait-for-clients", "allow_last": True, "timeout_s": 30.0},
        ),
    ],
)
def test_what_is_typed_is_what_is_asked_for(
    op: str, text: str, selector: str, parameters: dict[str, Any]
) -> None:
    wish = read(op, text)
    assert (wish.op, wish.selector, dict(wish.parameters)) == (op, selector, parameters)


def test_waves_limits_and_the_reason_are_not_parameters() -> None:
    wish = read("pause", 'all serial=1,100% max-failed=10% soak=5s reason="change 4711"')
    assert wish.reason == "change 4711"
    assert wish.rollout is not None
    assert wish.rollout.serial == (Share(1), Share(100, True))
    assert wish.rollout.max_failed == Share(10, True)
    assert wish.rollout.soak_s == 5.0
    assert "serial" not in wish.parameters


def test_a_limit_alone_keeps_the_waves_of_the_verb() -> None:
    rollout = read("reload", "all max-unavailable=2").rollout
    assert rollout is not None
    assert rollout.serial == (Share(1), Share(25, True), Share(100, True))


@pytest.mark.parametrize(
    ("op", "text", "says"),
    [
        ("pause", "edge-1a fro=60s", "did you mean for?"),
        ("pause", "edge-1a for=", "for= wants a time such as 30s or 2m"),
        ("pause", "edge-1a for=soon", "'soon' is no time"),
        ("pause", "edge-1a --for", "write for=a time"),
        ("pause", "edge-1a detach=no", "detach takes no value"),
        ("pause", "edge-1a for=1s for=2s", "for is given twice"),
        ("pause", "edge-1a edge-1b", "pause takes no 'edge-1b'"),
        ("set", "edge-1a", "set wants KEY behind the target"),
        ("set", "edge-1a default_pool_size", "set wants VALUE behind the target"),
        ("shutdown", "edge-1a", "shutdown wants mode=one of now, wait-for-servers, wait-for-clients"),
        ("shutdown", "edge-1a mode=later", "'later' is none of now"),
        ("reload", "all max-unavailable=0", "is no number of targets"),
        ("cancel", "primary 1 serial=1", "there is no serial="),
        ("kill-client", "edge-1a", ":kill-client BOUNCER ID..."),
    ],
)
def test_what_cannot_be_read_says_what_is_expected(op: str, text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(op, text)
    assert says in str(refused.value)


@pytest.mark.parametrize("op", REGISTRY)
def test_every_verb_can_be_written_as_its_usage_says(op: str) -> None:
    verb = REGISTRY[op].verb
    for option in verb.options:
        word = option.flag.removeprefix("--") if option.flag else option.metavar
        assert word in wishes.usage(verb)


@pytest.mark.parametrize(
    ("op", "text", "expected"),
    [
        ("pause", "ed", ["edge-1a", "edge-1b", "edge-1a/app"]),
        ("pause", "edge-1b,!edge-1a", ["edge-1a/app"]),
        ("pause", "edge-1a f", ["for="]),
        ("pause", "edge-1a for=5s d", ["detach"]),
        ("shutdown", "edge-1a mode=wait", ["wait-for-servers", "wait-for-clients"]),
        ("shutdown", "edge-1a mo", ["mode="]),
    ],
)
def test_names_keys_and_choices_are_completed(op: str, text: str, expected: list[str]) -> None:
    assert offered(op, text) == expected


def test_a_key_that_is_given_is_not_offered_again() -> None:
    assert "for=" in offered("pause", "edge-1a ")
    assert "for=" not in offered("pause", "edge-1a for=5s ")
