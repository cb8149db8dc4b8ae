"""`pooldeck pause|resume|reload` as a shell sees them: exit codes, questions, JSON, signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import is_paused

LIMIT_S = 20.0


class Shell:
    """Runs `pooldeck` with an inventory of one bouncer, `edge`."""

    def __init__(self, server: PgBouncerServer, folder: Path, environment: str = "development") -> None:
        self.server = server
        self.fleet = folder / "fleet.toml"
        self.fleet.write_text(
            f"""
fleet = "test"
environment = "{environment}"
[[bouncers]]
name = "edge"
tcp = "{server.host}:{server.port}"
sslmode = "disable"
admin_user = "{ADMIN}"
monitor_user = "{MONITOR}"
admin_password_from = "env:ADMIN_WORD"
monitor_password_from = "env:MONITOR_WORD"
"""
        )
        self.environ = {
            **os.environ,
            "ADMIN_WORD": server.secrets.password(ADMIN),
            "MONITOR_WORD": server.secrets.password(MONITOR),
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "console.cli.main", "--fleet", str(self.fleet), *words]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def run_in_shell(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run with redirections: `"$@"` is the command."""
        return subprocess.run(
            ["sh", "-c", script, "sh", *self.argv(*words)],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def start(self, *words: str, stdin: int = subprocess.DEVNULL, stderr: int = subprocess.PIPE) -> Any:
        return subprocess.Popen(
            self.argv(*words), env=self.environ, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True
        )

    def paused(self) -> bool:
        with self.server.admin() as console:
            return is_paused(console)


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Shell:
    return Shell(make_pgbouncer(), tmp_path)


def test_pause_then_resume_by_yes(shell: Shell) -> None:
    paused = shell("pause", "edge", "--yes", "--json")
    assert paused.returncode == 0, paused.stderr
    receipt = json.loads(paused.stdout)
    assert (receipt["outcome"], receipt["after"]) == ("ok", "paused")
    assert "STAYS PAUSED until somebody runs: pooldeck resume edge" in paused.stderr
    assert "the first waiting clients are cut from" in paused.stderr
    assert shell.paused()

    again = shell("pause", "edge")
    assert again.returncode == 0, "no change needs nobody's word"
    assert "NO CHANGE" in again.stdout

    resumed = shell("resume", "edge", "--yes")
    assert resumed.returncode == 0
    assert "edge: OK" in resumed.stdout
    assert not shell.paused()
    assert shell("resume", "edge").returncode == 0


def test_plan_shows_and_sends_nothing(shell: Shell) -> None:
    text = shell("pause", "edge", "--plan")
    assert text.returncode == 0
    assert "sends      PAUSE;" in text.stdout or "sends      PAUSE" in text.stdout
    assert "undo       pooldeck resume edge" in text.stdout
    plan = json.loads(shell("pause", "edge", "--plan", "--json").stdout)
    assert plan["targets"][0]["statements"] == ["PAUSE"]
    assert plan["verdict"]["phrase"] == "edge"
    same = json.loads(shell("pause", "edge", "--plan", "--json").stdout)
    assert same["hash"] == plan["hash"], "the same world gives the same plan"
    assert not shell.paused()


def test_without_a_terminal_somebody_has_to_say_yes(shell: Shell) -> None:
    refused = shell("pause", "edge")
    assert refused.returncode == 3
    assert "pass --yes" in refused.stderr
    assert not shell.paused()


def test_production_wants_the_name_besides_yes(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    shell = Shell(make_pgbouncer(), tmp_path, environment="production")
    refused = shell("pause", "edge", "--yes")
    assert refused.returncode == 3
    assert "--yes --confirm edge" in refused.stderr
    assert shell("pause", "edge", "--yes", "--confirm", "edge-1").returncode == 3
    assert not shell.paused()
    assert shell("pause", "edge", "--yes", "--confirm", "edge").returncode == 0
    assert shell.paused()
    assert shell("resume", "edge", "--yes").returncode == 0, "ending a pause needs no name"


def test_read_only_refuses_every_verb(shell: Shell) -> None:
    shell("pause", "edge", "--yes")
    for verb in ("pause", "resume", "reload"):
        refused = subprocess.run(
            [
                sys.executable,
                "-m",
                "console.cli.main",
                "--fleet",
                str(shell.fleet),
                "--read-only",
                verb,
                "edge",
                "-y",
            ],
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert refused.returncode == 3, refused.stderr
        assert "read-only" in refused.stderr
    assert shell.paused()


def test_wrong_targets_are_usage_errors(shell: Shell) -> None:
    for selector in ("nowhere", "edge/nothing", "edge/pgbouncer"):
        wrong = shell("pause", selector, "--yes")
        assert wrong.returncode == 2, wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_a_pause_that_does_not_complete_is_exit_1(shell: Shell) -> None:
    with shell.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        failed = shell("pause", "edge", "--yes", "--timeout", "0.5")
        assert failed.returncode == 1
        assert "FAILED" in failed.stdout
        assert "reads as running again" in failed.stdout
        assert not shell.paused()


def test_a_broken_file_is_exit_1(shell: Shell) -> None:
    path = shell.server.config_path
    text = path.read_text().replace("[pgbouncer]\n", "[pgbouncer]\nno_such_setting = 1\n")
    shell.server.launcher.write_file(path, text)
    failed = shell("reload", "edge", "--yes")
    assert failed.returncode == 1
    assert "admin_users" in failed.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_a_pending_pause_undoes_it(shell: Shell, number: int) -> None:
    with shell.server.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        process = shell.start("pause", "edge", "--yes", "--timeout", "15")
        _until(shell.paused)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130, err
        assert "interrupted; it reads as running again" in out
        assert not shell.paused()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_output_hides_neither_the_outcome_nor_the_standing_pause(shell: Shell, stream: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        ended = subprocess.run(
            shell.argv("pause", "edge", "--yes"),
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=LIMIT_S,
            check=False,
            **streams,  # type: ignore[call-overload]
        )
    assert ended.returncode == 0, "the pause was reached, and the exit code says so"
    assert shell.paused()
    if stream == "stdout":
        assert "the receipt could not be written (No space left on device)" in ended.stderr
        assert "STAYS PAUSED until somebody runs: pooldeck resume edge" in ended.stderr
        assert "internal error" not in ended.stderr
    else:
        assert "edge: OK" in ended.stdout


def test_without_standard_input_nobody_is_there_to_agree(shell: Shell) -> None:
    ended = shell.run_in_shell('"$@" <&-', "pause", "edge")
    assert ended.returncode == 3, ended.stderr
    assert "nobody is here to agree" in ended.stderr
    assert not shell.paused()


def test_a_journal_that_cannot_be_written_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "pooldeck" / "journal.jsonl").mkdir(parents=True)
    shell.environ["XDG_STATE_HOME"] = str(state)
    failed = shell("pause", "edge", "--yes")
    assert failed.returncode == 1
    assert "nothing was sent" in failed.stdout
    assert "free space or mend its permissions" in failed.stdout
    assert not shell.paused()


def test_a_limit_out_of_bounds_is_told_by_its_option(shell: Shell) -> None:
    wrong = shell("pause", "edge", "--timeout", "0")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines() == ["pooldeck: pause: timeout must be greater than 0"]


def test_on_a_terminal_the_name_has_to_be_typed(shell: Shell) -> None:
    assert _typed(shell, "edgy\n") == 3
    assert not shell.paused()
    assert _typed(shell, "edge\n") == 0
    assert shell.paused()


def test_what_was_typed_before_the_question_is_no_answer(shell: Shell) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"\n")
        process = shell.start("reload", "edge", stdin=theirs, stderr=theirs)
        seen = _read_until(ours, b"anything else to stop: ")
        os.write(ours, b"no\n")
        out, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 3, seen
        assert out == ""
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_the_question_says_that_nothing_was_sent(shell: Shell, number: int) -> None:
    ours, theirs = pty.openpty()
    try:
        process = shell.start("pause", "edge", stdin=theirs, stderr=theirs)
        _read_until(ours, b"type edge: ")
        process.send_signal(number)
        _read_until(ours, b"stopped; nothing was sent\r\npooldeck: interrupted\r\n")
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130
    finally:
        os.close(ours)
        os.close(theirs)
    assert not shell.paused()


def test_an_admin_user_that_is_none_is_told_where_to_mend_it(shell: Shell) -> None:
    shell.fleet.write_text(
        shell.fleet.read_text().replace(f'admin_user = "{ADMIN}"', f'admin_user = "{MONITOR}"')
    )
    shell.environ["ADMIN_WORD"] = shell.environ["MONITOR_WORD"]
    failed = shell("pause", "edge", "--yes")
    assert failed.returncode == 1
    assert "is no admin there" in failed.stderr
    assert "next: list it in admin_users" in failed.stderr


def test_the_shell_completes_names_of_bouncers(shell: Shell) -> None:
    shell.environ |= {"_POOLDECK_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    shell.environ["COMP_WORDS"] = f"pooldeck --fleet {shell.fleet} pause e"
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'pooldeck'; from console.cli.main import main; main()",
        ],
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.stdout.split() == ["edge"], ended.stderr


def _typed(shell: Shell, answer: str) -> int:
    ours, theirs = pty.openpty()
    try:
        process = shell.start("pause", "edge", stdin=theirs, stderr=theirs)
        _read_until(ours, b"type edge: ")
        os.write(ours, answer.encode())
        process.communicate(timeout=LIMIT_S)
        return int(process.returncode)
    finally:
        os.close(ours)
        os.close(theirs)


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    end = time.monotonic() + LIMIT_S
    while words not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096)
    return seen


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
