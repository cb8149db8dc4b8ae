"""The one owner of standard error and of exit codes. Standard output belongs to data.

No traceback reaches a user: what we raise on purpose is told in a line or two, and what we did not
foresee goes, traceback and all, into a file of the state folder, whose name is told.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeVar

from console import errors

T = TypeVar("T")
_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LATE_SIGNALS = 3
"""So many signals after the end are one too many: then the process ends at once."""
_diverted: list[Callable[[signal.Signals], None]] = []
"""Who has the signals of this process instead of the task; at most one."""
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)
}


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


def printable(text: str) -> str:
    """Return `text` with its control characters shown: a name from elsewhere must not drive the terminal."""
    return text.translate(_CONTROLS)


def note(text: str) -> None:
    """Tell a line of progress or a warning on standard error.

    One that is closed, full or gone is no reason to stop: what is under way matters more than its telling.
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def on_terminal(*streams: TextIO | None) -> bool:
    """Say whether all of these are a terminal; None is a stream that was closed before we started."""
    return all(stream is not None and stream.isatty() for stream in streams)


def silence_output() -> None:
    """Let standard output lead nowhere, so that Python's last flush does not fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


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


def divert_signals(handler: Callable[[signal.Signals], None]) -> None:
    """Let `handler` have every further signal of this `run_async`, called in its loop; none cancels any more.

    For work that knows better than to be cancelled: it has begun what it must undo.
    """
    _diverted[:] = [handler]


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end; the first SIGINT, SIGTERM or SIGHUP cancels it so that it can undo.

    Further signals change nothing, unless `divert_signals` was called: an undo is never cut short by an
    impatient hand. Nor does one that comes after the end: the handlers stay, so that the exit code tells what
    was done; only many of them end a process that does not end by itself.

    Raises:
        KeyboardInterrupt: it was cancelled by a signal.
    """
    interrupted = False
    late = 0
    _diverted.clear()

    async def guarded() -> T:
        nonlocal interrupted
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            nonlocal interrupted
            if _diverted:
                _diverted[-1](signal.Signals(number))
            elif not interrupted and task is not None:
                interrupted = True
                task.cancel()

        def on_signal(number: int, _frame: FrameType | None) -> None:
            nonlocal late
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop, number)
                return
            late += 1
            if late >= _LATE_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        # Not the loop's own handlers: closing the loop would take those away before the process ends.
        for number in _STOPPING:
            signal.signal(number, on_signal)
        return await coroutine

    # Python takes its handlers away before it has ended; by then threads are joined, so nothing can hang.
    atexit.register(_ignore_signals)
    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


def _ignore_signals() -> None:
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def end(error: BaseException) -> ExitCode:
    """Tell an error that reached the top and return the exit code."""
    if isinstance(error, errors.PooldeckError):
        note(explain(error))
    elif isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        note("pooldeck: interrupted")
    elif isinstance(error, BrokenPipeError):
        # Whoever read our output went away (`| head`): leave as quietly as other tools do.
        silence_output()
    elif isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
        silence_output()
        note(f"pooldeck: {error.filename or 'the output'} cannot be written: {error.strerror}")
        note("  next: free space, or write elsewhere")
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
