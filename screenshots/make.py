"""Makes the pictures of this folder from a real lab fleet: `make screenshots`.

It starts a lab, drives the console on it without a terminal, writes the SVGs, and takes the lab down. The
pauses in them are real: one is held by the console that is pictured, one was left behind by a run that is
killed together with its guardian. It must not show anything of the machine it runs on: so the lab lies in
/tmp/pooldeck-lab, and who holds what is told by another name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from console.cli.context import Globals, open_stack
from console.cli.operation_stack import operation_service
from console.config.paths import XdgPaths
from console.fleet.collector import FleetCollector
from console.fleet.store import FleetStore
from console.lab.fleet import Lab
from console.lab.packages import fetch_pgbouncers
from console.model.claims import Claim
from console.operations.lease.legacy import LeaseLegacy, lease_legacy
from console.operations.lease.store import LeasePhase, LeaseStore
from console.operations.process.reader import ProcessReader
from console.postgres.connect import PostgresConnector
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from console.tui.screens.leases import LeasesScreen
from console.tui.screens.plan import PlanScreen
from console.tui.screens.process import ProcessScreen
from console.tui.screens.runs import RunScreen
from console.tui.screens.secret import SecretScreen
from console.tui.screens.tables import FleetScreen, PoolsScreen, TableScreen
from console.tui.screens.text import HelpScreen
from widgets.confirm import Confirm

FOLDER = Path(__file__).parent
LAB = Path("/tmp/pooldeck-lab")
WIDE, SMALL = (150, 32), (80, 24)
BOUNCERS = 8
LINES = ("1.26", "1.24", "1.26", "1.24", "1.26", "1.24", "1.18", "1.26")
"""A version for each bouncer."""
LOAD_S = 400
TREND_STEPS = 14
LIMIT_S = 120.0
HELD, LEFT_BEHIND = "edge-1b", "tls-1"
"""Both can say that they are paused; the second has no keeper on its host, since it is reached directly."""
SOMEBODY = "dba@bastion"


async def until(pilot: Pilot[Any], holds: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not within `LIMIT_S`.
    """
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {LIMIT_S:g} s")
        await pilot.pause(0.1)


def has_history(app: PooldeckApp) -> bool:
    """Say whether every bouncer has rates and a trend to draw."""
    snapshot = app.snapshot
    return snapshot is not None and all(
        pooler.rates is not None and sum(value is not None for value in pooler.xact_trend) >= TREND_STEPS
        for pooler in snapshot.poolers
    )


def state_of(app: PooldeckApp, name: str) -> str:
    """Return what the fleet screen says of a bouncer."""
    screen = app.screen
    if not isinstance(screen, FleetScreen):
        return ""
    row = screen.panels[0].row_at(name)
    return "" if row is None else row.state_cell.text


async def picture(app: PooldeckApp, pilot: Pilot[Any], name: str) -> None:
    """Write what is on screen."""
    await pilot.pause()
    # Some viewers collapse the spaces of an SVG's text unless told otherwise.
    svg = app.export_screenshot().replace("<text ", '<text xml:space="preserve" ')
    (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
    sys.stdout.write(f"screenshots/{name}.svg\n")


async def pictures(app: PooldeckApp, pilot: Pilot[Any], name: str) -> None:
    """Write what is on screen, on a wide terminal and on a small one."""
    await picture(app, pilot, name)
    await pilot.resize_terminal(*SMALL)
    await pilot.pause(1.5)
    await picture(app, pilot, f"{name}-80x24")
    await pilot.resize_terminal(*WIDE)
    await pilot.pause(0.5)


async def planned(app: PooldeckApp, pilot: Pilot[Any], line: str) -> None:
    """Open the plan of a command."""
    await pilot.press("colon", *line, "enter")
    await until(pilot, lambda: isinstance(app.screen, PlanScreen), "the plan's screen")
    await until(pilot, lambda: bool(app.screen.query(Confirm)), "the plan")
    # A plan of many can be agreed to a second after it appeared.
    await pilot.pause(1.5)


async def reading(app: PooldeckApp, pilot: Pilot[Any]) -> None:
    """Take pictures of what only shows."""
    await until(pilot, lambda: has_history(app), "trends of every bouncer")
    await pictures(app, pilot, "fleet")
    await pilot.press("colon", *"pools", "enter")
    await until(pilot, lambda: isinstance(app.screen, PoolsScreen), "the pools")
    await picture(app, pilot, "pools")
    await pilot.press("question_mark")
    await until(pilot, lambda: isinstance(app.screen, HelpScreen), "the help")
    await picture(app, pilot, "help")
    await pilot.press("escape", "escape")
    await until(pilot, lambda: isinstance(app.screen, TableScreen), "the fleet")


async def operating(app: PooldeckApp, pilot: Pilot[Any]) -> None:
    """Take pictures of plans, a run that holds, and pauses on the fleet screen."""
    await planned(app, pilot, f"pause {HELD}/app for=20s")
    await pictures(app, pilot, "plan")
    await pilot.press("escape")
    await planned(app, pilot, 'pause all,!core-1 for=20s max-failed=1 reason="change 4711"')
    await pictures(app, pilot, "plan-of-many")
    await pilot.press("escape")
    await changing(app, pilot)
    async with left_behind():
        await planned(app, pilot, f"pause {HELD} for=50s")
        await pilot.press(*HELD, "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen), "the run")
        await until(pilot, lambda: bool(app.operating.holds), "the hold")
        await pilot.pause(2.0)
        await pictures(app, pilot, "holding")
        await pilot.press("escape")
        await until(pilot, lambda: state_of(app, LEFT_BEHIND).startswith("!"), "what was left behind")
        await until(pilot, lambda: "held" in state_of(app, HELD), "what is held")
        await pilot.press("g")
        await pictures(app, pilot, "forgotten")
        await pilot.press("colon", *"leases", "enter")
        await until(pilot, lambda: isinstance(app.screen, LeasesScreen), "the leases")
        await pictures(app, pilot, "leases")
        await pilot.press("escape")
        for run in app.operating.running:
            run.end_hold()
            await run.receipt()


async def changing(app: PooldeckApp, pilot: Pilot[Any]) -> None:
    """Take pictures of a process, and of the plans of a restart and a rotation."""
    await pilot.press("colon", *f"process {HELD}", "enter")
    await until(pilot, lambda: isinstance(app.screen, ProcessScreen), "the process's screen")
    await until(pilot, lambda: "executable" in app.export_screenshot(), "the process")
    await picture(app, pilot, "process")
    await pilot.press("escape")
    await planned(app, pilot, f"restart {HELD}")
    await picture(app, pilot, "restart")
    await pilot.press("escape")
    await planned(app, pilot, "rotate edge-1b,core-1 worker")
    await picture(app, pilot, "rotate")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, SecretScreen), "the dialog")
    await picture(app, pilot, "secret")
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(app.screen, PlanScreen), "the plan")
    await pilot.press("escape")


