"""What ends a command before its time: Ctrl-C, SIGTERM, a closed terminal, and output that is stuck."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import LIMIT_S, Shell, Terminal, open_transaction, until


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Shell]:
    with Shell({"edge": make_pgbouncer()}, tmp_path) as made:
        yield made


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_a_pending_pause_undoes_it(shell: Shell, number: int) -> None:
    with open_transaction(shell.server):
        process = shell.start("pause", "edge", "--yes", "--timeout", "15")
        until(shell.paused)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130, err
        assert "interrupted; it reads as running again" in out
        assert not shell.paused()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_pause_that_is_held(shell: Shell, number: int) -> None:
    process = shell.start("pause", "edge", "--yes", "--for", "40s")
    assert process.stderr is not None
    told = ""
    while "holding" not in told:
        told = process.stderr.readline()
        assert told, "it ended before it held"
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "it reads as running again" in out
    assert ("Ctrl-C again" in err) is (number == signal.SIGINT), "a hangup leaves no time for another"
    assert not shell.paused()


def test_a_closed_terminal_ends_the_pause_it_holds(shell: Shell) -> None:
    with Terminal() as terminal:
        process = terminal.start(shell, "pause", "edge", "--yes", "--for", "40s")
        terminal.read_until("test: holding 1 target")
        assert shell.paused()
        terminal.close()
        assert process.wait(LIMIT_S) == 130
    assert not shell.paused()
    (outcome,) = shell.records("outcome")
    assert (outcome["interrupted"], outcome["after"]) == (True, "running")


def test_the_countdown_is_one_line_of_the_terminal(shell: Shell) -> None:
    with Terminal() as terminal:
        process = terminal.start(shell, "pause", "edge", "--yes", "--for", "2s")
        seen = terminal.read_to_end(process)
    assert process.returncode == 0, seen
    (countdown,) = [line for line in seen.split("\r\n") if "holding" in line]
    assert countdown.count("holding 1 target") >= 2
    assert countdown.rstrip("\r").endswith("→ SET server_login_retry = 0"), "the next line takes its place"


def test_output_that_nobody_reads_does_not_keep_a_pause_standing(shell: Shell) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    process = shell.start("pause", "edge", "--for", "1s", "--yes", "--json", stdout=writer)
    os.close(writer)
    try:
        until(lambda: bool(shell.records("outcome")))
        assert not shell.paused()
        assert process.poll() is None, "the receipt waits for its reader"

        def ended() -> bool:
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        until(ended)
        assert process.returncode == 0, "it was held and ended as wanted, whoever has read of it"
    finally:
        os.close(reader)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_the_question_says_that_nothing_was_sent(shell: Shell, number: int) -> None:
    with Terminal() as terminal:
        process = terminal.start(shell, "pause", "edge")
        terminal.read_until("type edge: ")
        process.send_signal(number)
        seen = terminal.read_to_end(process)
    assert process.returncode == 130
    assert "stopped; nothing was sent\r\npooldeck: interrupted\r\n" in seen
    assert shell.records("intent") == []


def test_the_first_ctrl_c_lets_the_step_end_and_the_second_does_not(shell: Shell) -> None:
    with open_transaction(shell.server):
        process = shell.start("reconnect", "edge", "--yes", "--timeout", "60s")
        assert process.stderr is not None
        _read_until(process.stderr, "not released yet")
        process.send_signal(signal.SIGINT)
        _read_until(
            process.stderr, "stopping after the step under way, undoing what can be undone; Ctrl-C again: now"
        )
        _read_until(process.stderr, "not released yet")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "stopping now; what can be undone is undone" in err
    assert "interrupted" in out
    (outcome,) = shell.records("outcome")
    assert outcome["interrupted"]


def _read_until(stream: IO[str], words: str) -> None:
    while True:
        line = stream.readline()
        assert line, f"it ended without {words!r}"
        if words in line:
            return
