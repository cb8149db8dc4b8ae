"""What a rotation leaves while it runs: how far it came, so that it can be completed or undone.

One file a rotation in `rotations/` of the state folder, 0600, replaced whole and synced. No password is in
it: verifiers, paths and hashes. It is removed when the rotation is over, whichever way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from console.operations.rotate.state_files import MAX_BYTES, StateFolder, unreadable

_FOLDER = "rotations"


class Phase(StrEnum):
    """How far a rotation came; the last one that was begun."""

    PREPARED = "prepared"
    """Nothing that anybody uses has changed: the old secret works."""
    FILES = "files"
    """Files may be new on some hosts, no pooler has read one: the old secret works until a RELOAD."""
    POSTGRES = "postgres"
    """Postgres may have the new verifier."""
    POOLERS = "poolers"
    """Postgres has it, and poolers may have read their files: the new secret is to be completed."""
    SERVED = "served"
    """Clients go on with the new secret; what is left is to tidy up."""
    UNDOING = "undoing"


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of one pooler that is changed."""

    name: str
    """As the pooler opens it."""
    path: str
    """Where it really lies, symbolic links followed."""
    before: str
    """SHA-256."""
    after: str


@dataclass(frozen=True, slots=True)
class RunState:
    """A rotation that is not over."""

    run_id: str
    fleet: str
    role: str
    selector: str
    begun_at_s: float
    verifier: str = field(repr=False)
    """The new one."""
    before: Mapping[str, str | None] = field(repr=False)
    """The verifier that each node had; None: not known."""
    files: Mapping[str, tuple[FileState, ...]]
    """By pooler."""
    phase: Phase = Phase.PREPARED

    def file(self, pooler: str, name: str) -> FileState | None:
        """Return what is known of a pooler's file, None: nothing."""
        return next((file for file in self.files.get(pooler, ()) if file.name == name), None)

    def at(self, phase: Phase) -> RunState:
        """Return it in another phase."""
        return replace(self, phase=phase)


class RunFiles:
    """The open rotations of this account on this machine."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / _FOLDER
        self._files = StateFolder(self.folder)

    def path(self, run_id: str) -> Path:
        """Return where a rotation's file is."""
        return self._files.path(run_id)

    def write(self, state: RunState) -> None:
        """Put it on disk; it is there, whole, when this returns.

        Raises:
            JournalError: it is not.
        """
        self._files.write(state.run_id, asdict(state))

    def remove(self, run_id: str) -> None:
        """Forget a rotation that is over.

        Raises:
            JournalError: its file is still there.
        """
        self._files.remove(run_id)

    def open_for(self, fleet: str, role: str) -> RunState | None:
        """Return the rotation of a role that is not over, the newest; None: there is none.

        Raises:
            JournalError: a file is there and cannot be read.
        """
        found = [
            state
            for path in self._files.paths()
            if (state := _read(path)).fleet == fleet and state.role == role
        ]
        return max(found, key=lambda state: state.begun_at_s, default=None)


def _read(path: Path) -> RunState:
    try:
        with path.open("rb") as file:
            values: dict[str, Any] = json.loads(file.read(MAX_BYTES))
        values["files"] = {
            name: tuple(FileState(**state) for state in states) for name, states in values["files"].items()
        }
        values["phase"] = Phase(values["phase"])
        return RunState(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise unreadable(path, error) from None
