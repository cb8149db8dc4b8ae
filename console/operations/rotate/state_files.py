"""One JSON file a run, 0600, replaced whole and synced: what a run that dies leaves to be read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from console.errors import JournalError

MAX_BYTES = 4 * 1024 * 1024


class StateFolder:
    """The files of one kind of run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, run_id: str) -> Path:
        """Return where a run's file is."""
        return self.folder / f"{run_id}.json"

    def write(self, run_id: str, values: dict[str, Any]) -> None:
        """Put it on disk; it is there, whole, when this returns.

        Raises:
            JournalError: it is not.
        """
        path = self.path(run_id)
        new = path.with_suffix(".new")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, json.dumps(values, indent=1).encode())
                os.fsync(handle)
            finally:
                os.close(handle)
            new.rename(path)
            self._sync()
        except OSError as error:
            raise JournalError(
                f"the rotation's file cannot be written: {error.strerror or error}", where=str(path)
            ) from error

    def remove(self, run_id: str) -> None:
        """Forget a run that is over.

        Raises:
            JournalError: its file is still there.
        """
        try:
            self.path(run_id).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise JournalError(
                f"the rotation's file cannot be removed: {error.strerror}", where=str(self.path(run_id))
            ) from error

    def paths(self) -> list[Path]:
        """Return the files in order of their names."""
        return sorted(self.folder.glob("*.json"))

    def _sync(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def unreadable(path: Path, error: Exception) -> JournalError:
    """Return what is raised for a file that says nothing we understand."""
    return JournalError(
        f"the rotation's file cannot be read ({type(error).__name__})",
        where=str(path),
        hint="it says what an interrupted rotation did; do not remove it before you know",
    )
