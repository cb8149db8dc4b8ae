"""What the console looks like on the fixed recording, narrow to wide; each picture compared cell by cell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.clock import FixedClock
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.plan import PlanScreen
from tests.tui.driving import fake_service, recorded_app, text_of, until
from tests.tui.recording import MONOTONIC_S, WALL_S, empty_snapshot, snapshot
from tests.unit.operations.fake_pooler import FakePooler

SIZES = [(80, 24), (120, 40), (200, 60)]
Compare = Callable[..., bool]
sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])


def with_plan(journal: Path, environment: str = "production", *, read_only: bool = False) -> PooldeckApp:
    picture = snapshot(environment=environment)
    clock = FixedClock(wall=WALL_S + 1, monotonic=MONOTONIC_S + 1)
    service = fake_service(picture, FakePooler(), journal, clock, read_only=read_only)
    return recorded_app(picture, service=service, clock=clock, read_only=read_only)


def opened(*keys: str, shows: str) -> Callable[[Pilot[Any]], Any]:
    """Press keys, then wait for what they bring."""

    async def run(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "of 10 answer" in text_of(pilot.app))
        for key in keys:
            await pilot.press(key)
        await until(pilot, lambda: shows in text_of(pilot.app))
        await pilot.pause()

    return run


class TestFleet:
    @sizes
    def test_every_state(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        assert snap_compare(recorded_app(), terminal_size=size, run_before=opened(shows="edge-1a"))

    def test_light(self, snap_compare: Compare) -> None:
        app = recorded_app(theme="pooldeck-light")
        assert snap_compare(app, terminal_size=(120, 40), run_before=opened(shows="edge-1a"))

    def test_ascii(self, snap_compare: Compare) -> None:
        app = recorded_app(ascii_only=True)
        assert snap_compare(app, terminal_size=(200, 60), run_before=opened(shows="edge-1a"))

    def test_empty(self, snap_compare: Compare) -> None:
        assert snap_compare(recorded_app(empty_snapshot()), terminal_size=(80, 24))

    def test_scrolled_to_the_right(self, snap_compare: Compare) -> None:
        keys = ("right",) * 8
        before = opened(*keys, shows="tx/s trend")
        assert snap_compare(recorded_app(), terminal_size=(80, 24), run_before=before)

    def test_filtered_and_sorted(self, snap_compare: Compare) -> None:
        before = opened("slash", *"@zone=a", "enter", "W", shows="@zone=a")
        assert snap_compare(recorded_app(), terminal_size=(80, 24), run_before=before)

    def test_too_small(self, snap_compare: Compare) -> None:
        assert snap_compare(recorded_app(), terminal_size=(30, 8))


class TestPools:
    @sizes
    def test_of_the_fleet(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        before = opened("colon", *"pools", "enter", shows="pools of the fleet")
        assert snap_compare(recorded_app(), terminal_size=size, run_before=before)


class TestHelp:
    @sizes
    def test_of_the_fleet(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        before = opened("question_mark", shows="Keys in tables")
        assert snap_compare(recorded_app(), terminal_size=size, run_before=before)


class TestPlan:
    @sizes
    def test_pause_in_production(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        before = opened("colon", *"pause edge-1a/app", "enter", shows="Type edge-1a/app to go on")

        async def focused(pilot: Pilot[Any]) -> None:
            await before(pilot)
            await until(pilot, lambda: "OK can be used" not in text_of(pilot.app))

        assert snap_compare(with_plan(tmp_path / "j"), terminal_size=size, run_before=focused)

    def test_refused_by_read_only(self, snap_compare: Compare, tmp_path: Path) -> None:
        before = opened("colon", *"resume edge-1a/app", "enter", shows="read-only")
        app = with_plan(tmp_path / "j", read_only=True)
        assert snap_compare(app, terminal_size=(80, 24), run_before=before)

    def test_completion_of_the_command(self, snap_compare: Compare) -> None:
        before = opened("colon", *"pools edge-1", shows="edge-1b")
        assert snap_compare(recorded_app(), terminal_size=(80, 24), run_before=before)


class TestLog:
    @sizes
    def test_levels(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        log = LogBuffer()
        for level, text in (
            (logging.INFO, "edge-1a: connected"),
            (logging.WARNING, "lagging-1: no answer to SHOW POOLS within 5 s"),
            (logging.ERROR, "gone-1: ssh: the host key of gate-3 has changed"),
        ):
            record = logging.LogRecord("console.fleet.tasks", level, __file__, 1, text, None, None)
            record.created = WALL_S
            log.emit(record)
        before = opened("l", shows="host key of gate-3")
        assert snap_compare(recorded_app(log=log), terminal_size=size, run_before=before)


class TestDetail:
    def test_of_an_unreachable_bouncer(self, snap_compare: Compare) -> None:
        before = opened("d", shows="not current")
        assert snap_compare(recorded_app(), terminal_size=(120, 40), run_before=before)


def test_the_plan_screen_is_what_the_plan_pictures_show(tmp_path: Path) -> None:
    """A picture of an error would compare equal to itself for ever; this one says what must be in it."""

    async def run() -> None:
        app = with_plan(tmp_path / "j")
        async with app.run_test(size=(80, 24)) as pilot:
            await opened("colon", *"pause edge-1a/app", "enter", shows="Type edge-1a/app")(pilot)
            assert isinstance(app.screen, PlanScreen)
            text = text_of(app)
            assert 'PAUSE "app"' in text
            assert "Cancel" in text

    import asyncio

    asyncio.run(run())
