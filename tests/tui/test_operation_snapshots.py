"""What operations look like: plans of many, runs that hold and that fail, forgotten pauses, leases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.clock import FixedClock
from console.errors import AdminError
from console.operations import holding
from console.tui.app import PooldeckApp
from console.tui.screens import plan as plan_module
from tests.tui.driving import burst, fake_service, recorded_app, text_of, until
from tests.tui.fakes import FakeFleet
from tests.tui.pauses import forgotten_snapshot, read_claims
from tests.tui.recording import MONOTONIC_S, WALL_S, snapshot
from tests.unit.operations.fake_pooler import FakePooler

SIZES = [(80, 24), (120, 40), (200, 60)]
NARROW = [(60, 24), (40, 20)]
Compare = Callable[..., bool]
Step = str | tuple[str, ...]
sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40", "200x60"])


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves while a picture is taken."""
    monkeypatch.setattr(plan_module, "REPLAN_S", 60.0)
    monkeypatch.setattr(holding, "LOOK_S", 60.0)


def fleet_of_fakes() -> FakeFleet:
    fleet = FakeFleet(
        edge_1b=FakePooler(paused=True),
        edge_2b=FakePooler(suspended=True),
        legacy_118=FakePooler(version="1.18.0", mode="session", busy_servers=2),
    )
    fleet.silent = {"gone-1", "gone-2"}
    return fleet


def operating(folder: Path, fleet: FakeFleet, environment: str = "development") -> PooldeckApp:
    picture = snapshot(environment=environment)
    clock = FixedClock(wall=WALL_S + 1, monotonic=MONOTONIC_S + 1)
    service = fake_service(picture, fleet, folder / "journal.jsonl", clock)
    return recorded_app(picture, service=service, clock=clock)


def marked(folder: Path, **more: Any) -> PooldeckApp:
    picture = forgotten_snapshot()
    clock = FixedClock(wall=WALL_S + 1, monotonic=MONOTONIC_S + 1)
    service = fake_service(picture, FakeFleet(), folder / "journal.jsonl", clock)
    return recorded_app(picture, service=service, clock=clock, claims=read_claims, **more)


def typed(line: str) -> tuple[str, ...]:
    return ("colon", *line, "enter")


def after(*steps: Step) -> Callable[[Pilot[Any]], Any]:
    """Wait for each text, press each tuple of keys."""

    async def run(pilot: Pilot[Any]) -> None:
        for step in steps:
            if isinstance(step, tuple):
                await burst(pilot, *step)
            else:
                await until(pilot, lambda text=step: text in text_of(pilot.app))  # type: ignore[misc]
        await until(pilot, lambda: "OK can be used" not in text_of(pilot.app))
        await pilot.pause()

    return run


async def armed(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: "OK can be used" not in text_of(pilot.app))


class TestPlanOfMany:
    LINE = typed('pause all max-failed=5 for=20s reason="change 4711"')

    @sizes
    def test_refused_and_unreachable_first(
        self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path
    ) -> None:
        app = operating(tmp_path, fleet_of_fakes(), "production")
        before = after("of 10 answer", self.LINE, "Type shop")
        assert snap_compare(app, terminal_size=size, run_before=before)

    @pytest.mark.parametrize("size", NARROW, ids=["60x24", "40x20"])
    def test_on_a_narrow_terminal(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        app = operating(tmp_path, fleet_of_fakes(), "production")
        before = after("edge-1", self.LINE, "Type shop")
        assert snap_compare(app, terminal_size=size, run_before=before)


class TestRun:
    @sizes
    def test_holding(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        fleet = FakeFleet()
        fleet.silent = {"gone-1", "gone-2"}
        ask = after("of 10 answer", typed("pause all max-failed=5 for=20s"), "Type shop 24")
        begin = after(tuple("shop 24"), ("enter",), "20 s LEFT", "20 s left")

        async def before(pilot: Pilot[Any]) -> None:
            await ask(pilot)
            await armed(pilot)
            await begin(pilot)

        app = operating(tmp_path, fleet)
        assert snap_compare(app, terminal_size=size, run_before=before)

    @sizes
    def test_failures(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        def refuse(statement: str) -> None:
            if statement.startswith("SET"):
                raise AdminError("out of memory", sqlstate="08P01")

        fleet = FakeFleet(edge_1b=FakePooler(before_execute=refuse), new_1=FakePooler(before_execute=refuse))
        fleet.silent = {"gone-1"}
        line = typed("set all default_pool_size 25 max-failed=2 serial=1")
        ask = after("of 10 answer", line, "Type shop")
        begin = after(tuple("shop 27"), ("enter",), "FAILED  ")

        async def before(pilot: Pilot[Any]) -> None:
            await ask(pilot)
            await armed(pilot)
            await begin(pilot)

        app = operating(tmp_path, fleet)
        assert snap_compare(app, terminal_size=size, run_before=before)


class TestForgotten:
    @sizes
    def test_every_disguise(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        before = after("5 FORGOTTEN", ("g",), "! paused", "M Mend")
        assert snap_compare(marked(tmp_path), terminal_size=size, run_before=before)

    def test_in_ascii(self, snap_compare: Compare, tmp_path: Path) -> None:
        before = after("5 FORGOTTEN", ("g",), "! paused", "M Mend")
        assert snap_compare(marked(tmp_path, ascii_only=True), terminal_size=(80, 24), run_before=before)

    @sizes
    def test_leases(self, snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
        before = after("5 FORGOTTEN", typed("leases"), "bob@bastion", "in 22 s")
        assert snap_compare(marked(tmp_path), terminal_size=size, run_before=before)
