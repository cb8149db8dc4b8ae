"""The guardian while things break around it: it lifts what is its own, when it can, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from console.config.paths import XdgPaths
from console.operations.lease.store import LeasePhase
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer
from tests.servers.guardian_kit import IMPATIENT, QUICK, RARELY, Scene, bouncer_entry, inventory_of
from tests.servers.operations_kit import until


@pytest_asyncio.fixture
async def scene(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> AsyncIterator[Scene]:
    made = Scene()
    made.servers["edge"] = make_pgbouncer(pgbouncer_version)
    yield made
    await made.end()


@pytest_asyncio.fixture
async def one(make_pgbouncer: MakePgBouncer) -> AsyncIterator[Scene]:
    """The same with one version, where that does not matter."""
    made = Scene()
    made.servers["edge"] = make_pgbouncer("1.26")
    yield made
    await made.end()


@pytest.mark.parametrize("used", [True, False])
async def test_a_bouncer_that_was_restarted_is_not_resumed(scene: Scene, used: bool) -> None:
    """The pause died with its process: what is paused now is somebody else's, used before or not."""
    server = scene.servers["edge"]
    console = await scene.console()
    if used:
        with server.connect() as client:
            client.execute("SELECT 1")
    await console.arm("edge")
    await console.hold("edge")
    await scene.until_phase(LeasePhase.HELD)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    with server.admin() as admin:
        admin.execute("PAUSE")
        await console.until_told("restarted")
        await console.kill()
        await console.guardian_over()
        assert scene.is_paused()
    assert "restarted" in scene.outcome()["detail"]
    assert scene.outcome()["outcome"] == "no change"
    assert "RESUME" not in scene.sent()


async def test_a_bouncer_that_is_down_when_its_console_dies(one: Scene) -> None:
    server = one.servers["edge"]
    console = await one.console()
    await console.arm("edge")
    await console.hold("edge")
    await asyncio.to_thread(server.kill)
    await console.kill()
    await one.until_phase(LeasePhase.LIFTING)
    assert console.guardian_alive, "it waits for the bouncer to come back"
    await asyncio.to_thread(server.start)
    await console.guardian_over()
    assert not one.is_paused()
    assert "restarted" in one.outcome()["detail"]


async def test_a_bouncer_that_hangs_when_its_console_dies(scene: Scene) -> None:
    server = scene.servers["edge"]
    console = await scene.console()
    await console.arm("edge")
    with server.connect() as client:
        client.execute("SELECT 1")
        await console.hold("edge")
        await scene.until_phase(LeasePhase.HELD)
        with server.stopped():
            await console.kill()
            await scene.until_phase(LeasePhase.LIFTING)
            await until(lambda: "not lifted yet" in scene.guardian_log)
        await scene.until_running()
        assert client.execute("SELECT 2").fetchone() == (2,)
    await console.guardian_over()
    assert scene.outcome()["outcome"] == "ok"


@pytest.mark.parametrize("target", ["edge", "edge/app"])
async def test_connections_that_are_cut_and_refused_for_a_while(scene: Scene, target: str) -> None:
    server = scene.servers["edge"]
    with FaultProxy(server.port) as proxy:
        entry = bouncer_entry(server, tcp=f"127.0.0.1:{proxy.port}")
        console = await scene.console(inventory_of(entry))
        await console.arm(target)
        with server.connect() as client:
            client.execute("SELECT 1")
            await console.hold(target)
            with proxy.refusing():
                await console.kill()
                await scene.until_phase(LeasePhase.LIFTING)
                await until(lambda: "not lifted yet" in scene.guardian_log)
                assert scene.is_paused(target)
            await scene.until_running(target)
            assert client.execute("SELECT 2").fetchone() == (2,)
        await console.guardian_over()
    assert scene.outcome(target)["outcome"] == "ok"


