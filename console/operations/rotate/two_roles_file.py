"""What a rotation with two roles leaves while it is open: `rotations/two-roles/` of the state folder.

No password is in it: verifiers, paths and hashes. It is removed when the first role is shut out, or the
second one taken out again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from console.operations.rotate.state_files import MAX_BYTES, StateFolder, unreadable


class Phase(StrEnum):
    """How far it came; the last one that was begun."""

    PREPARED = "prepared"
    """Nothing has changed."""
    ROLE = "role"
    """Postgres may know the second role; no pooler does."""
    POOLERS = "poolers"
    """Some poolers may know the second role. The first one works everywhere."""
    BOTH = "both"
    """Both roles work everywhere: people move their applications."""
    CLOSING = "closing"
    """The first role may be shut out in some places. The second one works everywhere."""
    UNDOING = "undoing"
    """The second role is being taken out. The first one works, or is about to again."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """A file of one pooler that is changed; SHA-256."""

    before: str
    after: str
    """As it is left by us; when it still has this, nobody else changed it."""


@dataclass(frozen=True, slots=True)
class NodeBefore:
    """The second role on one Postgres node as it was."""

    existed: bool
    could_log_in: bool
    stored: str | None = field(repr=False)
    """Its verifier; "": it had none; None: not known."""
    granted: tuple[str, ...]
    """What it was made a member of."""


@dataclass(frozen=True, slots=True)
class TwoRolesState:
    """A rotation with two roles that is not over."""

    run_id: str
    fleet: str
    role: str
    to: str
    selector: str
    begun_at_s: float
    verifier: str = field(repr=False)
    """The second role's."""
    nodes: Mapping[str, NodeBefore] = field(repr=False)
    files: Mapping[str, Mapping[str, Hashes]]
    """By pooler, then by path as the pooler has it; a pooler that needs no change has none."""
    phase: Phase = Phase.PREPARED

    def at(self, phase: Phase) -> TwoRolesState:
        """Return it in another phase."""
        return replace(self, phase=phase)


class TwoRolesFiles:
    """The open rotations with two roles of this account on this machine."""

    def __init__(self, rotations: Path) -> None:
        self._folder = StateFolder(rotations / "two-roles")

    def path(self, run_id: str) -> Path:
        """Return where a rotation's file is."""
        return self._folder.path(run_id)

    def write(self, state: TwoRolesState) -> None:
        """Put it on disk; it is there, whole, when this returns. Raises JournalError."""
        self._folder.write(state.run_id, asdict(state))

    def remove(self, run_id: str) -> None:
        """Forget one that is over. Raises JournalError: its file is still there."""
        self._folder.remove(run_id)

    def touching(self, fleet: str, *roles: str) -> TwoRolesState | None:
        """Return the open rotation in which one of these roles is, the newest; None: there is none.

        Raises:
            JournalError: a file is there and cannot be read.
        """
        found = [
            state
            for path in self._folder.paths()
            if (state := _read(path)).fleet == fleet and {state.role, state.to} & set(roles)
        ]
        return max(found, key=lambda state: state.begun_at_s, default=None)


def _read(path: Path) -> TwoRolesState:
    try:
        with path.open("rb") as file:
            values: dict[str, Any] = json.loads(file.read(MAX_BYTES))
        values["files"] = {
            name: {at: Hashes(**one) for at, one in files.items()} for name, files in values["files"].items()
        }
        values["nodes"] = {
            name: NodeBefore(**{**one, "granted": tuple(one["granted"])})
            for name, one in values["nodes"].items()
        }
        values["phase"] = Phase(values["phase"])
        return TwoRolesState(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise unreadable(path, error) from None
