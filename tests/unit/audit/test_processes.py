"""Whether the process that wrote a record is still there: ids are used again, starts are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.audit import processes
from console.audit.processes import boot_id, is_alive, process_start


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_a_process_lives_until_it_ends_and_a_zombie_does_not(sleeper: subprocess.Popen[bytes]) -> None:
    with sleeper:
        start = process_start(sleeper.pid)
        assert start is not None
        assert is_alive(sleeper.pid, start)
        assert is_alive(sleeper.pid, None)
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(sleeper.pid, start)
        assert not is_alive(sleeper.pid, None)
    assert not is_alive(sleeper.pid, start)
    assert process_start(sleeper.pid) is None


def test_another_process_of_the_same_id_is_not_it() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert is_alive(os.getpid(), start)
    assert not is_alive(os.getpid(), str(int(start) - 1))


def test_a_name_with_parentheses_and_spaces_does_not_confuse(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "60"]) as process:
        start = process_start(process.pid)
        assert start is not None
        assert start.isdigit()
        assert int(start) >= int(process_start(os.getpid()) or 0)
        process.kill()


def test_without_proc_any_process_of_that_id_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    with sleeper:
        assert process_start(sleeper.pid) is None
        assert boot_id() is None
        assert is_alive(sleeper.pid, "1")
        sleeper.kill()
        sleeper.wait(timeout=30)
        assert not is_alive(sleeper.pid, "1")
