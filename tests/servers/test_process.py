"""What hosts tell of real poolers' processes, over a real sshd."""

from __future__ import annotations

import pytest

from console.config.schema import Process
from console.operations.process.supervision import Kind
from tests.harness.servers import MakePgBouncer
from tests.servers.process_kit import FakeSupervisor, on_host, started_by
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit"]  # a fixture


async def test_a_process_is_found_by_its_pid_file_and_told_in_full(
    kit: SshKit, make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    async with on_host(kit, {"edge": server}) as desk:
        report = await desk.report()
    found = report.look.process
    assert found is not None, report.look.why
    assert server.process is not None
    assert (found.pid, found.process.start_ticks) == (server.process.pid, server.process.start_ticks)
    assert (found.uid, report.look.user) == (server.launcher.account.uid, server.launcher.account.uid)
    assert found.rss_bytes is not None
    assert found.rss_bytes > 1_000_000
    assert found.open_files is not None
    assert found.open_files > 3
    assert found.open_files_limit
    assert found.executable is not None
    assert report.cpu_share is not None
    assert found.started_at_s is not None
    assert abs(desk.clock.wall_s() - found.started_at_s) < 60
    assert str(report.running_version) == str(report.look.program_version) == pgbouncer_version
    assert report.look.may_act is None
    assert not report.version_waits


async def test_one_that_is_down_says_so_and_how_it_is_started(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer(None)
    async with on_host(kit, {"edge": server}) as desk:
        pid = server.pid
        server.kill()
        report = await desk.report()
    assert report.look.process is None
    assert report.look.why == f"process {pid} is gone: it is not running"
    assert report.silent is not None
    assert dict(report.lines())["started by"] == " ".join(server.start_command)


async def test_a_pid_file_that_names_another_process_is_not_believed(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    one, two = make_pgbouncer(None), make_pgbouncer(None)
    process = started_by(one).model_copy(update={"pid_file": two.pid_path})
    async with on_host(kit, {"edge": one}, process={"edge": process}) as desk:
        report = await desk.report()
    assert report.look.process is None
    assert report.look.why is not None
    assert "is another one" in report.look.why


async def test_without_a_word_in_the_inventory_supervision_is_detected(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer(None)
    async with on_host(kit, {"edge": server}, process={"edge": None}) as desk:
        report = await desk.report()
    assert report.look.process is not None
    assert report.look.supervision is None, "it runs in the foreground, under nobody this can tell"


@pytest.mark.parametrize(
    ("process", "kind", "says"),
    [
        (Process(kind="systemd", unit="pgbouncer.service"), Kind.SYSTEMD, "active (running)"),
        (Process(kind="docker", container="bouncer"), Kind.DOCKER, "pgbouncer:1.24"),
    ],
)
async def test_a_supervisor_is_asked_for_the_process(
    kit: SshKit, make_pgbouncer: MakePgBouncer, process: Process, kind: Kind, says: str
) -> None:
    server = make_pgbouncer("1.24")
    fake = FakeSupervisor(kit, server)
    async with on_host(kit, {"edge": server}, sshd=fake.sshd, process={"edge": process}) as desk:
        report = await desk.report()
    assert report.look.process is not None, report.look.why
    assert report.look.process.pid == server.pid
    assert report.look.supervision is not None
    assert report.look.supervision.kind is kind
    assert any(says in words for _, words in report.lines())
    assert report.look.program_version is None or str(report.look.program_version) == str(server.version)
    assert fake.calls == []


async def test_a_host_that_is_not_reached_is_told(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    sshd = kit.sshd()
    async with on_host(kit, {"edge": make_pgbouncer(None)}, sshd=sshd) as desk:
        sshd.kill()
        report = await desk.report()
    assert report.look.process is None
    assert report.look.why is not None
    assert report.look.why.startswith("host host: ")
    assert report.silent is not None
