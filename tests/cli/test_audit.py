"""`pooldeck audit`: whole or not and what to do, and a log that can be read on 80 columns."""

from __future__ import annotations

import json
import os
import pty
import struct
import subprocess
import sys
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.audit.lines import line_hash
from console.cli.main import main
from console.clock import FixedClock, SystemClock

LIMIT_S = 30.0
ANN = Actor(user="ann", uid=1, host="bastion", pid=7, sudo_user=None, ssh_client="192.168.100.200 5 22")
BEA = replace(ANN, user="root", sudo_user="bea", ssh_client=None)


def pooldeck(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console.cli.main", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def on_terminal(columns: int, *words: str) -> list[str]:
    """Return the lines that a terminal of that width is sent."""
    near, far = pty.openpty()
    ioctl(far, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "console.cli.main", *words]
    # Spelt out: readline, which pytest loads, puts COLUMNS into the environment behind Python's back.
    with subprocess.Popen(command, stdin=far, stdout=far, env=dict(os.environ)) as process:
        os.close(far)
        told = b""
        try:
            while more := os.read(near, 65_536):
                told += more
        except OSError:
            pass  # Linux tells the end of a terminal as an error.
        finally:
            os.close(near)
        assert process.wait(timeout=LIMIT_S) == 0
    return told.decode().replace("\r\n", "\n").splitlines()


class Run:
    """Runs the command line in this process: fifteen times as fast as in one of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["pooldeck", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = self._capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Four days of a bastion, where Pooldeck itself looks for its journal."""
    path = Path(os.environ["XDG_STATE_HOME"]) / "pooldeck" / "journal.jsonl"
    clock = FixedClock(wall=1_763_718_000.0)  # 2025-11-21T09:40:00Z
    ann, bea = Journal(path, clock, ANN), Journal(path, clock, BEA)
    pause: dict[str, Any] = {"run": "5f3a01", "op": "pause", "target": "edge-1a/app", "plan": "aa"}
    ann.append(
        "intent",
        {**pause, "statements": ['PAUSE "app"'], "before": "running", "clients": 12, "answer": "name typed"},
    )
    clock.advance(3)
    ann.append(
        "outcome", {**pause, "outcome": "ok", "detail": "paused and drained, read back", "duration_s": 2.61}
    )
    clock.advance(86_400)
    reload: dict[str, Any] = {"run": "77c0de", "op": "reload", "target": "core-1"}
    detail = "what the plan rests on has changed, so nothing was sent: databases.app.force_user is now x"
    bea.append("refused", {**reload, "detail": detail})
    clock.advance(86_400)
    bea.append("lease", {"run": "77c0de", "lease": "L1", "hold_s": 30})
    return path


def tampered(journal: Path, old: bytes, new: bytes) -> None:
    content = journal.read_bytes()
    assert old in content
    journal.write_bytes(content.replace(old, new, 1))


class TestVerify:
    def test_a_whole_journal(self, journal: Path) -> None:
        done = pooldeck("audit", "verify")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "whole: 4 records, 2025-11-21T09:40:00.000+00:00 to 2025-11-23T09:40:03.000+00:00",
            f"file: {journal}",
            f"last hash: {line_hash(journal.read_bytes().splitlines()[-1])}",
        ]

    def test_each_flaw_says_where_what_and_what_to_do(self, journal: Path) -> None:
        tampered(journal, b'"clients":12', b'"clients":2')
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:-1]))
        done = pooldeck("audit", "verify")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.splitlines() == [
            "not whole: 2 flaws, 3 records",
            f"file: {journal}",
            "",
            "line 1: changed: it is not what was written",
            "  the record on it: 2025-11-21T09:40:00.000+00:00, run 5f3a01",
            "  next: keep this file as it is, and compare that line with a backup",
            "",
            "line 4: end removed: 1 record is missing at the end",
            "  so nothing vouches for line 3 any longer: it may have been changed as well",
            "  next: keep this file as it is, and fetch the missing records from a backup of its folder",
        ]

    def test_as_json(self, journal: Path) -> None:
        whole = json.loads(pooldeck("audit", "verify", "--json").stdout)
        assert (whole["whole"], whole["records"], whole["flaws"]) == (True, 4, [])
        assert whole["size_bytes"] == journal.stat().st_size
        tampered(journal, b'"clients":12', b'"clients":2')
        done = pooldeck("audit", "verify", "--json")
        assert done.returncode == 1
        (flaw,) = json.loads(done.stdout)["flaws"]
        assert (flaw["line"], flaw["kind"], flaw["run"], flaw["missing"]) == (1, "changed", "5f3a01", 0)

    def test_a_copy_by_its_name(self, journal: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.jsonl"
        copy.write_bytes(journal.read_bytes())
        done = pooldeck("audit", "verify", "--file", str(copy))
        assert done.returncode == 1
        assert "the file: head missing: the head file is missing" in done.stdout
        copy.with_suffix(".head").write_bytes(journal.with_suffix(".head").read_bytes())
        assert pooldeck("audit", "verify", "--file", str(copy)).returncode == 0

    def test_no_journal_is_not_a_whole_one(self) -> None:
        done = pooldeck("audit", "verify")
        assert (done.returncode, done.stdout) == (1, "")
        assert "the journal cannot be read: No such file or directory" in done.stderr

    def test_it_changes_nothing(self, journal: Path) -> None:
        def state() -> dict[str, tuple[bytes, int]]:
            return {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in journal.parent.iterdir()}

        before = state()
        for words in (("audit", "verify"), ("--read-only", "audit", "verify"), ("audit", "log")):
            assert pooldeck(*words).returncode == 0
        assert state() == before


class TestLog:
    @pytest.mark.usefixtures("journal")
    def test_a_pipe_gets_one_line_for_each_record(self) -> None:
        done = pooldeck("audit", "log")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "TIME (UTC)           WHO                  OP      TARGET       OUTCOME  DETAIL",
            "2025-11-21 09:40:00  ann 192.168.100.200  pause   edge-1a/app  intent   "
            'PAUSE "app", was running, 12 clients, name typed',
            "2025-11-21 09:40:03  ann 192.168.100.200  pause   edge-1a/app  ok       "
            "paused and drained, read back (2.6 s)",
            "2025-11-22 09:40:03  root (bea)           reload  core-1       refused  "
            "what the plan rests on has changed, so nothing was sent: databases.app.force_user is now x",
            "2025-11-23 09:40:03  root (bea)           -       -            lease    hold_s 30, lease L1",
        ]

    @pytest.mark.usefixtures("journal")
    def test_a_terminal_of_80_columns_gets_the_detail_below(self) -> None:
        assert on_terminal(80, "audit", "log", "--target", "core-1", "--op", "reload") == [
            "TIME (UTC)           OP      TARGET  OUTCOME",
            "    WHO: DETAIL",
            "2025-11-22 09:40:03  reload  core-1  refused",
            "    root (bea): what the plan rests on has changed, so nothing was sent:",
            "    databases.app.force_user is now x",
        ]

    @pytest.mark.usefixtures("journal")
    def test_a_wide_terminal_gets_it_beside_and_wrapped(self) -> None:
        lines = on_terminal(120, "audit", "log", "--op", "reload")
        assert lines == [
            "TIME (UTC)           WHO         OP      TARGET  OUTCOME  DETAIL",
            "2025-11-22 09:40:03  root (bea)  reload  core-1  refused  "
            "what the plan rests on has changed, so nothing was sent:",
            f"{'':58}databases.app.force_user is now x",
        ]

    @pytest.mark.parametrize("columns", [20, 80, 100, 132])
    @pytest.mark.usefixtures("journal")
    def test_no_line_is_wider_than_the_terminal(self, columns: int) -> None:
        lines = on_terminal(columns, "audit", "log")
        table = [line for line in lines if columns >= 80 or line.startswith("    ")]
        assert table
        assert max(map(len, table)) <= columns

    @pytest.mark.parametrize(
        ("options", "seen"),
        [
            (("--since", "2025-11-22"), [3, 4]),
            (("--since", "2025-11-21T09:40:01Z", "--until", "2025-11-23"), [2, 3]),
            (("--until", "2025-11-21T10:40:03+01:00"), [1]),
            (("--since", "1s"), []),
            (("--target", "edge-*"), [1, 2]),
            (("--target", "edge-1a/app", "--target", "core-1"), [1, 2, 3]),
            (("--op", "reload"), [3]),
            (("--run", "77"), [3, 4]),
            (("--outcome", "ok", "--outcome", "lease"), [2, 4]),
            (("-n", "2"), [3, 4]),
            (("--op", "pause", "-n", "1"), [2]),
        ],
    )
    @pytest.mark.usefixtures("journal")
    def test_filters(self, run: Run, options: tuple[str, ...], seen: list[int]) -> None:
        code, out, _ = run("audit", "log", "--json", *options)
        assert code == 0
        assert [json.loads(line)["seq"] for line in out.splitlines()] == seen

    def test_how_long_ago(self, journal: Path) -> None:
        Journal(journal, SystemClock(), ANN).append("intent", {"op": "now"})
        done = pooldeck("audit", "log", "--json", "--since", "2h")
        assert [json.loads(line)["op"] for line in done.stdout.splitlines()] == ["now"]
        assert pooldeck("audit", "log", "--json", "--until", "2h", "--op", "now").stdout == ""

    def test_json_lines_are_the_records_as_they_stand(self, journal: Path) -> None:
        assert pooldeck("audit", "log", "--json").stdout.encode() == journal.read_bytes()

    @pytest.mark.parametrize("text", ["yesterday", "2", "2 h", "2026-13-01", ""])
    @pytest.mark.usefixtures("journal")
    def test_a_time_that_is_none_says_how_to_write_one(self, run: Run, text: str) -> None:
        code, _, err = run("audit", "log", "--since", text)
        assert code == 2
        assert "is no time" in err
        assert "2026-11-21T09:40:00Z" in err

    def test_a_spoilt_line_is_shown_whatever_is_asked_for(self, journal: Path) -> None:
        with journal.open("ab") as handle:
            handle.write(b'{"kind":"out\x1b[31m\xff')
        done = pooldeck("audit", "log", "--target", "core-1")
        assert done.stdout.splitlines()[-1].split(maxsplit=5)[5] == (
            r'it is no record: it was cut or overwritten: {"kind":"out\x1b[31m\xff'
        )
        told = json.loads(pooldeck("audit", "log", "--target", "core-1", "--json").stdout.splitlines()[-1])
        assert told["line"] == 5

    def test_nothing_in_a_record_can_drive_the_terminal(self, journal: Path) -> None:
        name = "app\x1b]0;x\x07\x9b2J\u2028\n" + os.fsdecode(b"\xe9")
        Journal(journal, FixedClock(), ANN).append("lease-end", {"target": name, "text": name})
        for options in ((), ("--json",)):
            done = pooldeck("audit", "log", "-n", "1", *options)
            assert done.returncode == 0
            assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)
        assert json.loads(done.stdout)["target"] == name

    def test_nothing_to_show_is_told_and_no_failure(self, journal: Path) -> None:
        done = pooldeck("audit", "log", "--op", "kill")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "pooldeck: nothing fits\n")
        for path in journal.parent.iterdir():
            path.unlink()
        done = pooldeck("audit", "log")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"pooldeck: no journal yet: nothing was recorded in {journal}\n"
        assert pooldeck("audit", "log", "--file", str(journal)).returncode == 1


def test_audit_alone_shows_what_there_is() -> None:
    done = pooldeck("audit")
    assert "verify" in done.stdout + done.stderr
    assert "log" in done.stdout + done.stderr


def test_it_needs_no_inventory(journal: Path, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-fleet.toml")
    assert pooldeck("--fleet", nowhere, "audit", "verify").returncode == 0
    assert pooldeck("--fleet", nowhere, "--read-only", "audit", "log").returncode == 0