async def test_a_guardian_that_cannot_get_through_says_so_and_leaves_its_file(one: Scene) -> None:
    server = one.servers["edge"]
    limits = replace(QUICK, retry_s=1.0)
    with FaultProxy(server.port) as proxy:
        console = await one.console(inventory_of(bouncer_entry(server, tcp=f"127.0.0.1:{proxy.port}")))
        await console.arm("edge", limits=limits)
        await console.hold("edge")
        with proxy.refusing():
            await console.kill()
            await console.guardian_over()
    assert one.is_paused()
    assert one.outcome()["outcome"] == "unknown"
    assert "may still be paused" in one.outcome()["detail"]
    (lease,) = one.leases
    assert lease.orphan
    assert [found.phase for found in lease.open_targets] == [LeasePhase.FAILED]


async def test_somebody_elses_resume_ends_the_cover(scene: Scene) -> None:
    server = scene.servers["edge"]
    console = await scene.console()
    await console.arm("edge")
    with server.connect() as client:
        client.execute("SELECT 1")
        await console.hold("edge")
        await scene.until_phase(LeasePhase.HELD)
        with server.admin() as admin:
            admin.execute("RESUME")
            client.execute("SELECT 2")
            await console.until_told("somebody resumed it")
            admin.execute("PAUSE")
            await console.kill()
            await console.guardian_over()
            assert scene.is_paused(), "a later pause of somebody else's is left alone"
            assert scene.sent().count("RESUME") == 1


@pytest.mark.parametrize("target", ["edge", "edge/app"])
async def test_a_resume_and_a_pause_between_two_looks_are_seen_in_the_counters(
    scene: Scene, target: str
) -> None:
    server = scene.servers["edge"]
    name = ' "app"' if "/" in target else ""
    console = await scene.console()
    await console.arm(target, limits=RARELY)
    with server.connect() as client, server.admin() as admin:
        client.execute("SELECT 1")
        await console.hold(target)
        await until(lambda: "baseline" in scene.guardian_log)
        admin.execute(f"RESUME{name}")
        client.execute("SELECT 2")
        admin.execute(f"PAUSE{name}")
        await console.kill()
        await console.guardian_over()
        assert scene.is_paused(target)
        admin.execute(f"RESUME{name}")
    assert "paused it again; that pause was left alone" in scene.outcome(target)["detail"]


