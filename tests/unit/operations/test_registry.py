"""The registry is the one list of verbs: whatever is made from it is there for each of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from console.cli import operations as commands_of_the_cli
from console.clock import SystemClock
from console.guard.verdict import Tier
from console.operations.registry import REGISTRY
from console.operations.spec import Absence, Parameters, Scope
from console.operations.verbs import VERBS
from console.tui.commands import commands_of
from console.tui.palette import OperationProvider
from tests.tui.driving import fake_service, recorded_app
from tests.tui.recording import snapshot
from tests.unit.operations.fake_pooler import FakePooler

ROOT = Path(__file__).parents[3]
MODES = {"transaction", "statement", "session"}
NEVER = re.compile(r"\s*(WAIT_CLOSE|SUSPEND)\b", re.IGNORECASE)
"""Statements that spoil a pooler (traps T1, T2 and T15)."""
EVERY = list(REGISTRY)


def test_the_words_and_the_registry_are_the_same_verbs_in_the_same_order() -> None:
    assert [spec.verb for spec in REGISTRY.values()] == list(VERBS)


@pytest.mark.parametrize("name", EVERY)
def test_a_verb_says_what_it_does_to_clients_in_each_pool_mode(name: str) -> None:
    effects = REGISTRY[name].effects
    assert set(effects) == MODES
    assert all(text.strip() for text in effects.values())


@pytest.mark.parametrize("name", EVERY)
def test_a_verb_has_an_undo_or_says_why_there_is_none(name: str) -> None:
    spec = REGISTRY[name]
    assert (spec.undo is None) != (spec.no_undo_reason is None)
    assert spec.undo is None or spec.undo in REGISTRY


@pytest.mark.parametrize("name", EVERY)
def test_a_verb_says_how_it_is_verified_and_what_it_risks(name: str) -> None:
    spec = REGISTRY[name]
    assert spec.verified_by.strip()
    assert spec.tier > Tier.READ
    assert spec.scopes
    for text in (
        spec.verb.title,
        spec.verb.summary,
        spec.verb.help,
        spec.verb.timeout_help,
        spec.verb.targets,
    ):
        assert text.strip()
    assert len(spec.verb.summary) <= 60, "it has to fit a palette"


@pytest.mark.parametrize("name", EVERY)
def test_what_one_kind_of_verb_needs_is_there(name: str) -> None:
    spec = REGISTRY[name]
    assert spec.on_node == (spec.observe_node is not None) == (spec.facts is not None)
    assert (Scope.NODE in spec.scopes) == (spec.scopes == {Scope.NODE}), "a verb acts on poolers or on nodes"
    assert [spec.holds, spec.carry_out is not None, spec.conduct is not None].count(True) == 1
    assert spec.conduct is None or spec.survey is not None
    assert not spec.leased or spec.rescue is not None, "a guardian must know what to send"
    assert spec.absence is not Absence.LASTING or "allow_last" in spec.parameters.model_fields


@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_can_be_given_and_every_option_is_a_parameter(name: str) -> None:
    spec = REGISTRY[name]
    assert issubclass(spec.parameters, Parameters)
    fields = set(spec.parameters.model_fields) - {"timeout_s"}
    assert {option.field for option in spec.verb.options} == fields
    for option in spec.verb.options:
        required = spec.parameters.model_fields[option.field].is_required()
        can_be_left_out = option.kind == "switch" or option.default is not None
        assert required != can_be_left_out, f"{option.field}: an option is required where its field is"
    assert spec.verb.timeout_s == spec.parameters.model_fields["timeout_s"].default


@pytest.mark.parametrize("name", EVERY)
def test_a_verb_is_a_command_with_help_and_its_options(name: str) -> None:
    app = typer.Typer()
    commands_of_the_cli.register(app)
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for flag in ("--plan", "--yes", "--confirm", "--json", "--timeout"):
        assert flag in shown.output
    for option in REGISTRY[name].verb.options:
        wanted = option.flag.split("/")[0] if option.flag else option.metavar
        assert wanted in shown.output


async def test_a_verb_is_a_command_and_a_palette_entry_of_the_console(tmp_path: Path) -> None:
    picture = snapshot()
    service = fake_service(picture, FakePooler(), tmp_path / "journal.jsonl", SystemClock())
    app = recorded_app(picture, service=service)
    async with app.run_test(size=(120, 40)):
        typed = {command.name for command in commands_of(app)}
        entries = [title for title, _, _ in OperationProvider(app.screen).entries()]
    for name, spec in REGISTRY.items():
        assert name in typed
        assert any(title.lstrip("(").startswith(spec.verb.title) for title in entries), (
            f"{name} is in no palette"
        )


@pytest.mark.parametrize("name", EVERY)
def test_a_verb_has_its_page(name: str) -> None:
    page = (ROOT / "docs" / "operations" / f"{REGISTRY[name].verb.page}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert f"pooldeck {name}" in page
    for mode in MODES:
        assert mode in page.lower(), f"nothing is said of {mode} mode"
    for option in REGISTRY[name].verb.options:
        assert (option.flag or option.metavar) in page, f"nothing is said of {option.flag or option.metavar}"
    for word in ("undo", "Exit codes:"):
        assert word.lower() in page.lower()


def test_no_page_is_of_a_verb_that_is_not_there() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "operations").glob("*.md")}
    assert pages - {"config-diff"} == {spec.verb.page for spec in REGISTRY.values()}


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module, those in f-strings too, and their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            yield node.lineno, value


@pytest.mark.trap("T1", "T2", "T15")
def test_no_text_of_the_package_is_a_statement_that_spoils_a_pooler() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[:60]!r}"
        for path in sorted((ROOT / "console").rglob("*.py"))
        for line, text in _texts(path)
        if NEVER.match(text)
    ]
    assert found == []
