"""The guardian on real servers: whatever becomes of its console, no pooler of the lease stays paused.

Each test ends with the bouncer's own state, and with what the journal says of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from console.lab.bouncer import PgBouncerServer
from console.operations.lease.store import LeasePhase
from tests.harness.servers import MakePgBouncer
from tests.servers.guardian_kit import Scene
from tests.servers.operations_kit import until

BOTH = pytest.mark.parametrize("target", ["edge", "edge/app"])


@pytest_asyncio.fixture
async def scene(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> AsyncIterator[Scene]:
    made = Scene()
    made.servers["edge"] = make_pgbouncer(pgbouncer_version)
    yield made
    await made.end()


@pytest.fixture
def server(scene: Scene) -> PgBouncerServer:
    return scene.servers["edge"]


@BOTH
async def test_a_console_killed_while_it_holds(scene: Scene, server: PgBouncerServer, target: str) -> None:
    console = await scene.console()
    armed = await console.arm(target)
    assert armed["uncovered"] == {}
    with server.connect() as client:
        client.execute("SELECT 1")
        await console.hold(target)
        assert scene.is_paused(target)
        await console.kill()
        await scene.until_running(target)
        assert client.execute("SELECT 2").fetchone() == (2,)
    await console.guardian_over()
    outcome = scene.outcome(target)
    assert (outcome["by"], outcome["outcome"], outcome["after"]) == ("guardian", "ok", "running")
    assert outcome["why"] == "its run is gone"
    assert [one["kind"] for one in scene.records] == ["lease", "undo", "outcome", "lease"]
    assert scene.leases == ()


@BOTH
async def test_a_console_killed_while_its_pause_waits_for_a_client(
    scene: Scene, server: PgBouncerServer, target: str
) -> None:
    console = await scene.console()
    await console.arm(target)
    with server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        await console.pause(target)
        await until(lambda: scene.is_paused(target))
        await console.kill()
        await scene.until_running(target)
        await console.guardian_over()
        assert client.execute("SELECT 2").fetchone() == (2,)
        client.execute("COMMIT")
    assert not scene.is_paused(target)
    assert scene.outcome(target)["outcome"] == "ok"


async def test_a_console_killed_before_its_pause_was_sent(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    await console.do("expose", "edge")
    await console.kill()
    await console.guardian_over()
    assert not scene.is_paused()
    assert "RESUME" not in scene.sent()
    assert scene.outcome()["detail"] == "it was running already, so no RESUME was sent"


async def test_a_console_killed_before_anything_was_exposed_leaves_nothing(scene: Scene) -> None:
    console = await scene.console()
    await console.arm("edge")
    assert [lease.targets[0].phase for lease in scene.leases] == [LeasePhase.ARMED]
    await console.kill()
    await console.guardian_over()
    assert "RESUME" not in scene.sent()
    assert [one["kind"] for one in scene.records] == ["lease", "outcome", "lease"]
    assert scene.outcome()["outcome"] == "skipped"
    assert scene.leases == ()


async def test_a_pause_that_arrives_after_its_console_died_is_ended_too(
    scene: Scene, server: PgBouncerServer
) -> None:
    """The pooler hangs while PAUSE lies in its socket, and the console is dead before it goes on."""
    console = await scene.console()
    await console.arm("edge")
    await console.do("expose", "edge")
    await console.do("open", "edge")
    with server.stopped():
        await console.do("pause", "edge")
        await console.kill()
        await scene.until_phase(LeasePhase.LIFTING)
    await console.guardian_over()
    assert not scene.is_paused()
    assert "PAUSE" in scene.sent()


@BOTH
async def test_a_console_killed_between_its_resume_and_its_release(scene: Scene, target: str) -> None:
    console = await scene.console()
    await console.arm(target)
    await console.hold(target)
    database = target.partition("/")[2]
    await console.do("send", target, statement=f'RESUME "{database}"' if database else "RESUME")
    await console.kill()
    await console.guardian_over()
    assert not scene.is_paused(target)
    assert scene.sent().count("RESUME") == 1, "the guardian's was not needed"
    assert scene.outcome(target)["outcome"] == "no change"


@pytest.mark.trap("T4")
async def test_clients_of_a_database_do_not_fail_when_the_guardian_resumes(
    scene: Scene, make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    """Trap T4: servers that were launched under a database's pause would fail its clients for 15 s."""
    server = scene.servers["edge"] = make_pgbouncer(pgbouncer_version, min_pool_size=2)
    console = await scene.console()
    await console.arm("edge/app")
    with server.connect() as client, server.connect():
        client.execute("SELECT 1")
        await console.hold("edge/app")
        await console.kill()
        await console.guardian_over()
        assert client.execute("SELECT 2").fetchone() == (2,)
        with server.connect() as another:
            assert another.execute("SELECT 3").fetchone() == (3,)
    statements = [one["statement"] for one in scene.outcome("edge/app")["exchanges"]]
    assert statements == ["SET server_login_retry = 0", 'RESUME "app"', "SET server_login_retry = 15"]
    assert _retry(server) == "15"


@pytest.mark.parametrize("resumed", [True, False])
async def test_a_console_killed_amid_its_own_resume_leaves_no_setting_changed(
    scene: Scene, server: PgBouncerServer, resumed: bool
) -> None:
    console = await scene.console()
    await console.arm("edge/app")
    await console.hold("edge/app")
    await console.do("send", "edge", statement="SET server_login_retry = 0")
    if resumed:
        await console.do("send", "edge", statement='RESUME "app"')
    await console.kill()
    await console.guardian_over()
    assert not scene.is_paused("edge/app")
    assert _retry(server) == "15"
    if resumed:
        assert scene.outcome("edge/app")["warnings"] == [
            "server_login_retry had been left at 0, and was put back"
        ]


def _retry(server: PgBouncerServer) -> str:
    with server.admin() as admin:
        rows = admin.execute("SHOW CONFIG").fetchall()
    return str(next(row[1] for row in rows if row[0] == "server_login_retry"))
