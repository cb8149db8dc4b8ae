"""What a user reads when something goes wrong, and what a shell sees."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console import errors
from console.cli import diagnostics
from console.cli.diagnostics import ExitCode


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SelectorError("nothing matches 'x'"), ExitCode.USAGE),
        (errors.RefusedError("read-only"), ExitCode.REFUSED),
        (errors.LostConnection(errors.Phase.PROTOCOL, "cut"), ExitCode.UNKNOWN),
        (errors.NodeError(errors.Phase.SSH, "refused"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (RuntimeError("bug"), ExitCode.FAILED),
    ],
)
def test_each_kind_of_end_has_its_exit_code(error: BaseException, code: ExitCode) -> None:
    assert diagnostics.exit_code_of(error) is code


def test_an_error_tells_place_phase_and_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.end(
        errors.NodeError(errors.Phase.AUTH, "password refused", where="edge-1a", hint="check ~/.pgpass")
    )
    assert capsys.readouterr().err.splitlines() == [
        "pooldeck: edge-1a: password refused [phase: auth]",
        "  next: check ~/.pgpass",
    ]


def test_a_bug_shows_no_traceback_and_keeps_one_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.end(ZeroDivisionError("seven"))
    told = capsys.readouterr().err
    assert "Traceback" not in told
    report = Path(told.splitlines()[0].rsplit(" ", 1)[1])
    assert "ZeroDivisionError: seven" in report.read_text(encoding="utf-8")
    assert report.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_lets_the_undo_finish(number: signal.Signals) -> None:
    undone: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0)
            undone.append("resumed")

    with pytest.raises(KeyboardInterrupt):
        diagnostics.run_async(work())
    assert undone == ["resumed"]


def test_who_has_taken_the_signals_gets_every_one_and_nothing_is_cancelled() -> None:
    met: list[signal.Signals] = []

    async def work() -> str:
        both = asyncio.Event()

        def handler(number: signal.Signals) -> None:
            met.append(number)
            if len(met) == 2:
                both.set()

        diagnostics.divert_signals(handler)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            await both.wait()
        return "undone"

    assert diagnostics.run_async(work()) == "undone"
    assert met == [signal.SIGINT, signal.SIGHUP]

    async def next_one() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        diagnostics.run_async(next_one())
    assert len(met) == 2, "the next run has its signals for itself"


def test_a_signal_while_python_ends_does_not_take_the_exit_code_away() -> None:
    program = (
        "import os, signal, sys\n"
        "from console.cli.diagnostics import run_async\n"
        "class Last:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid()):\n"
        "        kill(pid, 15)\n"
        "sys.last_of_all = Last()\n"
        "async def work(): return 4\n"
        "sys.exit(run_async(work()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=20.0, check=False)
    assert ended.returncode == 4


def test_a_signal_after_the_end_does_not_take_the_exit_code_away() -> None:
    async def work() -> str:
        return "done"

    assert diagnostics.run_async(work()) == "done"
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
