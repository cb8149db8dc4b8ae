"""Secrets typed in the console: judged first, held for one run, and nowhere else, then or afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Input

from console.config.secret_policy import judge_secret
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.registry import REGISTRY
from console.operations.secrets_wanted import SecretWanted
from console.operations.step import Step
from console.tui.app import PooldeckApp
from console.tui.screens import plan as plan_module
from console.tui.screens.plan import PlanScreen
from console.tui.screens.secret import SecretScreen
from tests.tui.driving import burst, text_of, until
from tests.tui.verb_kit import LINE, PHRASE, Parameters, app_with
from widgets.secret_input import SecretInput

NEW = "Xk9pQ2vNw7RtZb4LmH6sYc3D"
OLD = "the-0ld-Word-of-3vil"
SIZE = (80, 24)
Deck = Pilot[Any]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "REPLAN_S", 60.0)


def wanted(asked: Parameters) -> tuple[SecretWanted, ...]:
    judge = partial(judge_secret, role="webshop")
    return (
        SecretWanted("new", "webshop", "secret_from", asked.secret_from, twice=True, judge=judge),
        SecretWanted("old", "webshop", "old_from", asked.old_from, "it is tried afterwards"),
    )


class Work:
    """What the run got; compared here, so that this keeps none."""

    def __init__(self) -> None:
        self.matched: list[bool] = []

    async def __call__(self, step: Step) -> TargetReceipt:
        wallet = step.reach.wallet
        assert wallet is not None
        asked = step.parameters
        for source, which, expected in ((asked.secret_from, "new", NEW), (asked.old_from, "old", OLD)):
            if source:
                given = await wallet.secret(source, role="webshop", which=which)
                self.matched.append(given.get_secret_value() == expected)
        return step.receipt(Outcome.OK, "taken", "running")


async def asked(pilot: Deck, text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app))


async def open_dialog(pilot: Deck) -> None:
    await until(pilot, lambda: getattr(pilot.app.focused, "id", None) == "confirm-ok")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, SecretScreen))


async def at_the_dialog(pilot: Deck) -> None:
    await asked(pilot, "of 10 answer")
    await burst(pilot, "colon", *LINE, "enter")
    await asked(pilot, "Type it")
    await open_dialog(pilot)


def journal_of(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def held_anywhere(secret: str) -> list[object]:
    """Return who holds a secret in this process, test frames apart."""
    gc.collect()
    found: list[object] = []
    for one in gc.get_objects():
        if (isinstance(one, SecretStr) and one.get_secret_value() == secret) or (
            isinstance(one, Input) and secret in one.value
        ):
            found.append(one)
    return found


async def test_it_is_judged_then_held_for_the_run_and_gone_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = Work()
    app = app_with(monkeypatch, tmp_path, work, secrets=wanted)
    seen: list[str] = []
    async with app.run_test(size=SIZE) as pilot:
        await at_the_dialog(pilot)
        await pilot.press(*"short")
        await asked(pilot, "not taken: it is shorter than 12 characters")
        await pilot.press("ctrl+u")
        # All of it in one burst, as a slow line delivers it: each goes to its own field.
        await burst(pilot, *NEW, "enter", *NEW, "enter", *OLD)
        seen.append(text_of(app))
        await pilot.press("enter")
        await asked(pilot, f"Type {PHRASE} to go on")
        assert [type(one) for one in held_anywhere(NEW)] == [SecretStr]
        screen = app.screen
        assert isinstance(screen, PlanScreen)
        assert screen._wish.parameters["old_from"] == "prompt", "the plan says what is known"
        seen.append(text_of(app))
        await burst(pilot, *PHRASE, "enter")
        await asked(pilot, "taken")
        seen.append(text_of(app))
        assert work.matched == [True, True]
        await until(pilot, lambda: not held_anywhere(NEW) and not held_anywhere(OLD))
    written = journal_of(tmp_path)
    assert '"prompt"' in written
    for text in (*seen, written, "".join(map(str, app.log_buffer.entries()))):
        assert NEW not in text
        assert OLD not in text


async def test_typed_too_early_it_is_lost_and_no_key_of_the_console(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = app_with(monkeypatch, tmp_path, Work(), secrets=wanted)
    async with app.run_test(size=SIZE) as pilot:
        await asked(pilot, "of 10 answer")
        await burst(pilot, "colon", *LINE, "enter")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", None) == "confirm-ok")
        plan = app.screen
        # A colon opens the command line, "a" the actions, "-" the last view, wherever they are keys.
        await burst(pilot, "colon", "minus", "a", "l", "q", *"Zx81")
        await asked(pilot, "Press Enter first; then type it.")
        assert app.screen is plan
        assert "Zx81" not in text_of(app)
        await open_dialog(pilot)


async def test_left_without_one_the_plan_cannot_be_agreed_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = Work()
    app = app_with(monkeypatch, tmp_path, work, secrets=wanted)
    async with app.run_test(size=SIZE) as pilot:
        await at_the_dialog(pilot)
        await burst(pilot, *NEW, "enter", *NEW)
        await pilot.press("escape")
        await asked(pilot, "Type it")
        assert not held_anywhere(NEW)
        assert "to go on" not in text_of(app)
        await open_dialog(pilot)
        await asked(pilot, "The new password is wanted")


async def test_it_cannot_be_copied_or_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = app_with(monkeypatch, tmp_path, Work(), secrets=wanted)
    async with app.run_test(size=SIZE) as pilot:
        await at_the_dialog(pilot)
        await burst(pilot, *NEW)
        field = app.screen.query_one("#secret-new", SecretInput)
        field.select_all()
        field.action_copy()
        await pilot.press("ctrl+x")
        assert app.clipboard == ""
        assert field.value == NEW
        await pilot.press("enter", *NEW[:-1], "x")
        await asked(pilot, "The two are not the same")


@pytest.mark.parametrize("source", ["fd:0", "fd:7"])
async def test_a_descriptor_of_the_console_is_no_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    def from_it(asked: Parameters) -> tuple[SecretWanted, ...]:
        return (SecretWanted("new", "webshop", "secret_from", source),)

    app = app_with(monkeypatch, tmp_path, Work(), secrets=from_it)
    async with app.run_test(size=SIZE) as pilot:
        await asked(pilot, "of 10 answer")
        await burst(pilot, "colon", *LINE, "enter")
        await asked(pilot, f"the new password cannot come from {source}")


async def test_a_crash_report_has_no_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = app_with(monkeypatch, tmp_path, Work())

    def crash(typed: str) -> None:
        raise RuntimeError(f"of {len(typed)} characters")

    async with app.run_test(size=SIZE):
        try:
            crash(NEW)
        except RuntimeError:
            app._fatal_error()
        report = list(app._exit_renderables)
        app._exit_renderables.clear()
    console = Console(width=200)
    with console.capture() as capture:
        console.print(*report)
    assert "RuntimeError: of 24 characters" in capture.get()
    assert NEW not in capture.get()


def test_a_rotation_wants_the_new_one_twice_and_takes_the_old_one() -> None:
    spec = REGISTRY["rotate"]
    assert spec.secrets is not None
    new, old = spec.secrets(spec.parameters.model_validate({"role": "webshop"}))
    assert (new.which, new.is_typed, new.twice) == ("new", True, True)
    assert new.judge is not None
    assert new.judge("webshop-is-the-best").refused == "the role's name is part of it"
    assert (old.which, old.is_typed, old.may_be_typed) == ("old", False, True)
    by_command = {"role": "webshop", "secret_from": "command:pass x", "old_from": "command:pass y"}
    assert not any(one.may_be_typed for one in spec.secrets(spec.parameters.model_validate(by_command)))
    back = {"role": "webshop", "undo": True}
    assert [one.which for one in spec.secrets(spec.parameters.model_validate(back))] == ["old"]


class TestLooks:
    @pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
    def test_the_dialog(
        self,
        snap_compare: Callable[..., bool],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        size: tuple[int, int],
    ) -> None:
        app: PooldeckApp = app_with(monkeypatch, tmp_path, Work(), secrets=wanted)

        async def before(pilot: Deck) -> None:
            await at_the_dialog(pilot)
            await burst(pilot, *NEW, "enter", *"Xk9")
            await asked(pilot, "The two are not the same")
            await pilot.pause()

        assert snap_compare(app, terminal_size=size, run_before=before)
