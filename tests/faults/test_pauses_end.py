"""However a pause is broken off, the bouncer serves its clients again and the journal tells what happened."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.bouncer import PgBouncerServer
from tests.faults.fault_kit import FaultShell, held_still, jumping_clock, running, until_running
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import LIMIT_S, Terminal, open_transaction, until


@pytest.fixture
def server(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest.fixture
def shell(server: PgBouncerServer, tmp_path: Path) -> Iterator[FaultShell]:
    with FaultShell({"edge": server}, tmp_path) as made:
        yield made


@pytest.fixture
def newest(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[FaultShell]:
    """For faults that are the same to every version: tests/servers has the differences."""
    with FaultShell({"edge": make_pgbouncer("1.26")}, tmp_path) as made:
        yield made


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(LIMIT_S)


@pytest.mark.parametrize("target", ["edge", "edge/app"])
@pytest.mark.fault("console killed while a PAUSE is pending")
def test_a_console_killed_while_its_pause_is_pending(shell: FaultShell, target: str) -> None:
    database = target.partition("/")[2] or None
    with open_transaction(shell.server) as client:
        process = shell.start("pause", target, "--yes", "--timeout", "20", "--for", "20s")
        until(lambda: not running(shell.server, database))
        kill(process)
        until_running(shell.server, database)
        client.execute("SELECT 1")
        client.execute("COMMIT")
    shell.assert_settled()
    (outcome,) = shell.outcomes()
    assert (outcome["by"], outcome["outcome"], outcome["after"]) == ("guardian", "ok", "running")


@pytest.mark.parametrize("target", ["edge", "edge/app"])
@pytest.mark.trap("T3")
@pytest.mark.fault("console killed while a pause is held")
def test_a_console_killed_while_it_holds(shell: FaultShell, target: str) -> None:
    database = target.partition("/")[2] or None
    kill(shell.hold(target, "--for", "40s"))
    until_running(shell.server, database)
    shell.assert_settled()
    (outcome,) = shell.outcomes()
    assert outcome["by"] == "guardian"


@pytest.mark.fault("guardian killed")
def test_a_guardian_killed_while_its_console_holds(newest: FaultShell) -> None:
    process = newest.hold()
    os.kill(newest.guardian(), signal.SIGKILL)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, err
    assert "its guardian ended" in out
    assert running(newest.server)
    assert [one["after"] for one in newest.outcomes()] == ["running"]
    newest.assert_settled()


@pytest.mark.trap("T3")
@pytest.mark.fault("guardian killed")
def test_console_and_guardian_killed_is_listed_told_and_mended(shell: FaultShell) -> None:
    process = shell.hold()
    guardian = shell.guardian()
    with held_still(guardian):
        kill(process)
        os.kill(guardian, signal.SIGKILL)
    assert not running(shell.server), "nobody is left to resume it"
    listed = shell("leases")
    assert "never: left behind" in listed.stdout
    assert "pooldeck mend" in listed.stderr
    planned = shell("mend", "--plan")
    assert "left behind by PAUSE edge" in planned.stdout
    mended = shell("mend", "--yes")
    assert mended.returncode == 0, mended.stderr
    assert running(shell.server)
    shell.assert_settled()
    assert shell("leases").stdout == ""


def test_a_console_that_hangs_loses_its_pause_to_the_guardian(newest: FaultShell) -> None:
    process = newest.hold()
    with held_still(process.pid):
        until_running(newest.server)
    process.communicate(timeout=LIMIT_S)
    assert running(newest.server)
    newest.assert_settled()


@pytest.mark.fault("client that never ends its transaction")
def test_a_client_that_never_ends_its_transaction(newest: FaultShell) -> None:
    with open_transaction(newest.server) as client:
        ended = newest("pause", "edge", "--yes", "--timeout", "1", "--for", "5s")
        assert ended.returncode == 1
        assert "not complete within 1 s" in ended.stdout
        assert running(newest.server)
        client.execute("SELECT 1")
    newest.assert_settled()


@pytest.mark.fault("bouncer killed and restarted mid-PAUSE")
def test_a_bouncer_killed_and_restarted_while_its_pause_is_pending(shell: FaultShell) -> None:
    with contextlib.suppress(Exception), open_transaction(shell.server):
        process = shell.start("pause", "edge", "--yes", "--timeout", "20", "--for", "20s")
        until(lambda: not running(shell.server))
        shell.server.kill()
        shell.server.start()
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (1, 4), err
    assert running(shell.server)
    shell.assert_settled()
    assert "edge" in out


@pytest.mark.fault("somebody else's RESUME while ours is pending")
def test_somebodys_resume_of_a_pending_pause(shell: FaultShell) -> None:
    with open_transaction(shell.server):
        process = shell.start("pause", "edge", "--yes", "--timeout", "20", "--for", "20s")
        until(lambda: not running(shell.server))
        shell.tell("edge", "RESUME")
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, err
    assert "somebody resumed it meanwhile" in out
    assert running(shell.server)
    shell.assert_settled()


@pytest.mark.fault("terminal closed")
@pytest.mark.parametrize("moment", ["pending", "held"])
def test_a_terminal_that_is_closed(newest: FaultShell, moment: str) -> None:
    with contextlib.ExitStack() as stack:
        if moment == "pending":
            stack.enter_context(open_transaction(newest.server))
        terminal = stack.enter_context(Terminal())
        process = terminal.start(newest, "pause", "edge", "--yes", "--timeout", "20", "--for", "20s")
        terminal.read_until("holding 1 target" if moment == "held" else "→ PAUSE")
        until(lambda: not running(newest.server))
        terminal.close()
        assert process.wait(LIMIT_S) == 130
    newest.assert_settled()
    assert [one["interrupted"] for one in newest.outcomes()] == [True]


@pytest.mark.fault("two consoles pausing one bouncer")
def test_two_consoles_of_one_machine(newest: FaultShell) -> None:
    process = newest.hold()
    second = newest("pause", "edge", "--yes", "--for", "1s")
    assert "PAUSE edge" in second.stderr
    assert second.returncode in (0, 3), second.stderr
    assert "pooldeck leases" in second.stderr + second.stdout
    assert not running(newest.server), "the second one ended what is not its own"
    planned = newest("pause", "edge", "--plan")
    assert re.search(r"warning +PAUSE edge of .* holds it until \d\d:\d\d:\d\d UTC", planned.stdout)
    planned = newest("reconnect", "edge", "--plan")
    assert re.search(r"stands by at this admin console: \S+ pooldeck_guardian since", planned.stdout)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert running(newest.server)
    newest.assert_settled()


@pytest.mark.fault("two consoles pausing one bouncer")
def test_two_consoles_of_two_machines(newest: FaultShell, tmp_path: Path) -> None:
    server = newest.server
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with FaultShell({"edge": server}, elsewhere) as other:
        process = newest.hold()
        second = other("pause", "edge", "--yes", "--for", "1s")
        assert second.returncode == 0, second.stderr
        assert (
            "it was paused already: somebody else paused it, under no lease of this machine" in second.stdout
        )
        assert not running(server), "a pause that it did not make is not its to end"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
        assert running(server)
        other.assert_settled()
    newest.assert_settled()


@pytest.mark.fault("journal's disk full")
def test_the_disk_fills_while_a_pause_is_held(newest: FaultShell) -> None:
    process = newest.hold()
    journal = newest.pooldeck / "journal.jsonl"
    size = journal.stat().st_size
    for pid in (process.pid, newest.guardian()):
        # Not one byte more, for the two processes that would write it.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert running(newest.server), "what cannot be recorded is resumed all the same"
    assert "could not be recorded" in out + err
    until(lambda: all(lease.unrecorded for lease in newest.leases()))
    assert newest("audit", "verify").returncode == 0, "what there is of the journal is whole"
    until(lambda: all(lease.orphan for lease in newest.leases()))
    assert newest("mend").returncode == 0, "there is room again"
    newest.assert_settled()


def test_a_disk_that_is_full_from_the_start_sends_nothing(newest: FaultShell) -> None:
    newest.pooldeck.mkdir(parents=True, mode=0o700)
    (newest.pooldeck / "journal.jsonl").mkdir()
    ended = newest("pause", "edge", "--yes", "--for", "1s")
    assert ended.returncode == 1, ended.stderr
    assert "nothing was sent" in ended.stdout + ended.stderr
    assert running(newest.server)


@pytest.mark.fault("clock jump")
def test_a_clock_that_jumps_a_day_ends_nothing_early_or_late(newest: FaultShell, tmp_path: Path) -> None:
    environ, flag = jumping_clock(tmp_path)
    newest.environ |= environ
    process = newest.hold("edge", "--for", "6s")
    flag.touch()
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "holding" in line, "it goes on holding"
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert "held for 6." in out
    assert running(newest.server)
    newest.assert_settled()
