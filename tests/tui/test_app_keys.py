"""Keys and commands on the fixed recording: what each does, and that none acts by itself."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.command import CommandPalette
from textual.pilot import Pilot

from console.clock import FixedClock
from console.fleet.store import FleetStore
from console.tui.app import PooldeckApp
from console.tui.screens.log import LogScreen
from console.tui.screens.tables import FleetScreen, PoolsScreen, TableScreen
from console.tui.screens.text import DetailScreen, HelpScreen
from tests.tui.driving import inventory_of, recorded_app, text_of, until
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot

Deck = Pilot[Any]
KEYS_PAGE = Path(__file__).parents[2] / "docs" / "keys.md"


def table(pilot: Deck) -> TableScreen:
    screen = pilot.app.screen
    assert isinstance(screen, TableScreen)
    return screen


def keys(pilot: Deck) -> list[Any]:
    return list(table(pilot).panel.grid.keys)


async def type_line(pilot: Deck, opener: str, text: str, *, enter: bool = True) -> None:
    await pilot.press(opener, *text)
    if enter:
        await pilot.press("enter")
    await pilot.pause()


async def started(pilot: Deck) -> None:
    await until(pilot, lambda: len(keys(pilot)) > 0)


async def burst(pilot: Deck, text: str, turns: int) -> None:
    """Hand keys over as a slow line does: many at once, with `turns` turns of the loop between two."""
    for character in text:
        key = {":": "colon", "/": "slash", "-": "minus", ">": "greater_than_sign"}.get(character, character)
        pilot.app.post_message(events.Key("enter" if key == "\r" else key, character))
        for _ in range(turns):
            await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(8))
async def test_a_command_that_a_bad_line_delivers_all_at_once_is_the_command(turns: int) -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await burst(pilot, ":pools\r", turns)
        await until(pilot, lambda: isinstance(pilot.app.screen, PoolsScreen))
        await started(pilot)
        await burst(pilot, "/wait>5\r", turns)
        await until(pilot, lambda: table(pilot).filter_text == "wait>5")


async def test_a_filter_that_cannot_be_read_is_given_back_to_be_mended() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("slash", *"wait>>", "enter")
        line = table(pilot).command_line
        await until(pilot, lambda: line.is_open and line.text == "wait>>")
        await until(pilot, lambda: "'>' is no number for wait" in text_of(pilot.app))
        await pilot.press("backspace", "5", "enter")
        await until(pilot, lambda: table(pilot).filter_text == "wait>5")


async def test_the_note_shows_error_and_hint_of_an_unreachable_bouncer_at_80_columns() -> None:
    async with recorded_app().run_test(size=(80, 24)) as pilot:
        await started(pilot)
        await until(pilot, lambda: table(pilot).panel.grid.move_cursor("gone-1"))
        await until(pilot, lambda: "before you accept it" in text_of(pilot.app))
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: " gone-1: ssh: the host key of gate-3 h…" in text_of(pilot.app))


async def test_enter_drills_down_and_escape_comes_back() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        name = table(pilot).panel.grid.cursor_key
        await pilot.press("enter")
        screen = pilot.app.screen
        assert isinstance(screen, PoolsScreen)
        assert screen.bouncers == (name,)
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, DetailScreen)
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, FleetScreen)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, FleetScreen)


async def test_enter_with_marks_opens_the_pools_of_all_marked() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        first, second = keys(pilot)[2:4]
        await pilot.press("down", "down", "space", "space", "enter")
        screen = pilot.app.screen
        assert isinstance(screen, PoolsScreen)
        assert screen.bouncers == (first, second)


async def test_minus_swaps_between_two_views() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "colon", "pools edge-1*")
        await pilot.press("minus")
        assert isinstance(pilot.app.screen, FleetScreen)
        await pilot.press("minus")
        screen = pilot.app.screen
        assert isinstance(screen, PoolsScreen)
        assert screen.bouncers == ("edge-1a", "edge-1b")


async def test_the_filter_works_while_it_is_typed_and_says_what_it_hides() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "slash", "paused", enter=False)
        assert keys(pilot) == ["edge-2a", "edge-2b"]
        assert "2 of 10 bouncers, 8 hidden" in text_of(pilot.app)
        await pilot.press("enter")
        assert keys(pilot) == ["edge-2a", "edge-2b"]
        assert table(pilot).panel.grid.has_focus
        await pilot.press("escape")
        assert len(keys(pilot)) == 10


async def test_a_filter_that_cannot_be_read_keeps_the_rows_and_says_why() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "slash", "wait>x", enter=False)
        await until(pilot, lambda: "'x' is no number for wait" in text_of(pilot.app))
        await pilot.press("escape")
        assert len(keys(pilot)) == 10


async def test_faults_only() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("z")
        assert "edge-1a" not in keys(pilot)
        assert {"gone-1", "edge-1b", "lagging-1"} <= set(keys(pilot))
        await pilot.press("z")
        assert "edge-1a" in keys(pilot)


async def test_a_capital_sorts_by_value_and_again_the_other_way() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("C")
        assert keys(pilot)[0] == "far-away-datacentre-bouncer-07"
        await pilot.press("C")
        assert keys(pilot)[0] in ("edge-2a", "legacy-118")
        assert keys(pilot)[-1] in ("gone-1", "gone-2", "new-1")
        await pilot.press("0")
        assert keys(pilot)[0] == "gone-1"


async def test_sort_by_command_and_by_arrows() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "colon", "sort tps")
        assert table(pilot).panel.grid.sort_key == "tps"
        await pilot.press("greater_than_sign")
        assert table(pilot).panel.grid.sort_key == "qps"
        await pilot.press("less_than_sign", "less_than_sign")
        assert table(pilot).panel.grid.sort_key == "use"


async def test_tab_goes_to_the_postgres_nodes_and_enter_describes_one() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "password authentication failed" in text_of(pilot.app))
        assert isinstance(pilot.app.screen, DetailScreen)


async def test_freeze_holds_the_numbers_and_shows_their_age() -> None:
    clock = FixedClock(wall=WALL_S, monotonic=MONOTONIC_S)
    app = recorded_app(clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("f")
        clock.advance(12)
        _publish(app, 12)
        await until(pilot, lambda: "FROZEN 12 s" in text_of(app))
        assert app.snapshot is not None
        assert app.snapshot.generation == 1
        await pilot.press("f")
        await until(pilot, lambda: "live" in text_of(app))
        assert app.snapshot.generation == 13


async def test_a_collector_that_is_late_is_told_and_never_looks_live() -> None:
    clock = FixedClock(wall=WALL_S, monotonic=MONOTONIC_S)
    async with recorded_app(clock=clock).run_test(size=(120, 40)) as pilot:
        await started(pilot)
        clock.advance(9)
        await until(pilot, lambda: "LATE: 9 s old" in text_of(pilot.app))
        assert "live" not in text_of(pilot.app)


async def test_before_the_first_snapshot_the_screen_says_what_it_waits_for() -> None:
    from console.tui.log_buffer import LogBuffer

    app = PooldeckApp(FleetStore(), inventory_of(snapshot()), clock=FixedClock(), log=LogBuffer())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "waiting for the first answers" in text_of(app))
        assert "waiting for answers" in text_of(app)


async def test_hidden_screens_do_nothing_and_catch_up_when_shown() -> None:
    app = recorded_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await started(pilot)
        fleet = app.screen
        assert isinstance(fleet, FleetScreen)
        await pilot.press("l")
        assert isinstance(app.screen, LogScreen)
        before = fleet.panel.grid.source
        _publish(app, 1)
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.generation == 2)
        await pilot.pause()
        assert fleet.panel.grid.source is before
        await pilot.press("escape")
        await until(pilot, lambda: fleet.panel.grid.source is not before)


async def test_help_explains_the_columns_of_the_focused_table() -> None:
    async with recorded_app().run_test(size=(200, 60)) as pilot:
        await started(pilot)
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        await until(pilot, lambda: "of the fullest pool" in text_of(pilot.app))
        await pilot.press("escape")
        await type_line(pilot, "colon", "pools")
        await pilot.press("question_mark")
        await until(pilot, lambda: "Filter: db." in text_of(pilot.app))


async def test_copy_takes_the_rows_out_of_the_terminal() -> None:
    app = recorded_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("c")
        header, row = app.clipboard.splitlines()
        assert header.split("\t")[:2] == ["bouncer", "state"]
        assert row.split("\t")[0] == "gone-1"


async def test_raw_shows_the_columns_under_the_consoles_own_names() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "colon", "pools legacy-118")
        await pilot.press("y")
        await until(pilot, lambda: "load_balance_hosts" in text_of(pilot.app))
        assert "n/a (needs 1.24)" in text_of(pilot.app)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("poolz", "there is no command :poolz; did you mean :pools?"),
        ("pools egde-1a", "matches no node"),
        ("sort colour", "there is no column 'colour'"),
        ("theme pink", "there is no theme 'pink'"),
        ("fleet now", ":fleet takes no argument"),
        ("pause", "operations are not available"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_says_why(line: str, answer: str) -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "colon", line)
        await until(pilot, lambda: any(answer in note.message for note in pilot.app._notifications))


async def test_completion_offers_databases_of_a_bouncer() -> None:
    from console.tui import commands

    app = recorded_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await started(pilot)
        offered = [completion.text for completion in commands.complete(app, "pools !edge-2", 13)]
        assert offered[:2] == ["edge-2a", "edge-2b"]
        assert "edge-2b/reporting" in offered
        assert [c.text for c in commands.complete(app, "po", 2)] == ["pools"]


async def test_the_palette_runs_commands() -> None:
    async with recorded_app().run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
        await pilot.press(*":pools")
        await until(pilot, lambda: "Every pool of the chosen" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, PoolsScreen))


async def test_themes_change_by_command() -> None:
    app = recorded_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await started(pilot)
        await type_line(pilot, "colon", "theme light")
        assert app.theme == "pooldeck-light"
        await type_line(pilot, "colon", "theme")
        assert app.theme == "pooldeck-dark"


async def test_a_terminal_that_is_too_small_says_so_and_recovers() -> None:
    async with recorded_app().run_test(size=(30, 8)) as pilot:
        await until(pilot, lambda: "too small" in text_of(pilot.app))
        assert "edge-1a" not in text_of(pilot.app)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "edge-1a" in text_of(pilot.app))


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_leaving_without_an_operation_asks_nothing(key: str) -> None:
    app = recorded_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await started(pilot)
        await pilot.press(key)
        await pilot.pause()
    assert app.return_value == 0


async def test_ascii_draws_nothing_else() -> None:
    app = recorded_app(ascii_only=True)
    async with app.run_test(size=(200, 60)) as pilot:
        await started(pilot)
        for press in (
            (),
            ("d",),
            ("escape", "question_mark"),
            ("escape", "colon", "p"),
            ("escape", "ctrl+p"),
        ):
            await pilot.press(*press)
            await pilot.pause()
            odd = {character for character in text_of(app) if not character.isascii()}
            assert not odd, (press, odd)


def test_the_page_of_keys_lists_every_key_of_the_help() -> None:
    from console.tui.keys import EVERYWHERE, LEASES, PLAN, PROCESS, RUN, TABLES

    page = KEYS_PAGE.read_text()
    for key, _ in (*EVERYWHERE, *TABLES, *PLAN, *RUN, *PROCESS, *LEASES):
        for part in re.split(r"\s{2,}", key):
            assert f"`{part}`" in page, part


def test_the_page_of_keys_lists_every_sort_letter_and_command() -> None:
    from console.tui.commands import VIEW_COMMANDS
    from console.view.fleet_columns import FLEET_COLUMNS
    from console.view.pool_columns import POOL_COLUMNS
    from console.view.postgres import POSTGRES_COLUMNS

    page = KEYS_PAGE.read_text()
    for columns in (FLEET_COLUMNS, POOL_COLUMNS, POSTGRES_COLUMNS):
        for column in columns:
            if column.letter is not None:
                assert f"`{column.letter}` {column.title}" in page
    for command in VIEW_COMMANDS:
        assert f"`{command.usage}`" in page


def _publish(app: PooldeckApp, step: int) -> None:
    store = app._store
    assert isinstance(store, FleetStore)
    store.publish(replace(snapshot(step)))