@asynccontextmanager
async def left_behind() -> AsyncIterator[None]:
    """Have a pause that nobody alive will end, as a run and its guardian leave it when both are killed."""
    fleet = str(LAB / "fleet.toml")
    words = ("-m", "console.cli.main", "--fleet", fleet, "pause", LEFT_BEHIND, "--for", "50s", "--yes")
    quiet = asyncio.subprocess.DEVNULL
    run = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=quiet, stdout=quiet, stderr=quiet
    )
    store = LeaseStore(XdgPaths().state)
    async with asyncio.timeout(LIMIT_S):
        while not (leases := [one for one in store.list_leases() if _is_held(one.targets)]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    os.kill(leases[0].guardian.pid, signal.SIGKILL)
    run.kill()
    await run.wait()
    try:
        yield
    finally:
        with Lab.open(LAB).bouncers[LEFT_BEHIND].admin() as console:
            console.execute("RESUME")


def _is_held(targets: Any) -> bool:
    return any(one.target.bouncer == LEFT_BEHIND and one.phase is LeasePhase.HELD for one in targets)


async def claims_of(legacy: LeaseLegacy) -> tuple[Claim, ...]:
    """Return what is under a lease, without this machine's name."""
    return tuple(replace(claim, who=SOMEBODY) for claim in await legacy.claims())


async def make() -> None:
    """Build the console's parts on the running lab, as `pooldeck` does."""
    options = Globals(fleet=LAB / "fleet.toml")
    async with open_stack(options) as stack:
        store = FleetStore()
        nodes = PostgresConnector(stack.inventory, stack.transport, stack.credentials)
        legacy = lease_legacy(stack.clock)
        app = PooldeckApp(
            store,
            stack.inventory,
            operation_service(stack, options),
            clock=stack.clock,
            log=LogBuffer(),
            collector=FleetCollector(stack.inventory, stack.connector, nodes, store, stack.clock),
            claims=lambda: claims_of(legacy),
            processes=ProcessReader(stack.inventory, stack.connector, stack.transport, stack.clock),
        )
        async with app.run_test(size=WIDE) as pilot:
            await reading(app, pilot)
            await operating(app, pilot)


def main() -> None:
    """Start the lab, take the pictures, end the lab."""
    os.environ.pop("NO_COLOR", None)
    found = fetch_pgbouncers()
    executables = [
        next(path for version, path in found.items() if version.startswith(f"{line}.")) for line in LINES
    ]
    with tempfile.TemporaryDirectory(prefix="pooldeck-", dir="/tmp") as scratch:
        os.environ["XDG_STATE_HOME"] = scratch
        os.environ["XDG_RUNTIME_DIR"] = scratch
        try:
            Lab.up(LAB, bouncers=BOUNCERS, load_s=LOAD_S, pgbouncer=executables)
            asyncio.run(make())
        finally:
            Lab.down(LAB)
            shutil.rmtree(LAB, ignore_errors=True)


if __name__ == "__main__":
    main()
