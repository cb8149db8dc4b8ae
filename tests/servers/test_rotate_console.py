"""A rotation from the console, for real: both secrets typed, in force everywhere, and in clear nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.cli.context import Globals, open_stack
from console.cli.operation_stack import operation_service
from console.fleet.store import FleetStore
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.secret import SecretScreen
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.rotate_kit import NEW, OLD, ROLE, Site, own_site
from tests.tui.driving import burst, text_of, until


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        yield made


async def asked(pilot: Pilot[Any], text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app), within_s=60)


async def test_what_is_typed_is_in_force_and_in_clear_nowhere(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    site.add("edge", "1.24", entry="scram")
    shell = site.shell()
    for name, value in shell.environ.items():
        monkeypatch.setenv(name, value)
    options = Globals(fleet=shell.fleet)
    async with open_stack(options) as stack:
        app = PooldeckApp(
            FleetStore(),
            stack.inventory,
            operation_service(stack, options),
            clock=stack.clock,
            log=LogBuffer(),
        )
        async with app.run_test(size=(120, 40)) as pilot:
            await burst(pilot, "colon", *f"rotate all {ROLE}", "enter")
            await asked(pilot, "Type it")
            assert "In this order: " in text_of(app)
            await until(pilot, lambda: getattr(app.focused, "id", None) == "confirm-ok")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, SecretScreen))
            await burst(pilot, *NEW, "enter", *NEW, "enter", *OLD, "enter")
            await asked(pilot, "Type edge to go on")
            await burst(pilot, *"edge", "enter")
            await asked(pilot, "verified: the other secret is refused")
            assert "OK  edge" in text_of(app)
            (run,) = app.operating.runs
            told = f"{[event.as_dict() for event in run._events]}{run.plan.as_dict()}"
            told += f"{(await run.receipt()).targets}{app.log_buffer.entries()}"
    assert site.works_with(NEW)
    assert not site.lets_in("edge", OLD)
    assert site.where_clear(NEW, OLD) == []
    told += "".join(capfd.readouterr())
    for secret in (NEW, OLD):
        assert secret not in told
