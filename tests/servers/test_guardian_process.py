"""A guardian as a process: who it outlives, what ends it, and what it leaves behind.

What differs by the pooler's version is in `test_guardian`; here one version is enough.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from console.audit.processes import process_start
from console.lab.bouncer import PgBouncerServer
from console.lab.sockets import command_line
from console.operations.lease.store import LeasePhase
from tests.harness.servers import MakePgBouncer
from tests.servers.guardian_kit import IMPATIENT, Scene
from tests.servers.operations_kit import until


@pytest_asyncio.fixture
async def scene(make_pgbouncer: MakePgBouncer) -> AsyncIterator[Scene]:
    made = Scene()
    made.servers["edge"] = make_pgbouncer("1.26")
    yield made
    await made.end()


@pytest.fixture
def server(scene: Scene) -> PgBouncerServer:
    return scene.servers["edge"]


async def test_a_release_leaves_the_guardian_nothing_to_do(scene: Scene, server: PgBouncerServer) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    await console.do("send", "edge", statement="RESUME")
    await console.do("release", "edge")
    await scene.until_phase(LeasePhase.RELEASED)
    with server.admin() as admin:
        admin.execute("PAUSE")
    await console.do("close")
    await until(lambda: process_start(console.guardian) is None)
    assert scene.is_paused(), "somebody else's pause is left alone"
    assert [one["kind"] for one in scene.records] == ["lease", "lease"]
    assert scene.leases == ()


async def test_a_console_that_closes_without_resuming(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    await console.do("close")
    await scene.until_running()
    await console.guardian_over()
    assert scene.outcome()["why"] == "its run ended without resuming it"


async def test_a_console_that_is_stopped_counts_as_dead(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge", limits=IMPATIENT)
    await console.hold("edge")
    console.signal(signal.SIGSTOP)
    await scene.until_running()
    await until(lambda: bool([one for one in scene.records if one["kind"] == "outcome"]))
    assert "said nothing for" in scene.outcome()["why"]
    console.signal(signal.SIGCONT)
    await console.do("wait_lost")
    assert "guardian is gone" in (await console.do("expose", "edge"))["error"]


async def test_a_console_that_wakes_up_and_pauses_after_its_lease_is_resumed_at_once(scene: Scene) -> None:
    """It was stopped after it had asked whether it may send, and before it sent."""
    console = await scene.console()
    await console.arm("edge", limits=IMPATIENT)
    await console.do("expose", "edge")
    console.signal(signal.SIGSTOP)
    await until(lambda: bool([one for one in scene.records if one["kind"] == "outcome"]))
    console.signal(signal.SIGCONT)
    await console.do("pause", "edge")
    await console.do("drained", "edge")
    await console.kill()
    await scene.until_running()
    await console.guardian_over()
    assert scene.outcome()["outcome"] == "ok"


async def test_a_guardian_that_is_killed_is_missed_at_once(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    await scene.until_phase(LeasePhase.HELD)
    os.kill(console.guardian, signal.SIGKILL)
    await console.do("wait_lost")
    assert "guardian is gone" in (await console.do("expose", "edge"))["error"]
    (lease,) = scene.leases
    assert (lease.owner_alive, lease.guardian_alive, lease.orphan) == (True, False, False)
    assert [one.phase for one in lease.open_targets] == [LeasePhase.HELD]
    await console.kill()
    assert scene.leases[0].orphan, "the next start finds it"


async def test_a_run_whose_guardian_was_killed_leaves_no_lease_file_once_it_resumed(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    await scene.until_phase(LeasePhase.HELD)
    os.kill(console.guardian, signal.SIGKILL)
    await console.do("wait_lost")
    with scene.servers["edge"].admin() as admin:
        admin.execute("RESUME")
    await console.do("release", "edge")
    await console.do("close")
    assert scene.leases == ()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_signals_to_the_guardian(scene: Scene, number: int) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    os.kill(console.guardian, number)
    if number != signal.SIGTERM:
        await console.do("release")
        assert scene.is_paused()
        assert console.guardian_alive, "a closed terminal or a Ctrl-C is nothing to it"
        os.kill(console.guardian, signal.SIGTERM)
    await scene.until_running()
    await console.do("wait_lost")
    await console.guardian_over()
    assert scene.outcome()["why"] == "its guardian was told to end"


async def test_a_hold_that_is_handed_over_ends_in_time(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    assert "error" not in await console.do("hand_over", hold_s=1.5)
    await console.do("close")
    await console.kill()
    assert scene.is_paused()
    (lease,) = scene.leases
    assert lease.handed_over
    assert lease.guardian_alive
    assert not lease.orphan
    await scene.until_running()
    await console.guardian_over()
    assert scene.outcome()["why"] == "its hold was over"
    assert scene.outcome()["outcome"] == "ok"


async def test_a_hold_that_was_handed_over_is_resumed_early_by_somebody(
    scene: Scene, server: PgBouncerServer
) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.hold("edge")
    await console.do("hand_over", hold_s=600)
    await console.kill()
    with server.admin() as admin:
        admin.execute("RESUME")
        await console.guardian_over()
        assert scene.sent().count("RESUME") == 1
    assert "somebody resumed it" in scene.outcome()["detail"]
    assert scene.leases == ()


async def test_it_has_a_session_of_its_own_and_shows_no_password(
    scene: Scene, server: PgBouncerServer
) -> None:
    console = await scene.console()
    await console.arm("edge")
    assert os.getsid(console.guardian) == console.guardian, "no terminal's signals reach it"
    assert command_line(console.guardian)[1:-1] == ("-P", "-m", "console.cli.guardian"), (
        "no order and no secret in its arguments"
    )
    await console.hold("edge")
    await console.kill()
    await console.guardian_over()
    secret = server.secrets.password("pooldeck_admin")
    assert secret not in scene.guardian_log
    assert secret not in str(scene.records)
