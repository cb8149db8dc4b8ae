"""What a run asks while it goes: a dialog on its screen, told on every other one, gone when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.step import Step
from console.tui.screens import choice as choice_module
from console.tui.screens import plan as plan_module
from console.tui.screens.choice import ChoiceScreen
from tests.tui.driving import burst, text_of, until
from tests.tui.verb_kit import LINE, PHRASE, app_with

Deck = Pilot[Any]
ABOUT = (
    "shop-web app@10.0.0.7:53422 on app: connected 14m 52s, idle, last request 3.0 s ago",
    "reports batch@10.0.0.9:40112 on app: connected 2h 4m, in a transaction or session, last request 2h ago",
)
CHOICES = [
    ["wait", "wait on: as long again, then it is asked once more"],
    ["kill-idle", "cut those that are idle: those in a transaction get as long again"],
    ["give-up", "give up: the run ends as failed. The shutdown cannot be revoked"],
]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "REPLAN_S", 60.0)
    monkeypatch.setattr(choice_module, "LOOK_S", 0.05)


class Asks:
    """Asks, and ends with the answer; or takes the question back."""

    def __init__(self) -> None:
        self.taken_back = asyncio.Event()

    async def __call__(self, step: Step) -> TargetReceipt:
        data = {"choices": CHOICES, "about": list(ABOUT), "remaining_s": 90.0}
        step.tell(EventKind.ASKING, "2 clients stay: what becomes of them?", data)
        answer = None
        while answer is None and not self.taken_back.is_set() and not step.control.stopped:
            await asyncio.sleep(0.01)
            answer = step.control.answer_to(str(step.target))
        step.tell(EventKind.ASKING, "the question is over", {"choices": []})
        return step.receipt(Outcome.OK, f"answered {answer}", "running")


async def asked(pilot: Deck, text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app))


async def at_the_question(pilot: Deck) -> None:
    await asked(pilot, "of 10 answer")
    await burst(pilot, "colon", *LINE, "enter")
    await asked(pilot, f"Type {PHRASE} to go on")
    await burst(pilot, *PHRASE, "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, ChoiceScreen))
    await asked(pilot, "what becomes of them? 90 s to answer.")


async def test_the_answer_reaches_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = app_with(monkeypatch, tmp_path, Asks())
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_question(pilot)
        await pilot.press("down", "enter")
        await asked(pilot, "answered kill-idle")


async def test_put_off_it_is_told_everywhere_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = app_with(monkeypatch, tmp_path, Asks())
    async with app.run_test(size=(120, 40)) as pilot:
        await at_the_question(pilot)
        await pilot.press("escape")
        await asked(pilot, "a Answer")
        await asked(pilot, "ASKING edge-1a 90 s (o)")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ChoiceScreen))
        await pilot.press("enter")
        await asked(pilot, "answered wait")
        assert "ASKING" not in text_of(app)


async def test_a_question_that_is_over_closes_its_dialog(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asks = Asks()
    app = app_with(monkeypatch, tmp_path, asks)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_question(pilot)
        asks.taken_back.set()
        await asked(pilot, "answered None")
        assert not isinstance(app.screen, ChoiceScreen)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_what_it_looks_like(
    snap_compare: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    size: tuple[int, int],
) -> None:
    async def before(pilot: Deck) -> None:
        await at_the_question(pilot)
        await asked(pilot, "reports batch@")
        await pilot.pause()

    app = app_with(monkeypatch, tmp_path, Asks())
    assert snap_compare(app, terminal_size=size, run_before=before)
