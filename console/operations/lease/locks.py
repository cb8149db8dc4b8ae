"""One console at a time on a bouncer: advisory locks between the processes of one account on one machine.

A lock is a flock(2) on a file in the state folder: the kernel gives it back however its process ends. The
file says who has it, for people; it stays there, since removing it would let two processes hold "the" lock.
Consoles of other accounts and machines have other state folders: what those do is seen on the pooler itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from console.audit.actor import Actor
from console.errors import JournalError, RefusedError

BUSY_HINT = "wait until it is over; pooldeck leases shows what is held, and until when"
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on a bouncer."""

    user: str
    host: str
    pid: int
    title: str
    """For people, e.g. `PAUSE edge-1a`."""
    run_id: str
    since_s: float
    """Wall clock, seconds since the epoch."""

    @classmethod
    def of(cls, actor: Actor, title: str, run_id: str, now_s: float) -> Holder:
        """Return this process as a holder."""
        return cls(actor.sudo_user or actor.user, actor.host, actor.pid, title, run_id, now_s)

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since_s, UTC)
        return f"{self.title} of {self.user} (process {self.pid} on {self.host}, since {since:%H:%M:%S} UTC)"


class HeldLocks:
    """Locks that are held; `release` gives them back, and so does the end of the process."""

    def __init__(self, handles: list[int]) -> None:
        self._handles = handles

    def release(self) -> None:
        """Give them back; safe to call twice."""
        while self._handles:
            handle = self._handles.pop()
            os.ftruncate(handle, 0)
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class BouncerLocks:
    """The locks of one fleet's bouncers."""

    def __init__(self, state_dir: Path, fleet: str) -> None:
        self._folder = state_dir / "locks"
        self._fleet = fleet

    def acquire(self, names: Iterable[str], who: Holder) -> HeldLocks:
        """Take the locks of these bouncers, all or none; it does not wait.

        Raises:
            RefusedError: somebody works on one of them; it says who. JournalError: the state folder cannot
            be written.
        """
        held = HeldLocks([])
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in sorted(set(names)):
                held._handles.append(self._take(name, who))
        except OSError as error:
            held.release()
            raise JournalError(
                f"the locks of bouncers cannot be kept: {error.strerror or error}; nothing was sent",
                where=str(self._folder),
                hint="free space or mend its permissions",
            ) from error
        except RefusedError:
            held.release()
            raise
        return held

    def holder(self, name: str) -> Holder | None:
        """Return who works on a bouncer; None: nobody, or it cannot be told."""
        try:
            handle = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(handle)
        finally:
            os.close(handle)
        return None

    def _path(self, name: str) -> Path:
        # Quoted: no name leads out of the folder. `-` is in names too, so it cannot part them.
        return self._folder / f"{quote(self._fleet, safe='')}@{quote(name, safe='')}.lock"

    def _take(self, name: str, who: Holder) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self._path(name), flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(asdict(who)).encode("utf-8", "backslashreplace"), 0)
        except BlockingIOError:
            holder = _read(handle)
            os.close(handle)
            raise RefusedError(
                f"{holder or 'another console'} is still running on {name}",
                where="operations.busy",
                hint=BUSY_HINT,
            ) from None
        except BaseException:
            os.close(handle)
            raise
        return handle


def _read(handle: int) -> Holder | None:
    try:
        values: Any = json.loads(os.pread(handle, _MAX_BYTES, 0))
        return Holder(**values)
    except (OSError, ValueError, TypeError):
        return None
