"""RESTART of real PgBouncers over a real sshd, under load: each method, upgrades, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from console.config.schema import Process
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer, Workshop, pgbouncer_executable
from tests.servers.operations_kit import until
from tests.servers.process_kit import FakeSupervisor, on_host, relays_of, started_by
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.verbs_kit import Load

__all__ = ["kit"]  # a fixture


@pytest.fixture(autouse=True)
def no_relay_is_left(workshop: Workshop) -> Iterator[None]:
    """Every test ends with nothing of ours on the host."""
    yield
    assert relays_of(workshop.base) == []


def switch(link: Path, version: str) -> None:
    """Let the start command lead to another version, as a package upgrade does."""
    new = link.with_suffix(".new")
    new.symlink_to(pgbouncer_executable(version)[1])
    new.rename(link)


@pytest.mark.parametrize("method", ["plain", "drain"])
@pytest.mark.under_load("restart")
async def test_stop_and_start(
    kit: SshKit, make_pgbouncer: MakePgBouncer, pgbouncer_version: str, method: str
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    old = server.pid
    async with on_host(kit, {"edge": server}) as desk:
        with Load(server) as load:
            receipt = await desk.do("restart", method=method, timeout_s=10)
            before = len(load.errors)
            await load.works_on()
        assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log)
        assert server.adopt()
        assert server.pid != old
        assert f"process {old} has ended, {server.pid} serves" in receipt.verified
        assert f"PgBouncer {pgbouncer_version} answers" in receipt.verified
        assert "3 clients cut; first login" in receipt.detail
        assert load.errors[before:] == [], "once it is back, nobody fails any more"
        assert not desk.is_paused()
        sent = [one.statement for one in receipt.exchanges]
        quits = "TERM" if pgbouncer_version.startswith("1.18") else "QUIT"
        assert sent[-2:] == [
            f"on host host: kill -{quits} {old}",
            f"on host host, once process {old} has ended: {' '.join(server.start_command)}",
        ]
        assert sent[:-2] == (["PAUSE"] if method == "drain" else [])


async def test_a_drain_cuts_no_transaction(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer("1.24")
    async with on_host(kit, {"edge": server}) as desk:
        with server.connect() as client:
            client.execute("BEGIN")
            client.execute("SELECT 1")
            run = await desk.start("restart", method="drain", timeout_s=10)
            await until(lambda: desk.is_paused())
            assert client.execute("SELECT 42").fetchone() == (42,)
            client.execute("COMMIT")
            receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.OK, receipt.detail


async def test_a_drain_that_does_not_end_restarts_nothing(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer("1.24")
    old = server.pid
    async with on_host(kit, {"edge": server}) as desk:
        with server.connect() as client:
            client.execute("BEGIN")
            client.execute("SELECT 1")
            receipt = await desk.do("restart", method="drain", timeout_s=0.5)
            assert receipt.outcome is Outcome.FAILED
            assert "not complete within 0.5 s" in receipt.detail
            assert client.execute("SELECT 42").fetchone() == (42,)
        assert not desk.is_paused()
        assert server.pid == old


@pytest.mark.parametrize("version", ["1.18", "1.24"])
async def test_a_takeover_cuts_nobody(kit: SshKit, make_pgbouncer: MakePgBouncer, version: str) -> None:
    server = make_pgbouncer(version)
    old = server.pid
    async with on_host(kit, {"edge": server}) as desk:
        with Load(server) as load, server.connect() as client:
            client.execute("BEGIN")
            client.execute("SELECT 1")
            receipt = await desk.do("restart", method="takeover")
            assert client.execute("SELECT 42").fetchone() == (42,)
            client.execute("COMMIT")
            await load.works_on()
            assert load.errors == []
        assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log)
        assert server.adopt()
        assert f"process {old} was taken over, {server.pid} serves" in receipt.verified
        assert "every client of before is still connected (4)" in receipt.verified


async def test_a_takeover_that_pgbouncer_refuses_leaves_the_old_process(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    """Here the program was replaced by one without `-R` between plan and start."""
    server = make_pgbouncer("1.24")
    old = server.pid
    link = kit.workshop.launcher.make_dir(kit.workshop.place("bin")) / "pgbouncer"
    link.symlink_to(server.executable)
    process = started_by(server).model_copy(update={"start_command": (str(link), *server.start_command[1:])})
    async with on_host(kit, {"edge": server}, process={"edge": process}) as desk:
        plan = await desk.service.plan("restart", "edge", method="takeover", start_timeout_s=3)
        asked = f"[ $1 = --version ] && exec {server.executable} --version"
        stub = link.with_name("stub")
        stub.write_text(f"#!/bin/sh\n{asked}\necho no such option >&2\nexit 1\n")
        stub.chmod(0o755)
        fresh = link.with_suffix(".new")
        fresh.symlink_to(stub)
        fresh.rename(link)
        receipt = await desk.finish(desk.submit(plan))
        assert receipt.outcome is Outcome.FAILED
        assert "the old one goes on" in receipt.detail
        assert "no such option" in receipt.log
        assert server.pid == old
        with server.connect() as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


async def test_an_upgrade_and_back(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer("1.24")
    link = kit.workshop.launcher.make_dir(kit.workshop.place("bin")) / "pgbouncer"
    link.symlink_to(server.executable)
    process = started_by(server).model_copy(update={"start_command": (str(link), *server.start_command[1:])})
    async with on_host(kit, {"edge": server}, process={"edge": process}) as desk:
        with Load(server) as load:
            planned = (await desk.service.plan("restart", "edge", expect_version="1.26")).targets[0]
            assert planned.blocked is not None
            assert "the next start takes 1.24.1" in planned.blocked
            switch(link, "1.26")
            planned = (await desk.service.plan("restart", "edge", expect_version="1.26")).targets[0]
            assert planned.notes[0].startswith("method: drain (")
            assert "the next start takes 1.26.1, which has no -R" in planned.notes[0]
            assert any(note.startswith("version: 1.24.1 → 1.26.1 (") for note in planned.notes)
            receipt = await desk.do("restart", expect_version="1.26", timeout_s=10)
            assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log)
            assert "version: 1.24.1 → 1.26.1" in receipt.differences
            await load.works_on()
            switch(link, "1.24")
            receipt = await desk.do("restart", expect_version="1.24.1", timeout_s=10)
            assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log)
            assert "PgBouncer 1.24.1 answers" in receipt.verified
            await load.works_on()


@pytest.mark.during("restart: a bad new file")
async def test_a_file_that_it_would_not_start_with_is_refused_before(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.26")
    async with on_host(kit, {"edge": server}) as desk:
        server.settings["pool_mode"] = "transactoin"
        server.write_config()
        planned = (await desk.service.plan("restart", "edge")).targets[0]
        assert planned.blocked is not None
        assert planned.blocked.startswith("it would not start again as it is: 1 error in its files")
        assert server.running


@pytest.mark.during("restart: the bouncer does not start")
async def test_one_that_does_not_come_back_ends_the_run_with_its_last_words(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    one, two = make_pgbouncer("1.24"), make_pgbouncer("1.24")
    command = (*one.start_command[:-1], "--no-such-option", str(one.config_path))
    process = {
        "edge": started_by(one).model_copy(update={"start_command": command}),
        "other": started_by(two),
    }
    async with on_host(kit, {"edge": one, "other": two}, process=process) as desk:
        old = two.pid
        run = desk.submit(await desk.service.plan("restart", "edge,other", method="plain", start_timeout_s=3))
        first, second = (await run.receipt()).targets
        assert (first.outcome, first.after) == (Outcome.FAILED, "not running")
        assert "its process has ended, and the command that starts it failed" in first.detail
        assert any("no-such-option" in line for line in first.log)
        assert any("process up" in line or "shutting down" in line for line in first.log), first.log
        assert f"on host host, once the cause is mended: {' '.join(command)}" in first.next_steps
        assert second.outcome is Outcome.SKIPPED
        assert two.pid == old


@pytest.mark.parametrize("kind", ["systemd", "docker", "swarm"])
async def test_supervisors_are_called_as_planned(
    kit: SshKit, make_pgbouncer: MakePgBouncer, kind: str
) -> None:
    """The supervisor is a FAKE; the pooler, its host and its restart are real."""
    names = {"systemd": "unit", "docker": "container", "swarm": "service"}
    server = make_pgbouncer("1.24")
    fake = FakeSupervisor(kit, server)
    process = Process.model_validate({"kind": kind, names[kind]: "pooler"})
    async with on_host(kit, {"edge": server}, sshd=fake.sshd, process={"edge": process}) as desk:
        receipt = await desk.do("restart", method="plain")
        assert receipt.outcome is Outcome.OK, (receipt.detail, receipt.log, fake.calls)
        ctl = "systemctl --no-ask-password"
        assert (
            fake.calls
            == {
                "systemd": [f"{ctl} stop pooler", f"{ctl} start pooler"],
                "docker": ["docker kill --signal=SIGQUIT pooler", "docker start pooler"],
                "swarm": ["docker service update --force --detach=false pooler"],
            }[kind]
        )


async def test_what_nobody_knows_how_to_start_is_not_stopped(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    server = make_pgbouncer("1.24")
    async with on_host(kit, {"edge": server}, process={"edge": None}) as desk:
        planned = (await desk.service.plan("restart", "edge")).targets[0]
        assert planned.blocked is not None
        assert "nobody says how it is started" in planned.blocked
