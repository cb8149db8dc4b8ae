"""What has to be proved on real servers, and the tests that do: by their markers, parsed and not imported."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.operations.registry import REGISTRY

TESTS = Path(__file__).parents[1]
FAULTS = (
    "console killed while a PAUSE is pending",
    "console killed while a pause is held",
    "SSH connection cut",
    "sshd stopped",
    "bouncer killed and restarted mid-PAUSE",
    "Postgres stopped mid-PAUSE",
    "client that never ends its transaction",
    "journal's disk full",
    "clock jump",
    "two consoles pausing one bouncer",
    "somebody else's RESUME while ours is pending",
    "terminal closed",
    "guardian killed",
)
FAULTS_DURING = (
    "restart: console killed",
    "restart: SSH connection cut",
    "restart: sshd stopped",
    "restart: the bouncer does not start",
    "restart: a bad new file",
    "config: console killed",
    "config: SSH connection cut",
    "config: the bouncer dies",
    "config: a bad new file",
    "config: disk full",
    "rotate: console killed",
    "rotate: SSH connection cut",
    "rotate: the bouncer dies",
    "rotate: Postgres refuses the ALTER",
    "switchover: console killed",
    "switchover: SSH connection cut",
    "switchover: the bouncer dies",
    "switchover: the replica refuses",
)
LIKE_RELOAD = {"config set", "config push", "config rollback"}
"""To clients a RELOAD of another file."""
SETTLED = {"assert_settled", "assert_settled_within"}
"""Each fault ends with one: no bouncer paused, no lease, a whole journal that tells true ends."""


@functools.cache
def marked(marker: str) -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return the tests of each argument of a marker."""
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if f"mark.{marker}" in text:
            for argument, test in _marks(ast.parse(text), f"pytest.mark.{marker}"):
                found.setdefault(argument, []).append(test)
    return found


def _marks(tree: ast.Module, marker: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == marker:
                    yield from ((ast.literal_eval(argument), node) for argument in decorator.args)


def calls(test: ast.AST) -> set[str]:
    """Return the names of what a test calls."""
    found = (node.func for node in ast.walk(test) if isinstance(node, ast.Call))
    return {func.attr if isinstance(func, ast.Attribute) else ast.unparse(func) for func in found}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_made_and_ends_settled(fault: str) -> None:
    tests = marked("fault").get(fault, [])
    assert tests, "no test makes it"
    for test in tests:
        assert calls(test) & SETTLED, f"{test.name} does not end settled"


def test_no_test_makes_a_fault_that_is_not_listed() -> None:
    assert marked("fault").keys() <= set(FAULTS)


@pytest.mark.parametrize("what", FAULTS_DURING)
def test_a_fault_is_made_while_a_verb_works(what: str) -> None:
    assert marked("during").get(what), "no test makes it"


def test_no_test_makes_a_fault_during_a_verb_that_is_not_listed() -> None:
    assert marked("during").keys() <= set(FAULTS_DURING)


@pytest.mark.parametrize("verb", sorted(REGISTRY.keys() - LIKE_RELOAD))
def test_what_clients_see_of_a_verb_is_shown_under_load(verb: str) -> None:
    assert marked("under_load").get(verb), "no test shows it"


def test_no_test_shows_a_verb_that_there_is_not() -> None:
    assert marked("under_load").keys() <= REGISTRY.keys()
