"""The one owner of standard error and of exit codes. Standard output belongs to data.

No traceback reaches a user: what we raise on purpose is told in a line or two, and what we did not
foresee goes, traceback and all, into a file of the state folder, whose name is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from console import errors

T = TypeVar("T")


class ExitCode(IntEnum):
    """What a shell sees (design.md 4)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNKNOWN = 4
    INTERRUPTED = 130


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error that ends the program."""
    match error:
        case errors.UsageError():
            return ExitCode.USAGE
        case errors.RefusedError():
            return ExitCode.REFUSED
        case errors.LostConnection():
            return ExitCode.UNKNOWN
        case KeyboardInterrupt() | asyncio.CancelledError():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.FAILED


def note(text: str) -> None:
    """Tell a line of progress or a warning on standard error; a closed one is no reason to stop."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return


def explain(error: errors.PooldeckError) -> str:
    """Return what went wrong, where, and what to do next, as the lines a user reads."""
    if isinstance(error, errors.InventoryError):
        lines = [str(problem) for problem in error.problems]
        lines.append(f"pooldeck: {error.message}")
    elif isinstance(error, errors.NodeError):
        lines = [f"pooldeck: {error} [phase: {error.phase}]"]
    else:
        lines = [f"pooldeck: {error}"]
    if error.hint:
        lines.append(f"  next: {error.hint}")
    return "\n".join(lines)


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end; the first SIGINT, SIGTERM or SIGHUP cancels it so that it can undo.

    Further signals change nothing: an undo is never cut short by an impatient hand.

    Raises:
        KeyboardInterrupt: it was cancelled by a signal.
    """
    interrupted = False

    async def guarded() -> T:
        nonlocal interrupted
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            nonlocal interrupted
            if not interrupted and task is not None:
                interrupted = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        return await coroutine

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


def end(error: BaseException) -> ExitCode:
    """Tell an error that reached the top and return the exit code."""
    if isinstance(error, errors.PooldeckError):
        note(explain(error))
    elif isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        note("pooldeck: interrupted")
    elif isinstance(error, BrokenPipeError):
        # Whoever read our output went away (`| head`): leave as quietly as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    else:
        note(f"pooldeck: internal error: {type(error).__name__}; the details are in {_write_report(error)}")
        note("  next: please report it with that file; it holds no password")
    return exit_code_of(error)


def _write_report(error: BaseException) -> Path | str:
    import traceback

    from console.config.paths import XdgPaths

    try:
        folder = XdgPaths().state
        file = folder / time.strftime("crash-%Y%m%dT%H%M%S.txt", time.gmtime())
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write("".join(traceback.format_exception(error)))
    except (OSError, errors.PooldeckError) as failure:
        return f"no file ({failure})"
    return file
