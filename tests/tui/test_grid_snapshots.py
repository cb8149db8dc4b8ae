"""Pictures of the grid on fixed data: narrow and wide, dark and light, colour, no colour, ASCII."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.apps.parts import PartApp, banners
from tests.tui.apps.pools import Pools, PoolsApp
from widgets.confirm import Confirm
from widgets.plan_view import PlanView, Section

SIZES = [(80, 24), (120, 40)]


async def used(pilot: Pilot[Any]) -> None:
    """A cursor, a mark, and one picture later."""
    await pilot.press("down", "down", "space", "down")
    grid = pilot.app.query_one("Grid")
    grid.set_source(Pools(2, 200))  # type: ignore[attr-defined]
    await pilot.pause()


class TestPools:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_dark(self, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(PoolsApp(), terminal_size=size, run_before=used)

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_ascii(self, snap_compare: Any, size: tuple[int, int]) -> None:
        assert snap_compare(PoolsApp(ascii_only=True), terminal_size=size, run_before=used)

    def test_light_scrolled(self, snap_compare: Any) -> None:
        async def scrolled(pilot: Pilot[Any]) -> None:
            pilot.app.theme = "textual-light"
            await used(pilot)
            await pilot.press("right", "right", "right")

        assert snap_compare(PoolsApp(), terminal_size=(80, 24), run_before=scrolled)

    def test_no_color(self, snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert snap_compare(PoolsApp(), terminal_size=(80, 24), run_before=used)

    def test_empty(self, snap_compare: Any) -> None:
        assert snap_compare(PoolsApp(0), terminal_size=(80, 24))


def test_banners(snap_compare: Any) -> None:
    assert snap_compare(PartApp(*banners()), terminal_size=(60, 4))


def test_confirm_with_a_plan(snap_compare: Any) -> None:
    section = Section(
        "edge-1a",
        facts=[("effect", "12 clients wait until RESUME"), ("undo", 'RESUME "app"')],
        statements=['PAUSE "app"', "SHOW POOLS"],
        warnings=["production: 3 transactions are older than 60 s"],
    )
    panel = Confirm('PAUSE "app" on edge-1a', PlanView([section]), phrase="edge-1a", ok_label="Pause")
    assert snap_compare(PartApp(panel), terminal_size=(80, 24), press=["e", "d"])
