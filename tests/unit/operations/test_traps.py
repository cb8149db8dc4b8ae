"""Every trap of PgBouncer has its row in docs/traps.md, and tests that carry its number, or a reason.

The test files are parsed, not imported.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "traps.md"
TRAPS = [f"T{number}" for number in range(1, 32)]
CANNOT = "**Cannot arise:** "
_ROW = re.compile(r"\| (T\d+) \| (.+?) \| (.+?) \| (.+?) \|")


def rows() -> dict[str, tuple[str, str, str]]:
    """Return versions, what PgBouncer does and what Pooldeck does, by trap."""
    found = [match.groups() for line in PAGE.read_text().splitlines() if (match := _ROW.fullmatch(line))]
    assert [row[0] for row in found] == TRAPS, "one row each, in order"
    return {trap: (versions, does, ours) for trap, versions, does, ours in found}


@functools.cache
def marked() -> dict[str, list[str]]:
    """Return the tests of each trap, as `file::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for test, trap in _marks(ast.parse(text)) if "mark.trap" in text else ():
            found.setdefault(trap, []).append(f"{path.relative_to(ROOT)}::{test}")
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.trap":
                continue
            assert node.name.startswith("test_"), f"{node.name} is no test"
            assert decorator.args, f"{node.name} is marked with no trap"
            yield from ((node.name, ast.literal_eval(argument)) for argument in decorator.args)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_guarded_and_tested_or_has_a_reason(trap: str) -> None:
    ours = rows()[trap][2]
    tests = marked().get(trap, [])
    if ours.startswith(CANNOT):
        assert len(ours) > len(CANNOT) + 20, "the reason why it cannot arise"
        assert not tests, f"it can arise after all: {tests}"
    else:
        assert tests, "no test shows what the page says"


def test_no_test_is_marked_with_a_trap_that_there_is_not() -> None:
    assert marked().keys() <= set(TRAPS)


def test_every_page_that_is_linked_is_there() -> None:
    for name in re.findall(r"\]\(([^)#]+)", PAGE.read_text()):
        assert (PAGE.parent / name).is_file(), name