async def test_clients_that_suffer_are_no_sign_of_somebody_elses_pause(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    """Each waiting client that is cut counts as a transaction: it must not be taken for a served one."""
    scene = Scene()
    server = scene.servers["edge"] = make_pgbouncer(pgbouncer_version, query_wait_timeout=1)
    try:
        console = await scene.console()
        await console.arm("edge", limits=RARELY)
        with server.connect() as client:
            client.execute("SELECT 1")
            await console.hold("edge")
            await until(lambda: "baseline" in scene.guardian_log)
            with pytest.raises(Exception, match="query_wait_timeout"):
                await asyncio.to_thread(client.execute, "SELECT 2")
            await console.kill()
            await scene.until_running()
            await console.guardian_over()
        assert scene.outcome()["outcome"] == "ok"
    finally:
        await scene.end()


async def test_two_databases_of_one_bouncer(scene: Scene) -> None:
    server = scene.servers["edge"]
    console = await scene.console()
    await console.arm("edge/app", "edge/tiny")
    with server.connect("app") as client, server.connect("tiny") as other:
        client.execute("SELECT 1")
        other.execute("SELECT 1")
        await console.hold("edge/app", "edge/tiny")
        await console.kill()
        await scene.until_running("edge/app")
        await scene.until_running("edge/tiny")
        await console.guardian_over()
        assert client.execute("SELECT 2").fetchone() == (2,)
        assert other.execute("SELECT 2").fetchone() == (2,)
    assert [scene.outcome(t)["outcome"] for t in ("edge/app", "edge/tiny")] == ["ok", "ok"]
    with server.admin() as admin:
        rows = dict(row[:2] for row in admin.execute("SHOW CONFIG").fetchall())
    assert rows["server_login_retry"] == "15"


async def test_three_bouncers_one_of_which_cannot_be_reached(
    one: Scene, make_pgbouncer: MakePgBouncer
) -> None:
    one.servers["far"] = make_pgbouncer("1.24", name="far")
    one.servers["away"] = make_pgbouncer("1.18", name="away")
    console = await one.console()
    await console.do("learn", "edge", "far", "away")
    await asyncio.to_thread(one.servers["away"].kill)
    armed = await console.arm("edge", "far", "away")
    assert list(armed["uncovered"]) == ["away"]
    assert "(connect)" in armed["uncovered"]["away"]
    await console.hold("edge", "far")
    await console.kill()
    await one.until_running("edge")
    await one.until_running("far")
    await console.guardian_over()
    assert one.outcome("edge")["outcome"] == one.outcome("far")["outcome"] == "ok"


async def test_a_bouncer_that_is_paused_already_is_not_covered(one: Scene) -> None:
    console = await one.console()
    await console.do("learn", "edge")
    with one.servers["edge"].admin() as admin:
        admin.execute("PAUSE")
        armed = await console.arm("edge")
        assert "paused already" in armed["uncovered"]["edge"]
        await console.kill()
        await console.guardian_over()
        assert one.is_paused()


async def test_another_process_than_the_plan_saw_is_not_covered(one: Scene) -> None:
    server = one.servers["edge"]
    console = await one.console()
    await console.do("learn", "edge")
    await asyncio.to_thread(server.kill)
    server.settings["logfile"] = server.own_log_path.with_suffix(".other")
    await asyncio.to_thread(server.start)
    armed = await console.arm("edge")
    assert "another process" in armed["uncovered"]["edge"]


def _no_journal(path: Path) -> None:
    """Make it unwritable, for root as well."""
    path.rename(path.with_suffix(".aside"))
    path.mkdir()


async def test_a_journal_that_cannot_be_written_keeps_nobody_waiting(one: Scene) -> None:
    console = await one.console()
    await console.arm("edge")
    await console.hold("edge")
    journal = XdgPaths().state / "journal.jsonl"
    await asyncio.to_thread(_no_journal, journal)
    await console.kill()
    await one.until_running()
    await console.guardian_over()
    (lease,) = one.leases
    assert [found.phase for found in lease.targets] == [LeasePhase.LIFTED]
    assert lease.unrecorded[0].startswith("undo of edge: ")
    assert lease.unrecorded[1].startswith("outcome of edge: ")
    assert "not recorded: outcome of edge" in one.guardian_log


async def test_without_a_journal_there_is_no_lease(one: Scene) -> None:
    (XdgPaths().state / "journal.jsonl").mkdir()
    console = await one.console()
    assert "the journal cannot be written" in (await console.arm("edge"))["error"]
    await until(lambda: one.leases == ())


async def test_a_hold_that_takes_longer_than_was_planned_is_ended(one: Scene) -> None:
    console = await one.console()
    await console.arm("edge", drain_s=0.1, hold_s=0.1)
    await console.hold("edge")
    await one.until_running()
    await console.until_told("its time was up")
    assert (await console.do("lost"))["lost"] is False
    await console.do("close")
    await console.guardian_over()
    assert one.outcome()["why"] == "its time was up"


async def test_a_guardian_that_was_stopped_itself_hears_its_run_first(one: Scene) -> None:
    console = await one.console()
    await console.arm("edge", limits=IMPATIENT)
    await console.hold("edge")
    os.kill(console.guardian, signal.SIGSTOP)
    ends_s = time.monotonic() + IMPATIENT.silence_s + 1.0
    await until(lambda: time.monotonic() > ends_s)
    os.kill(console.guardian, signal.SIGCONT)
    with one.servers["edge"].admin() as admin:
        admin.execute("RESUME")
        await console.until_told("somebody resumed it")
    assert "said nothing" not in one.guardian_log
    assert (await console.do("lost"))["lost"] is False
