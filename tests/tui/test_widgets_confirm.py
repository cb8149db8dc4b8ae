"""The confirm panel: it cannot be answered by accident."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input

from tests.tui.apps.parts import PartApp
from tests.tui.test_grid_keys import screen_text
from widgets.confirm import Confirm
from widgets.plan_view import PlanView, Section


async def until_ready(pilot: Pilot[Any], panel: Confirm) -> None:
    for _ in range(200):
        if panel.ready:
            return
        await pilot.pause(0.01)
    raise AssertionError("OK was never armed")


async def test_enter_at_once_cancels_because_cancel_has_the_focus() -> None:
    app = PartApp(Confirm("PAUSE edge-1a", "4 clients wait", phrase="edge-1a"))
    async with app.run_test() as pilot:
        assert app.focused is app.query_one("#confirm-cancel", Button)
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert [type(message) for message in app.seen] == [Confirm.Cancelled]


async def test_the_phrase_must_be_typed_exactly() -> None:
    panel = Confirm("PAUSE edge-1a", "4 clients wait", phrase="edge-1a")
    app = PartApp(panel)
    async with app.run_test() as pilot:
        # Typing goes to the phrase although Cancel has the focus.
        await pilot.press(*"edge-1", "enter")
        assert not panel.ready
        assert app.seen == []
        assert any("That is not the phrase" in line for line in screen_text(app))
        await pilot.press("a")
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert [message.phrase for message in app.of(Confirm.Confirmed)] == ["edge-1a"]
        assert len(app.seen) == 1


@pytest.mark.parametrize("turns", range(8))
async def test_keys_that_a_bad_line_delivers_all_at_once_are_all_taken(turns: int) -> None:
    panel = Confirm("PAUSE edge-1a", "4 clients wait", phrase="edge-1a")
    app = PartApp(panel)
    async with app.run_test() as pilot:
        for character in "edge-1a":
            key = {"-": "minus"}.get(character, character)
            app.post_message(events.Key(key, character))
            # The driver's thread hands keys over one by one, while the focus is on its way.
            for _ in range(turns):
                await asyncio.sleep(0)
        for _ in range(200):
            if panel.ready:
                break
            await pilot.pause(0.01)
        assert app.query_one("#confirm-phrase", Input).value == "edge-1a"
        assert panel.ready


async def test_pasting_the_phrase_is_refused() -> None:
    panel = Confirm("PAUSE edge-1a", "body", phrase="edge-1a")
    app = PartApp(panel)
    async with app.run_test() as pilot:
        await pilot.press("right", "right", "e", "backspace")
        field = app.query_one(Input)
        assert app.focused is field
        app.post_message(events.Paste("edge-1a"))
        await pilot.pause()
        assert field.value == ""
        app._clipboard = "edge-1a"
        await pilot.press("ctrl+v")
        assert field.value == ""
        assert any("Pasting is refused" in line for line in screen_text(app))


async def test_a_phrase_of_two_words_can_be_typed_without_moving_the_focus() -> None:
    app = PartApp(Confirm("KILL edge-1a", "cuts 12 clients", phrase="edge-1a 12"))
    async with app.run_test() as pilot:
        await pilot.press("space", *"edge-1a", "space", *"12", "enter")
        await pilot.pause()
        assert [message.phrase for message in app.of(Confirm.Confirmed)] == ["edge-1a 12"]


async def test_after_the_phrase_enter_on_a_cancel_that_was_gone_back_to_cancels() -> None:
    app = PartApp(Confirm("KILL edge-1a", "cuts 12 clients", phrase="yes"))
    async with app.run_test() as pilot:
        await pilot.press(*"yes", "tab", "shift+tab", "enter")
        await pilot.pause()
        assert [type(message) for message in app.seen] == [Confirm.Cancelled]


async def test_pasting_is_refused_while_cancel_has_the_focus_too() -> None:
    app = PartApp(Confirm("PAUSE edge-1a", "body", phrase="edge-1a"))
    async with app.run_test() as pilot:
        app.post_message(events.Paste("edge-1a"))
        await pilot.pause()
        await pilot.pause()
        assert app.query_one(Input).value == ""
        assert any("Pasting is refused" in line for line in screen_text(app))


async def test_ok_is_not_armed_before_its_delay() -> None:
    app = PartApp(Confirm("KILL edge-1a", "cuts 12 clients", phrase="yes", arm_after_s=60))
    async with app.run_test() as pilot:
        await pilot.press(*"yes", "enter")
        await pilot.click("#confirm-ok")
        assert app.seen == []
        assert any("60 s after" in line for line in screen_text(app))


async def test_ok_is_armed_after_its_delay() -> None:
    panel = Confirm("KILL edge-1a", "cuts 12 clients", phrase="yes", arm_after_s=0.05)
    app = PartApp(panel)
    async with app.run_test() as pilot:
        await pilot.press(*"yes")
        await until_ready(pilot, panel)
        await pilot.click("#confirm-ok")
        await pilot.pause()
        assert len(app.of(Confirm.Confirmed)) == 1


async def test_a_lock_says_why_and_asks_anew_when_it_is_lifted() -> None:
    panel = Confirm("PAUSE edge-1a", "body", phrase="yes")
    app = PartApp(panel)
    async with app.run_test() as pilot:
        await pilot.press(*"yes")
        await until_ready(pilot, panel)
        panel.lock_ok("edge-1a was restarted")
        await pilot.press("enter")
        assert app.seen == []
        assert any("Locked: edge-1a was restarted" in line for line in screen_text(app))
        panel.unlock_ok()
        await pilot.press("enter")
        assert app.seen == []
        await pilot.press(*"yes", "enter")
        await pilot.pause()
        assert len(app.of(Confirm.Confirmed)) == 1


async def test_without_a_phrase_ok_is_one_step_away_or_focused_when_harmless() -> None:
    app = PartApp(Confirm("RELOAD edge-1a", "reads its file again"))
    async with app.run_test() as pilot:
        await pilot.press("right", "enter")
        await pilot.pause()
        assert [message.phrase for message in app.of(Confirm.Confirmed)] == [""]
    app = PartApp(Confirm("RELOAD edge-1a", "reads its file again", focus_on="ok"))
    async with app.run_test() as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert len(app.of(Confirm.Confirmed)) == 1


async def test_escape_cancels_from_the_phrase_too() -> None:
    app = PartApp(Confirm("PAUSE edge-1a", "body", phrase="yes"))
    async with app.run_test() as pilot:
        await pilot.press("y", "escape", "escape")
        await pilot.pause()
        assert [type(message) for message in app.seen] == [Confirm.Cancelled]


async def test_the_numbers_can_move_and_a_plan_can_be_the_body() -> None:
    panel = Confirm("PAUSE edge-1a", "4 clients wait")
    app = PartApp(panel)
    async with app.run_test() as pilot:
        panel.update_body("9 clients [wait]")
        await pilot.pause()
        assert any("9 clients [wait]" in line for line in screen_text(app))
    panel = Confirm("PAUSE edge-1a", PlanView([Section("edge-1a", statements=['PAUSE "app"'])]))
    app = PartApp(panel)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert any('1. PAUSE "app"' in line for line in screen_text(app))
        with pytest.raises(TypeError):
            panel.update_body("x")


@pytest.mark.parametrize("size", [(80, 24), (30, 8), (5, 3)])
async def test_it_fits_small_terminals(size: tuple[int, int]) -> None:
    app = PartApp(Confirm("PAUSE edge-1a", "\n".join(f"line {i}" for i in range(60)), phrase="yes"))
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"yes", "enter")
        await pilot.pause()
        assert len(app.of(Confirm.Confirmed)) == 1
