"""Whether a process that wrote a record still lives: its id alone would not tell, since ids are used again.

Facts of this machine only, from `/proc` (Linux); elsewhere the start is not known.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_STATE = 0
_START = 19
"""Fields 3 and 22 of `/proc/PID/stat` (proc_pid_stat(5)), counted from behind the command's name."""
_ENDED = frozenset({"Z", "X", "x"})


def process_start(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None: no such process, or not known."""
    fields = _stat(pid)
    return None if fields is None else fields[_START]


def is_alive(pid: int, start: str | None) -> bool:
    """Say whether the process that had `pid` and started at `start` still runs. A zombie does not.

    Args:
        pid: its id.
        start: what `process_start` said of it; None: not known, then any process of that id counts.
    """
    fields = _stat(pid)
    if fields is None:
        return _exists(pid)
    return fields[_STATE] not in _ENDED and start in (None, fields[_START])


def boot_id() -> str | None:
    """Return what tells this boot of the machine from any other; None: not known."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name is in parentheses and may hold anything, parentheses and spaces too.
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _START else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
