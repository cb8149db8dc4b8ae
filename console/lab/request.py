"""What a call of `lab up` asks for, held against the lab that is there. It starts and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from console.errors import LabError, UsageError
from console.lab.census import status_of
from console.lab.layout import DEFAULT_BOUNCERS
from console.lab.process import Launcher
from console.lab.state import LabState


def wanted_state(
    state: LabState | None,
    directory: Path,
    launcher: Launcher,
    bouncers: int | None,
    pgbouncer: Sequence[Path],
) -> LabState:
    """Return the state to bring about, from what the lab was (None: there is none yet) and what is asked for.

    Raises:
        UsageError: an executable is none.
        LabError: the lab runs, and as something else than asked for.
    """
    executables = tuple(str(_executable(path)) for path in pgbouncer)
    if state is None:
        count = DEFAULT_BOUNCERS if bouncers is None else bouncers
        return LabState(launcher.account.name, count, executables)
    count = state.bouncers if bouncers is None else bouncers
    executables = executables or state.pgbouncer
    if (count, executables) == (state.bouncers, state.pgbouncer):
        return state
    if status_of(directory, state, owner_uid=launcher.account.uid).running:
        raise LabError(
            f"the lab runs with {state.bouncers} bouncers of {', '.join(state.pgbouncer) or 'this machine'}",
            where=str(directory),
            hint=f"take it down before you change that: pooldeck lab down --dir {directory}",
        )
    return replace(state, bouncers=count, pgbouncer=executables)


def _executable(path: Path) -> Path:
    found = shutil.which(str(path.expanduser()))
    if found is None:
        raise UsageError("not an executable file", where=f"--pgbouncer {path}")
    return Path(found).resolve()
