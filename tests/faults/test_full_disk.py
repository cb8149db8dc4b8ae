"""A disk with no room left: clients can be let go all the same, and what was done is on record."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.secrets import ADMIN
from tests.faults.fault_kit import FaultShell, held_still, running
from tests.harness.disks import fill, small_disk
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import LIMIT_S


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[FaultShell]:
    """Its state folder is a disk of its own."""
    with (
        FaultShell({"edge": make_pgbouncer("1.26")}, tmp_path) as made,
        small_disk(tmp_path / "disk") as disk,
    ):
        made.state = disk
        made.environ["XDG_STATE_HOME"] = str(disk)
        yield made


@pytest.mark.fault("journal's disk full")
def test_a_way_out_is_open_on_a_disk_that_filled_up_since_the_last_run(shell: FaultShell) -> None:
    assert shell("enable", "edge/app", "--yes").returncode == 0
    fill(shell.state)
    for words in (("resume", "edge"), ("mend",), ("resume", "edge"), ("mend",)):
        shell.tell("edge", "PAUSE")
        ended = shell(*words, "--yes")
        assert ended.returncode == 0, ended.stdout
        assert running(shell.server)
    shell.tell("edge", "DISABLE tiny")
    enabled = shell("enable", "edge/tiny", "--yes")
    assert enabled.returncode == 0, enabled.stdout
    refused = shell("pause", "edge", "--yes", "--for", "1s")
    assert refused.returncode == 1
    assert "nothing was sent" in refused.stderr
    shell.assert_settled()
    assert [one["outcome"] for one in shell.outcomes()] == ["no change", *["ok"] * 5]


@pytest.mark.fault("journal's disk full")
def test_a_pause_left_behind_is_mended_on_a_disk_that_filled_up_meanwhile(shell: FaultShell) -> None:
    process = shell.hold()
    guardian = shell.guardian()
    with held_still(guardian):
        process.kill()
        process.wait(LIMIT_S)
        os.kill(guardian, signal.SIGKILL)
    filler = fill(shell.state)
    mended = shell("mend", "--yes")
    assert mended.returncode == 0, mended.stdout
    assert running(shell.server)
    filler.unlink()
    assert shell("mend").returncode == 0
    shell.assert_settled()


def test_without_any_room_it_is_refused_with_the_ways_that_are_left(
    shell: FaultShell, tmp_path: Path
) -> None:
    fill(shell.state)
    shell.tell("edge", 'PAUSE "app"')
    refused = shell("resume", "edge/app", "--yes")
    assert refused.returncode == 1
    assert "No space left on device; nothing was sent" in refused.stdout
    assert not running(shell.server, "app")

    command = told(refused, "or without a record: ")
    password = {"PGPASSWORD": shell.server.secrets.password(ADMIN)}
    subprocess.run(
        shlex.split(command),
        env={**shell.environ, **password},
        timeout=LIMIT_S,
        check=True,
        capture_output=True,
    )
    assert running(shell.server, "app")

    shell.tell("edge", 'PAUSE "app"')
    setting, *words = shlex.split(told(refused, "with room: "))
    assert (setting, words) == ("XDG_STATE_HOME=/dev/shm", ["pooldeck", "resume", "edge/app"])
    shell.environ["XDG_STATE_HOME"] = str(tmp_path / "elsewhere")
    shell.state = tmp_path / "elsewhere"
    assert shell(*words[1:], "--yes").returncode == 0
    assert running(shell.server, "app")
    shell.assert_settled()


def told(ended: subprocess.CompletedProcess[str], before: str) -> str:
    """Return what stands behind some words, to the end of their line."""
    (line,) = [line for line in ended.stdout.splitlines() if before in line]
    return line.partition(before)[2]
