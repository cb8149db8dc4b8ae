"""START of real PgBouncers that are down, over a real sshd: what is found, refused and proved."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator

import pytest

from console.config.pgbouncer_offline import settings_of
from console.config.schema import Process
from console.errors import NodeError
from console.lab.bouncer import PgBouncerServer
from console.operations.outcome import Outcome
from console.operations.plan import TargetPlan
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.operations_kit import until
from tests.servers.process_kit import FakeSupervisor, ProcessDesk, on_host, relays_of, started_by
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.verbs_kit import Load

__all__ = ["kit"]  # a fixture


@pytest.fixture(autouse=True)
def no_relay_is_left(workshop: Workshop) -> Iterator[None]:
    """Every test ends with nothing of ours on the host."""
    yield
    assert relays_of(workshop.base) == []


async def planned(desk: ProcessDesk) -> TargetPlan:
    return (await desk.service.plan("start", "edge")).targets[0]


async def refused(desk: ProcessDesk) -> str:
    found = await planned(desk)
    assert found.statements == ()
    assert found.blocked is not None
    return found.blocked


def test_the_settings_that_a_version_knows_are_those_that_it_shows(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    """The table that files are judged with while there is no SHOW CONFIG."""
    server = make_pgbouncer(pgbouncer_version)
    with server.admin() as console:
        rows = console.execute("SHOW CONFIG").fetchall()
    known = settings_of(server.version)
    assert known is not None
    assert {str(row[0]) for row in rows} == set(known)
    shown = {str(row[0]): row[2] for row in rows}
    assert {key: one.default for key, one in known.items() if one.default} == {
        key: shown[key] for key, one in known.items() if one.default
    }


async def test_one_that_is_down_is_started_and_serves(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer("1.24")
    server.stop()
    async with on_host(kit, {"edge": server}) as desk:
        found = await planned(desk)
        command = f"on host host: {shlex.join(server.start_command)}"
        assert (found.present, found.statements, found.blocked) == ("not running", (command,), None)
        assert found.evidence[0].startswith("no login: ")
        assert f"version: 1.24.1 ({server.executable})" in found.notes
        assert any(note.startswith(f"checked for it: {server.config_path} (") for note in found.notes)
        assert found.warnings == ()
        receipt = await desk.do("start")
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "running"), (receipt.detail, receipt.log)
        assert server.adopt()
        assert receipt.detail.startswith("started: first login ")
        assert receipt.differences == ()
        assert receipt.verified == (
            f"process {server.pid} serves",
            "PgBouncer 1.24.1 answers",
            "a query as app on app",
            "settings and databases read as its files say",
        )
        with server.connect() as client:
            assert client.execute("SELECT 42").fetchone() == (42,)
        again = await desk.do("start")
        assert (again.outcome, again.detail, again.exchanges) == (Outcome.NO_CHANGE, "it runs already", ())


async def test_a_pid_file_of_somebody_else_is_in_nobodys_way(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    down, other = make_pgbouncer("1.24"), make_pgbouncer("1.24")
    down.stop()
    # What a crash leaves once its number has gone to another process; PgBouncer itself minds a living one.
    down.pid_path.write_text(f"{other.pid}\n")
    async with on_host(kit, {"edge": down}) as desk:
        found = await planned(desk)
        assert found.blocked is None
        assert any("another one" in line for line in found.evidence)


async def test_one_that_shuts_down_is_told_and_not_touched(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.24")
    pid = server.pid
    async with on_host(kit, {"edge": server}) as desk:
        with server.connect() as client:
            server.send_signal(signal.SIGTERM)
            await until(lambda: server.leaving)
            reason = await refused(desk)
            assert f"its process {pid} on host host has not ended and takes no connection" in reason
            assert "it shuts down" in reason
            server.pid_path.unlink()
            assert f"its process {pid} on host host has not ended" in await refused(desk), "found by its file"
            assert client.execute("SELECT 42").fetchone() == (42,)
        await until(lambda: not server.running)


async def test_a_console_that_is_open_while_it_shuts_down_does_not_make_it_running(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.26")
    async with on_host(kit, {"edge": server}) as desk:
        with server.connect():
            server.send_signal(signal.SIGTERM)
            await until(lambda: server.leaving)
            assert "it shuts down and takes no client any more" in await refused(desk)
        await until(lambda: not server.running)


async def test_a_bad_file_is_refused_with_its_place(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer("1.24")
    server.stop()
    server.settings["pool_idle_timeout"] = "5"
    server.write_config()
    line = server.config_path.read_text().splitlines().index("pool_idle_timeout = 5") + 1
    async with on_host(kit, {"edge": server}) as desk:
        assert await refused(desk) == (
            f"it would not start: 1 error in its files: {server.config_path}:{line}: PgBouncer 1.24.1 "
            "knows no setting pool_idle_timeout (1.26 and later do)"
        )
        assert not server.running


async def test_a_file_that_changes_after_the_plan_starts_nothing(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.24")
    server.stop()
    async with on_host(kit, {"edge": server}) as desk:
        plan = await desk.service.plan("start", "edge")
        server.settings["default_pool_size"] = "11"
        server.write_config()
        receipt = await desk.finish(desk.submit(plan))
        assert (receipt.outcome, receipt.exchanges) == (Outcome.SKIPPED, ())
        assert "what the plan rests on has changed" in receipt.detail


async def test_one_that_does_not_come_up_says_why(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    """Its socket folder is gone: no file says so, its log does."""
    server = make_pgbouncer("1.24")
    server.stop()
    server.socket_dir.rename(server.socket_dir.with_name("elsewhere"))
    async with on_host(kit, {"edge": server}) as desk:
        receipt = await desk.do("start", timeout_s=3)
        assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "not running"), receipt.detail
        assert "the command that starts it failed" in receipt.detail or "does not serve" in receipt.detail
        assert any("unix" in line or "No such file" in line for line in receipt.log), receipt.log
        command = shlex.join(server.start_command)
        assert f"on host host, once the cause is mended: {command}" in receipt.next_steps


@pytest.mark.parametrize("kind", ["systemd", "docker"])
async def test_supervisors_are_called_as_planned(
    kit: SshKit, make_pgbouncer: MakePgBouncer, kind: str
) -> None:
    """The supervisor is a FAKE; the pooler, its host and its start are real."""
    server = make_pgbouncer("1.24")
    server.stop()
    fake = FakeSupervisor(kit, server)
    name = {"systemd": "unit", "docker": "container"}[kind]
    process = Process.model_validate({"kind": kind, name: "pooler"})
    async with on_host(kit, {"edge": server}, sshd=fake.sshd, process={"edge": process}) as desk:
        receipt = await desk.do("start")
        assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log, fake.calls)
        wanted = "systemctl --no-ask-password start pooler" if kind == "systemd" else "docker start pooler"
        assert fake.calls == [wanted]


async def test_what_nobody_knows_how_to_start_is_not_started(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.24")
    server.stop()
    async with on_host(kit, {"edge": server}, process={"edge": None}) as desk:
        assert "nobody says how it is started" in await refused(desk)


@pytest.mark.under_load("start")
async def test_of_several_only_those_that_are_down_are_started(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    down, up = make_pgbouncer("1.24"), make_pgbouncer("1.24")
    down.stop()
    pid = up.pid
    process: dict[str, Process | None] = {"edge": started_by(down), "other": started_by(up)}
    async with on_host(kit, {"edge": down, "other": up}, process=process) as desk:
        with Load(up) as load:
            run = desk.submit(await desk.service.plan("start", "all"))
            first, second = (await run.receipt()).targets
            await load.works_on()
            assert load.errors == []
        assert down.adopt()
        with Load(down) as load:
            await load.works_on()
            assert load.errors == []
        assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.NO_CHANGE), (first, second)
        assert up.pid == pid


async def test_a_host_that_cannot_be_reached_is_not_taken_for_a_bouncer_that_is_down(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server: PgBouncerServer = make_pgbouncer("1.24")
    sshd = kit.sshd()
    async with on_host(kit, {"edge": server}, sshd=sshd) as desk:
        sshd.stop()
        with pytest.raises(NodeError) as failed:
            await desk.service.plan("start", "edge")
        assert failed.value.phase == "ssh"
