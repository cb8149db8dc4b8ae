"""Files of plans: those that `--save` writes for others to read, and the copies that `--plan` keeps.

What a plan is and how two compare is `console.operations.saved`'s. A plan holds no secret; who may approve
one has to be able to read it, so a saved one is 0644; the copies are the user's own, 0600.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.cli.diagnostics import note
from console.errors import PooldeckError, UsageError

if TYPE_CHECKING:
    from console.operations.saved import SavedPlan

COPIES_KEPT = 100
LARGEST_BYTES = 64 * 1024 * 1024
HASH = re.compile(r"[0-9a-f]{12,64}")
"""What `--approve` takes for a hash; a file of such a name is written `./deadbeef0000`."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What `--approve` named, read before the plan is made anew."""

    hash: str
    """All of it, or the beginning that was typed."""
    saved: SavedPlan | None
    """None: a hash of which no copy is kept."""
    maker: str
    """Who made the plan."""


def read_approval(text: str, *, user: str) -> Approval:
    """Read what `--approve` names: a hash of the user's own, or a file.

    Raises:
        UsageError: it is neither, or the file may not be trusted to be its owner's.
    """
    if HASH.fullmatch(text):
        return Approval(text, _kept(text), user)
    path = Path(text).expanduser()
    if not path.exists() and re.fullmatch(r"[0-9a-fA-F]+", text):
        raise UsageError(
            f"{text!r} is neither a file nor a plan's hash",
            where="--approve",
            hint="give at least 12 digits of the hash, as --plan prints it",
        )
    content, owner = _read(path)
    from console.operations.saved import read_plan

    saved = read_plan(content, where=str(path))
    return Approval(saved.hash, saved, _maker(owner, saved))


def save_plan(path: Path, document: Mapping[str, Any]) -> None:
    """Write a plan whole or not at all, readable by everyone; only a plan is replaced.

    Raises:
        UsageError: something else is there, or it cannot be written.
    """
    path = path.expanduser()
    if path.is_symlink() or path.exists():
        from console.operations.saved import read_plan

        try:
            read_plan(_read(path, anybody=True)[0], where=str(path))
        except UsageError as error:
            raise UsageError(
                f"{path} is there and no plan, so it is left alone", where="--save", hint="name another file"
            ) from error
    _write(path, document, 0o644)


def keep_copy(document: Mapping[str, Any]) -> None:
    """Keep a plan in the state folder, so that its hash alone can tell what moved; a failure is only told."""
    try:
        folder = _folder()
        _write(folder / f"{document['hash']}.json", document, 0o600)
        for old in _newest_first(folder)[COPIES_KEPT:]:
            old.unlink(missing_ok=True)
    except (OSError, PooldeckError) as error:
        note(f"pooldeck: no copy of the plan is kept: {error}")


def _folder() -> Path:
    from console.config.paths import XdgPaths

    folder = XdgPaths().state / "plans"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _newest_first(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def _kept(beginning: str) -> SavedPlan | None:
    """Return the newest copy whose hash begins so; None when there is none that can be read."""
    from console.operations.saved import read_plan

    try:
        for path in _newest_first(_folder()):
            if path.name.startswith(beginning):
                return read_plan(_read(path)[0], where=str(path))
    except (OSError, UsageError):
        return None
    return None


def _read(path: Path, *, anybody: bool = False) -> tuple[str, int]:
    """Return a file's text and its owner's uid.

    Args:
        path: the file.
        anybody: it does not matter who wrote it.

    Raises:
        UsageError: it cannot be read, is no plain file, or others than its owner can write it.
    """
    try:
        # Not blocking: a FIFO must not hang a command that is about to act.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_BYTES:
                raise UsageError("it is no plan of Pooldeck's", where=str(path))
            if found.st_mode & 0o022 and not anybody:
                raise UsageError(
                    "others than its owner can write it, so it does not tell who made it",
                    where=str(path),
                    hint=f"have its owner run chmod go-w {path}",
                )
            with os.fdopen(descriptor, "rb", closefd=False) as handle:
                content = handle.read(LARGEST_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(
            f"it cannot be read: {error.strerror}", where=str(path), hint="name a file or a plan's hash"
        ) from error
    return content.decode("utf-8", "replace"), found.st_uid


def _maker(owner: int, saved: SavedPlan) -> str:
    """Return who made a file's plan: its owner; of root's own, which sudo may have written, whom it names."""
    if owner == 0 and saved.user is not None:
        return saved.user
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _write(path: Path, document: Mapping[str, Any], mode: int) -> None:
    text = json.dumps(document, ensure_ascii=True) + "\n"
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".pooldeck-plan-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            # By hand, since a umask may not keep it from those who are to approve it.
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise UsageError(f"{path} cannot be written: {error.strerror}", where="--save") from error
