"""A keeper's folder on the pooler's host, and what a console asks there: a part of the keeper's program.

It runs on the host, under any Python from 3.6 on, with the standard library alone (see `keeper_wire`). It
keeps files; it knows nothing of poolers. In `pooldeck-keeper-UID/KEY/`, 0700 and ours alone:

* `control`: lines for the keeper, put there whole by a rename: `held [BYTES]`, `renew SECONDS`, `release`;
* `state`: what the keeper is doing, as JSON, while it lives; `result`: how it ended, as JSON.

A keeper holds a lock on its folder, so that whether it lives is no guess from a process number.
"""
# What ruff would have instead is newer than 3.6:
# ruff: noqa: UP006, UP035, UP045

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from console.operations.lease.keeper_wire import clock

CONTROL, STATE, RESULT = "control", "state", "result"
FALLBACK = "/tmp"
WAIT_POLL_S = 0.05
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*\Z")


class HostTrouble(Exception):
    """The host cannot hold a keeper; the text says why."""


class Folder:
    """A living keeper's folder. The lock lasts as long as the process, across forks."""

    def __init__(self, path: str, key: str, lock: int) -> None:
        self.path = path
        self.key = key
        self.lock = lock

    @classmethod
    def make(cls, key: str, parents: Optional[List[str]] = None) -> "Folder":
        """Make and lock the folder of `key`; what a dead keeper of that key left in it is removed.

        Raises:
            HostTrouble: there is no place for it, or a living keeper has it.
        """
        if not _KEY.match(key):
            raise HostTrouble(f"not a keeper's name: {key!r}")
        reasons = []
        for parent in roots() if parents is None else parents:
            try:
                return cls._make_in(parent, key)
            except OSError as error:
                reasons.append(f"{parent}: {error.strerror or error}")
        raise HostTrouble("no folder for a keeper ({})".format("; ".join(reasons)))

    @classmethod
    def _make_in(cls, parent: str, key: str) -> "Folder":
        path = os.path.join(parent, key)
        for each in (parent, path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(each, 0o700)
            if not _is_ours(each):
                raise OSError(errno.EPERM, "not a folder that is ours alone")
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise HostTrouble("a keeper of this lease and bouncer is there already") from None
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        return cls(path, key, lock)

    def take_control(self) -> List[str]:
        """Return the lines that came since, and none twice."""
        taken = os.path.join(self.path, "control.taken")
        try:
            # Moved before it is read: a line put there meanwhile is then a file of its own.
            os.rename(os.path.join(self.path, CONTROL), taken)
        except FileNotFoundError:
            return []
        with open(taken, encoding="utf-8") as file:
            lines = file.read().splitlines()
        os.unlink(taken)
        return lines

    @property
    def lost(self) -> bool:
        """Whether the folder is gone: the next `write` makes another."""
        return not os.path.isdir(self.path)

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace a file as a whole. Without a folder or room there is nobody to tell: that stops nothing."""
        try:
            _write(self.path, name, json.dumps(values))
        except FileNotFoundError:
            # systemd takes XDG_RUNTIME_DIR away when its user's last session ends, as that of a lost
            # connection does; a keeper is there for exactly that moment.
            with contextlib.suppress(OSError, HostTrouble):
                moved = self.make(self.key, [_root(FALLBACK)])
                os.close(self.lock)
                self.path, self.lock = moved.path, moved.lock
                _write(self.path, name, json.dumps(values))
        except OSError:
            return

    def finish(self, result: Mapping[str, Any]) -> None:
        """Leave the result alone in the folder."""
        self.write(RESULT, result)
        for name in (CONTROL, STATE):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.path, name))

    def remove(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.path, ignore_errors=True)


def roots() -> List[str]:
    """Return the folders that may hold keepers' folders, the best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    found = [FALLBACK]
    if os.path.isabs(runtime) and _is_ours(runtime):
        found.insert(0, runtime)
    return [_root(parent) for parent in found]


def _root(parent: str) -> str:
    return os.path.join(parent, f"pooldeck-keeper-{os.geteuid()}")


def _is_ours(path: str) -> bool:
    """Say whether it is a folder, no link to one, that nobody else can read or write."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _write(path: str, name: str, text: str) -> None:
    fresh = os.path.join(path, f"{name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(fresh, os.path.join(path, name))


def _paths(key: Optional[str] = None) -> Iterator[str]:
    """Yield the folders of keepers of ours: that of `key`, or all."""
    for parent in roots():
        if not _is_ours(parent):
            continue
        for name in sorted(os.listdir(parent)):
            path = os.path.join(parent, name)
            if key in (None, name) and _is_ours(path):
                yield path


def _lives(path: str) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _read(path: str, name: str) -> Optional[Dict[str, Any]]:
    try:
        with open(os.path.join(path, name), encoding="utf-8") as file:
            found: Dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return None


def _report(path: str) -> Dict[str, Any]:
    alive = _lives(path)
    state = _read(path, STATE)
    ends_s = (state or {}).get("ends_s")
    return {
        "key": os.path.basename(path),
        "folder": path,
        "alive": alive,
        "state": state,
        "remaining_s": max(0.0, ends_s - clock()) if alive and ends_s is not None else None,
        "result": _read(path, RESULT),
    }


def _one_report(key: str) -> Optional[Dict[str, Any]]:
    found = [_report(path) for path in _paths(key)]
    found.sort(key=lambda report: (report["alive"], report["result"] is not None))
    return found[-1] if found else None


def collect() -> Dict[str, Any]:
    """Tell of every keeper of ours, alive or ended."""
    return {"reports": [_report(path) for path in _paths()]}


def status(key: str) -> Dict[str, Any]:
    """Tell of one keeper."""
    return {"report": _one_report(key)}


def tell(key: str, lines: List[str], wait_s: float) -> Dict[str, Any]:
    """Put lines where the keeper reads them, and wait until it is gone for up to `wait_s`.

    `told` is False when there is no living keeper.
    """
    living = [path for path in _paths(key) if _lives(path)]
    for path in living:
        with contextlib.suppress(OSError):  # it ended meanwhile: the report says so
            _write(path, CONTROL, "".join(line + "\n" for line in lines))
    end = clock() + wait_s
    while living and clock() < end and any(_lives(path) for path in _paths(key)):
        time.sleep(WAIT_POLL_S)
    return {"told": bool(living), "report": _one_report(key)}


def discard(keys: List[str]) -> Dict[str, Any]:
    """Remove what keepers of these keys left, if they are over."""
    for key in keys:
        for path in _paths(key):
            if not _lives(path):
                shutil.rmtree(path, ignore_errors=True)
    return {"discarded": True}


def several(tasks: List[Mapping[str, Any]], answer: Callable[[Mapping[str, Any]], Any]) -> Dict[str, Any]:
    """Carry out several tasks side by side, each in a process of its own, and tell what each answers."""
    readers = [_begun(task, answer) for task in tasks]
    answers = []
    for reader in readers:
        with open(reader, encoding="utf-8") as file:
            said = file.read()
        answers.append(json.loads(said) if said else {"error": "it ended without an answer", "phase": "ssh"})
    return {"answers": answers}


def _begun(task: Mapping[str, Any], answer: Callable[[Mapping[str, Any]], Any]) -> int:
    """Begin a task; return where its answer can be read."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    try:
        os.close(reader)
        try:
            said = answer(task)
        except Exception as error:
            said = {"error": repr(error), "phase": "ssh"}
        with open(writer, "w", encoding="utf-8") as file:
            file.write(json.dumps(said))
    finally:
        os._exit(0)
