"""Whatever happens, in whatever order: after the lease time nothing of ours is still paused.

Each scenario is drawn from its number alone, which is in the test's name: `-k seed-17` plays one again. Set
`POOLDECK_RANDOM_SCENARIOS` for a longer hunt.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.audit.verify import verify_journal
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.operations.lease.base import GRACE_S, SILENCE_LIMIT_S
from tests.faults.random_kit import (
    LEASED,
    Played,
    RandomShell,
    Stage,
    client_load,
)
from tests.faults.random_scenario import LONGEST_DRAIN_S, LONGEST_HOLD_S, draw
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer

SCENARIOS = int(os.environ.get("POOLDECK_RANDOM_SCENARIOS", "7"))
BUSY_MACHINE_S = 15.0
"""Added to the lease time: processes start, and log in anew, on a machine that is busy."""
LEASE_TIME_S = LONGEST_DRAIN_S + LONGEST_HOLD_S + GRACE_S + SILENCE_LIMIT_S + BUSY_MACHINE_S
LOGIN_RETRY_S = "7"
"""Not the default, which a setting that was lost would read as."""


@pytest.mark.parametrize("seed", range(SCENARIOS), ids=lambda seed: f"seed-{seed}-")
def test_after_the_lease_time_nothing_of_ours_is_paused(
    seed: int, make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    scenario = draw(seed)
    place = f"host={postgres.host} port={postgres.port} dbname={APP_DATABASE}"
    server = make_pgbouncer(
        scenario.version, databases={"app": place, "other": place}, server_login_retry=LOGIN_RETRY_S
    )
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(server.port))
        stage = Stage(stack.enter_context(RandomShell(server, proxy, tmp_path)))
        stack.enter_context(stage.clients)
        if scenario.load:
            stack.enter_context(client_load(server))
        try:
            stage.play(scenario)
            assert_all_ended(stage)
        except BaseException as error:
            error.add_note(f"{scenario}\n{story(stage)}")
            raise


def assert_all_ended(stage: Stage) -> None:
    shell = stage.shell
    mendable = any(one.abandoned for one in stage.played)
    foreign = {"other"} if stage.foreign else set()
    within(LEASE_TIME_S, "still paused", lambda: shell.pauses() - foreign - shell.orphaned())
    within(LEASE_TIME_S, "still there", shell.processes)
    assert mendable or not shell.pauses() - foreign, "left behind, though not everybody was killed"
    if mendable:
        mended = shell("mend", "--yes")
        assert mended.returncode == 0, mended.stdout + mended.stderr
        foreign = set()
    assert shell.pauses() == foreign
    assert shell.setting("server_login_retry") == LOGIN_RETRY_S
    assert shell.leases() == ()
    if (shell.pooldeck / "journal.jsonl").exists():
        assert verify_journal(shell.pooldeck / "journal.jsonl") == ()
    assert unended(shell, stage.played) == []
    assert left_paused(shell) == []
    assert [one.said.read_text() for one in stage.played if "nternal error" in one.said.read_text()] == []


def unended(shell: RandomShell, played: list[Played]) -> list[dict[str, Any]]:
    """Intents whose end nobody told, though somebody lived who could."""
    ended = {(one["run"], one["target"]) for one in shell.outcomes()}
    armed = {one["run"] for one in shell.records("lease")}
    killed = {one.process.pid for one in played if one.console_killed}
    return [
        one
        for one in shell.records("intent")
        if (one["run"], one["target"]) not in ended
        # Nobody stood by yet, or ever: that the end is not told is all that is known of it.
        and not (one["who"]["pid"] in killed and (one["op"] not in LEASED or one["run"] not in armed))
    ]


def left_paused(shell: RandomShell) -> list[dict[str, Any]]:
    """Outcomes that leave a pause of their own standing, and no later one, be it a mend's, tells its end."""
    open_ends: dict[str, dict[str, Any]] = {}
    for one in shell.outcomes():
        if one.get("after") != "paused":
            open_ends.pop(one["target"], None)
        elif one.get("exchanges"):
            open_ends[one["target"]] = one
    return list(open_ends.values())


def within(limit_s: float, what: str, left: Callable[[], object]) -> None:
    """Wait until nothing is left."""
    end = time.monotonic() + limit_s
    while found := left():
        assert time.monotonic() < end, f"{what}: {found}"
        time.sleep(0.1)


def story(stage: Stage) -> str:
    """What the commands said, for a failure."""
    told = [
        f"--- {one.act} -> {one.process.poll()}, pid {one.process.pid}\n{one.said.read_text()}"
        for one in stage.played
    ]
    journal = stage.shell.pooldeck / "journal.jsonl"
    return "\n".join([*told, journal.read_text() if journal.exists() else "no journal"])
