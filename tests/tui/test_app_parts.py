"""The console's small parts: colours that can be read, selectors that name exactly, a log from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from rich.color import Color, ColorSystem
from textual.color import Color as ScreenColor
from textual.theme import Theme

from console.config.selector import parse_selector
from console.fleet.store import FleetStore
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer, LogEntry
from console.tui.sources import to_ascii
from console.tui.theme import THEMES
from console.tui.views import selector_of
from tests.tui.driving import inventory_of, recorded_app, text_of, until
from tests.tui.recording import snapshot

TEXTS = ("text-muted", "text-success", "text-warning", "text-error", "text-accent", "text-primary")


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_text_can_be_read_on_every_ground(theme: Theme) -> None:
    grounds = {"background": theme.background, "surface": theme.surface}
    texts = {name: theme.variables[name] for name in TEXTS} | {"foreground": theme.foreground}
    for ground_name, ground in grounds.items():
        for name, text in texts.items():
            assert _contrast(str(text), str(ground)) >= 4.5, (name, ground_name)
    for ground_name in ("panel", "primary-muted"):
        ground = theme.panel if ground_name == "panel" else theme.variables[ground_name]
        assert _contrast(str(theme.foreground), str(ground)) >= 4.5, ground_name


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_sixteen_colours_keep_warning_error_and_good_apart(theme: Theme) -> None:
    names = ("text-success", "text-warning", "text-error")
    numbers = {name: _sixteen(theme.variables[name]) for name in names}
    assert len(set(numbers.values())) == 3, numbers
    assert _sixteen(str(theme.foreground)) != _sixteen(str(theme.surface))
    assert _sixteen(theme.variables["primary-muted"]) != _sixteen(str(theme.surface))


@pytest.mark.parametrize(
    "database", ["app", "a,b", 'quo"te', "star*", "we!rd", "a/b", "[x]", "sp ace", "ünï"]
)
def test_a_database_is_named_so_that_the_selector_means_exactly_it(database: str) -> None:
    picked = parse_selector(selector_of("edge-1a", database)).select(inventory_of(snapshot()).bouncers)
    assert [(part.name, part.choose((database, "other"))) for part in picked] == [("edge-1a", (database,))]


def test_ascii_keeps_every_width() -> None:
    assert to_ascii("● up 120 µs … ü") == "+ up 120 us . ?"


def test_the_log_keeps_the_newest_and_tells_of_each_from_any_thread() -> None:
    buffer = LogBuffer(capacity=2)
    heard: list[LogEntry] = []
    stop = buffer.listen(heard.append)
    logger = logging.Logger("console.fleet.tasks")
    logger.addHandler(buffer)
    thread = threading.Thread(target=lambda: logger.warning("from %s", "afar"))
    thread.start()
    thread.join(5)
    logger.info("second")
    stop()
    try:
        raise RuntimeError("its own words")
    except RuntimeError:
        logger.exception("third")
    assert [entry.text for entry in buffer.entries()] == ["second", "third: RuntimeError: its own words"]
    assert [(entry.source, entry.text) for entry in heard] == [
        ("fleet.tasks", "from afar"),
        ("fleet.tasks", "second"),
    ]


async def test_the_log_panel_shows_what_is_logged_while_it_is_open() -> None:
    log = LogBuffer()
    logger = logging.Logger("console.transport")
    logger.addHandler(log)
    async with recorded_app(log=log).run_test(size=(100, 30)) as pilot:
        await pilot.press("l")
        await asyncio.to_thread(logger.error, "edge-1: the tunnel is gone")
        await until(pilot, lambda: "edge-1: the tunnel is gone" in text_of(pilot.app))


class Lifetime:
    """Stands for a collector; tells which task entered and left it."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any] | None] = []

    async def __aenter__(self) -> Lifetime:
        self.tasks.append(asyncio.current_task())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tasks.append(asyncio.current_task())


async def test_the_collector_lives_as_long_as_the_app_in_one_task_of_its_own() -> None:
    collector = Lifetime()
    app = recorded_app(collector=collector)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(collector.tasks) == 1)
    entered, left = collector.tasks
    assert entered is left


async def test_a_collector_that_cannot_start_is_told_and_the_console_stays() -> None:
    from console.errors import UsageError

    class Broken(Lifetime):
        async def __aenter__(self) -> Lifetime:
            raise UsageError("no admin user for edge-1a")

    app = recorded_app(collector=Broken())
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "NOT READING" in text_of(app))
        assert any("no admin user for edge-1a" in note.message for note in app._notifications)


async def test_a_burst_of_snapshots_ends_with_the_newest() -> None:
    app = recorded_app()
    async with app.run_test(size=(80, 24)) as pilot:
        store = app._store
        assert isinstance(app, PooldeckApp)
        assert isinstance(store, FleetStore)
        for step in range(1, 8):
            store.publish(snapshot(step))
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.generation == 8)


def _contrast(text: str, ground: str) -> float:
    """As WCAG 2 defines it."""
    bright, dark = sorted((_luminance(text), _luminance(ground)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = (part / 255 for part in ScreenColor.parse(color).rgb)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _sixteen(color: str) -> int | None:
    return Color.parse(color).downgrade(ColorSystem.STANDARD).number


async def test_the_clock_may_tick_after_the_last_screen_has_left() -> None:
    app = recorded_app()
    async with app.run_test():
        tick = app._tick
    tick()
