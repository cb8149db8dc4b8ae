"""The contracts of operations: who may hold a writer, what each verb brings, nothing without a permit."""

from __future__ import annotations

import ast
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from console.errors import PooldeckError
from console.guard.permit import Permit
from console.guard.verdict import Allow, Confirm, Tier
from console.operations.registry import REGISTRY
from console.operations.verbs import VERBS
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler
from tests.unit.operations.patience import impatient

ROOT = Path(__file__).parents[3]
CONSOLE = ROOT / "console"
MAY_WRITE = ("poolers/", "operations/")


def _outside(path: Path) -> bool:
    return not path.relative_to(CONSOLE).as_posix().startswith(MAY_WRITE)


@pytest.mark.parametrize("path", [p for p in sorted(CONSOLE.rglob("*.py")) if _outside(p)], ids=str)
def test_only_poolers_and_operations_name_a_writer(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        named = getattr(node, "id", None) or getattr(node, "attr", None)
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        assert named not in ("AdminWriter", "WriteSession"), f"{path} names {named}"
        assert not {"AdminWriter", "WriteSession"} & set(names), f"{path} imports a writer"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "writer":
            assert not _is_connector(node.func.value), f"{path}:{node.lineno} opens a writer"


def _is_connector(node: ast.expr) -> bool:
    return "connector" in ast.dump(node)


def test_the_words_and_the_registry_are_the_same_verbs() -> None:
    assert [spec.verb for spec in REGISTRY.values()] == list(VERBS)


@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_verb_brings_all_it_must(name: str) -> None:
    spec = REGISTRY[name]
    assert spec.tier > Tier.READ
    assert set(spec.effects) == {"transaction", "statement", "session"}
    assert (spec.undo is None) != (spec.no_undo_reason is None), "an undo, or why there is none"
    assert spec.undo is None or spec.undo in REGISTRY
    for text in (spec.verb.title, spec.verb.summary, spec.verb.help, spec.verified_by):
        assert text.strip()
    assert len(spec.verb.summary) <= 60, "it has to fit a palette"

    page = (ROOT / "docs" / "operations" / f"{REGISTRY[name].verb.page}.md").read_text()
    for mode in spec.effects:
        assert mode in page.lower(), f"docs/operations/{name}.md says nothing of {mode} mode"
    assert f"pooldeck {name}" in page


@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_verb_is_a_command_with_help(name: str) -> None:
    import typer

    from console.cli import operations

    app = typer.Typer()
    operations.register(app)
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    for option in ("--plan", "--yes", "--confirm", "--json", "--timeout"):
        assert option in shown.output


Environment = Literal["development", "staging", "production"]
_answers = st.sampled_from(
    ["right", "wrong", "none", "forged permit", "milder verdict", "twice", "other plan"]
)


@settings(max_examples=150, deadline=None)
@given(
    op=st.sampled_from(list(REGISTRY)),
    database=st.booleans(),
    environment=st.sampled_from(["development", "staging", "production"]),
    read_only=st.booleans(),
    admin_user=st.sampled_from(["admin", None]),
    version=st.sampled_from(["1.18.0", "1.24.1", "1.26.1"]),
    paused=st.booleans(),
    journal_works=st.booleans(),
    answer=_answers,
)
def test_no_statement_reaches_a_pooler_without_a_journalled_permit(
    op: str,
    database: bool,
    environment: Environment,
    read_only: bool,
    admin_user: str | None,
    version: str,
    paused: bool,
    journal_works: bool,
    answer: str,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        if not journal_works:
            journal.mkdir()
        pooler = FakePooler(version=version, paused=paused)
        bench = Bench(pooler, journal, environment, read_only=read_only, admin_user=admin_user)

        def must_be_journalled(statement: str) -> None:
            if statement == "PAUSE pgbouncer":
                assert not read_only, "a read-only session does not even probe"
                return
            records = [json.loads(line) for line in journal.read_text().splitlines()]
            assert records[-1]["kind"] == "intent"
            assert statement in records[-1]["statements"] + records[-1]["rescue"]

        pooler.before_execute = must_be_journalled
        with impatient():
            asyncio.run(_drive(bench, op, "edge/app" if database else "edge", answer))
        if (
            read_only
            or not journal_works
            or admin_user is None
            or answer in ("forged permit", "milder verdict")
        ):
            assert pooler.changing() == []
        if answer in ("wrong", "none") and op == "pause":
            assert pooler.changing() == []


async def _drive(bench: Bench, op: str, selector: str, answer: str) -> None:
    """Behave as a careless or hostile driver would."""
    async with bench.service:
        try:
            more: dict[str, Any] = {"hold_s": 0} if op == "pause" else {}
            plan = await bench.service.plan(op, selector, timeout_s=2, **more)
            verdict = bench.service.judge(plan)
            phrase = verdict.phrase if isinstance(verdict, Confirm) else None
            if answer == "forged permit":
                bench.service.submit(
                    plan, Permit("f00d", plan.hash, float("inf"), "typed", bench.service.request())
                )
            if answer == "milder verdict" and not isinstance(verdict, Allow):
                verdict = Allow(plan.tier)
            given = {"wrong": "edgy", "none": None}.get(answer, phrase)
            permit = bench.service.permit(plan, verdict, given)
            if answer == "milder verdict":
                return
            if answer == "other plan":
                plan = await bench.service.plan("resume", "edge-2")
            run = bench.service.submit(plan, permit)
            await run.receipt()
            if answer == "twice":
                sent = list(bench.pooler.changing())
                with pytest.raises(PooldeckError):
                    bench.service.submit(plan, permit)
                assert bench.pooler.changing() == sent
        except PooldeckError:
            return
