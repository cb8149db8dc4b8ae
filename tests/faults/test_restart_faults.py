"""A restart whose console dies, or whose way to the host is cut, at each step: the pooler comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.bouncer import PgBouncerServer
from console.lab.fleet import Lab
from tests.faults.fault_kit import LabShell, cut_sessions, running, until_running
from tests.harness.servers import MakeLab, Workshop, pgbouncer_executable
from tests.servers.cli_kit import LIMIT_S, open_transaction, until
from tests.servers.process_kit import read_or_empty, relays_of

NAME = "edge-1a"
SLOW = 'sleep 1.5; exec "$0" "$@"'
"""A start that takes its time, so that there is a moment without a process."""


@pytest.fixture(scope="module")
def lab(workshop: Workshop) -> Iterator[Lab]:
    """One lab for all of these: each test leaves its bouncer running."""
    directory = workshop.place("lab")
    try:
        yield Lab.up(directory, bouncers=1)
    finally:
        Lab.down(directory)


@pytest.fixture
def shell(lab: Lab, tmp_path: Path) -> Iterator[LabShell]:
    bouncer = lab.bouncers[NAME]
    bouncer.adopt()
    try:
        with LabShell(lab, tmp_path) as made:
            yield made
    finally:
        until(lambda: bouncer.adopt())
        try:
            until(lambda: relays_of(lab.directory) == [])
        finally:
            # The next test must not take them for its own.
            clean(relays_of(lab.directory))


def slow_start(shell: LabShell) -> None:
    """Give the shell an inventory whose start command takes its time."""
    text = shell.fleet.read_text()
    first = str(shell.lab.bouncers[NAME].start_command[0])
    assert f'    "{first}",' in text
    shell.fleet = shell.state.with_name("slow.toml")
    shell.fleet.write_text(text.replace(f'    "{first}",', f'    "sh", "-c", \'{SLOW}\', "{first}",'))


def begin(shell: LabShell, method: str, *words: str, clients: int = 0) -> subprocess.Popen[str]:
    cuts = method not in ("rolling", "takeover")
    agreed = ("--yes", "--confirm", f"{NAME} {clients}" if cuts else NAME)
    return shell.start("restart", NAME, "--method", method, "--timeout", "20", *words, *agreed)


def heard(process: subprocess.Popen[str], words: str) -> None:
    """Read what a run tells until it says `words`."""
    assert process.stderr is not None
    seen = ""
    while words not in seen:
        line = process.stderr.readline()
        seen += line
        assert line, f"it ended before it said {words!r}: {seen}"


def clean(relay: list[Path]) -> None:
    for folder in relay:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def came_back(bouncer: PgBouncerServer, old: int | None) -> bool:
    return bouncer.adopt() and bouncer.pid != old and bouncer.ready()


@pytest.mark.parametrize(
    ("method", "moment"), [("plain", "told"), ("drain", "told"), ("drain", "between stop and start")]
)
@pytest.mark.during("restart: console killed")
def test_the_console_is_killed_once_the_host_has_it(
    shell: LabShell, lab: Lab, method: str, moment: str
) -> None:
    bouncer = lab.bouncers[NAME]
    slow_start(shell)
    old = bouncer.pid
    process = begin(shell, method)
    heard(process, "once process")
    if moment == "between stop and start":
        until(lambda: not bouncer.running)
    process.kill()
    process.wait(LIMIT_S)
    if moment == "between stop and start":
        until(lambda: came_back(bouncer, old))
        told = shell("process", NAME)
        assert "an earlier one was left (started)" in told.stdout, "nobody was there to remove it"
    # Killed as it spoke to the host, nothing may have been begun; never is it down.
    until(lambda: bouncer.adopt() and bouncer.ready())
    until(
        lambda: all(
            (folder / "state").read_text().endswith("started\n") for folder in relays_of(lab.directory)
        )
    )
    assert bouncer.adopt()
    until_running(bouncer)
    clean(relays_of(lab.directory))
    until(lambda: not shell.leases())


@pytest.mark.during("restart: console killed")
def test_the_console_is_killed_while_it_drains(shell: LabShell, lab: Lab) -> None:
    """Its guardian resumes, and nothing is restarted."""
    bouncer = lab.bouncers[NAME]
    old = bouncer.pid
    with open_transaction(bouncer):
        process = begin(shell, "drain", clients=1)
        until(lambda: not running(bouncer))
        process.kill()
        process.wait(LIMIT_S)
        until_running(bouncer)
    assert bouncer.pid == old
    assert relays_of(lab.directory) == []
    shell.assert_settled()


@pytest.mark.during("restart: console killed")
def test_the_console_is_killed_while_a_member_waits_for_its_clients(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    """The member goes on for them, and its host starts it after the last one."""
    lab = make_lab(bouncers=2, pgbouncer=[pgbouncer_executable("1.24")[1]])
    bouncer = lab.bouncers[NAME]
    old = bouncer.pid
    with LabShell(lab, tmp_path) as shell:
        with bouncer.connect(host=str(bouncer.socket_dir)) as client:
            client.execute("SELECT 1")
            process = begin(shell, "rolling")
            heard(process, "takes no new clients")
            process.kill()
            process.wait(LIMIT_S)
            assert client.execute("SELECT 42").fetchone() == (42,)
            assert bouncer.pid == old
            told = shell("process", NAME).stdout
            assert "under way on its host (waiting)" in told
        until(lambda: came_back(bouncer, old))
    clean(relays_of(lab.directory))


@pytest.mark.during("restart: SSH connection cut")
def test_every_ssh_session_is_cut_between_stop_and_start(shell: LabShell, lab: Lab) -> None:
    bouncer = lab.bouncers[NAME]
    slow_start(shell)
    old = bouncer.pid
    process = begin(shell, "drain")
    heard(process, "once process")
    until(lambda: not bouncer.running)
    listener = lab.hosts["edge-1"].pid
    assert listener is not None
    cut_sessions(listener)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, (out, err)
    assert "restarted:" in out
    assert came_back(bouncer, old)
    shell.assert_settled()


@pytest.mark.during("restart: sshd stopped")
@pytest.mark.parametrize("seen", [False, True], ids=["at once", "seen to have ended"])
def test_sshd_is_gone_between_stop_and_start(shell: LabShell, lab: Lab, seen: bool) -> None:
    """The run cannot see it; the host does it all the same."""
    bouncer, sshd = lab.bouncers[NAME], lab.hosts["edge-1"]
    slow_start(shell)
    old = bouncer.pid
    process = begin(shell, "plain", "--start-timeout", "3")
    heard(process, "once process")
    if seen:
        # The run has asked since: it knows that the old process has ended.
        until(lambda: "ended" in "".join(read_or_empty(one / "state") for one in relays_of(lab.directory)))
        time.sleep(0.5)
    until(lambda: not bouncer.running)
    main = sshd.pid
    assert main is not None
    sshd.kill()
    try:
        cut_sessions(main)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        sshd.start()
    assert process.returncode == 4, (out, err)
    assert "pooldeck process" in out
    until(lambda: came_back(bouncer, old))
    clean(relays_of(lab.directory))


@pytest.mark.during("restart: console killed")
def test_the_console_is_killed_while_another_process_takes_over(shell: LabShell, lab: Lab) -> None:
    bouncer = lab.bouncers[NAME]
    slow_start(shell)
    old = bouncer.pid
    with bouncer.connect(host=str(bouncer.socket_dir)) as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        process = begin(shell, "takeover")
        heard(process, " -R")
        until(lambda: relays_of(lab.directory) != [])
        process.kill()
        process.wait(LIMIT_S)
        until(lambda: came_back(bouncer, old))
        assert client.execute("SELECT 42").fetchone() == (42,)
        client.execute("COMMIT")
    until(lambda: (relays_of(lab.directory)[0] / "state").read_text().endswith("started\n"))
    clean(relays_of(lab.directory))
    until_running(bouncer)


def test_what_a_killed_console_began_is_told_until_somebody_looked(shell: LabShell, lab: Lab) -> None:
    """The journal has its intent and no outcome."""
    bouncer = lab.bouncers[NAME]
    slow_start(shell)
    old = bouncer.pid
    process = begin(shell, "plain")
    heard(process, "once process")
    until(lambda: not bouncer.running)
    process.kill()
    process.wait(LIMIT_S)
    left = f"restart {NAME} of "
    told = " ".join(shell("leases").stderr.split())
    assert left in told
    assert f"left no end on record; next: pooldeck process {NAME}; then pooldeck mend {NAME}" in told
    until(lambda: came_back(bouncer, old))
    mended = shell("mend", NAME, "--yes", "-v")
    assert mended.returncode == 0, mended.stderr
    assert left not in shell("leases").stderr
    assert [one["outcome"] for one in shell.outcomes() if one["op"] == "restart"] == ["unknown"]
    clean(relays_of(lab.directory))
