"""What a run that changes configuration files leaves beside them: one copy of each, under the run's number.

The copies never leave the host, and have their file's owner and permissions, since they may hold passwords.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Iterable, Sequence

from console.operations.config_files import HostFiles

KEPT = 5
"""So many of each file; older ones are removed once a run went well."""
_BEHIND = re.compile(r"\.pooldeck-([0-9a-f]{16})")


def backup_of(path: str, run_id: str) -> str:
    """Return where a run keeps what a file held before."""
    return f"{path}.pooldeck-{run_id}"


async def backups_of(
    host: HostFiles, paths: Iterable[str], *, timeout_s: float
) -> tuple[tuple[str, str], ...]:
    """Return (run, file) of every backup of some files, the newest first."""
    named: dict[str, list[str]] = {}
    for path in paths:
        folder, name = posixpath.split(path)
        named.setdefault(folder, []).append(name)
    listed = await asyncio.gather(*(host.names_in(folder, timeout_s=timeout_s) for folder in named))
    found: dict[str, tuple[str, str]] = {}
    for (folder, names), there in zip(named.items(), listed, strict=True):
        for name in names:
            for one in there:
                behind = _BEHIND.fullmatch(one.removeprefix(name)) if one.startswith(name) else None
                if behind is not None:
                    found[posixpath.join(folder, one)] = (behind[1], posixpath.join(folder, name))
    order = await host.newest_first(sorted(found), timeout_s=timeout_s)
    return tuple(found[path] for path in order)


def runs_of(backups: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the runs that left backups, the newest first."""
    return tuple(dict.fromkeys(run for run, _ in backups))


async def remove_old(host: HostFiles, paths: Iterable[str], *, timeout_s: float) -> tuple[str, ...]:
    """Remove all but the newest backups of each file; return why some are still there."""
    kept: dict[str, int] = {}
    old = []
    for run, path in await backups_of(host, paths, timeout_s=timeout_s):
        kept[path] = kept.get(path, 0) + 1
        if kept[path] > KEPT:
            old.append(backup_of(path, run))
    problems = [(path, await host.remove(path, timeout_s=timeout_s)) for path in old]
    return tuple(f"{path} is still there: {why}" for path, why in problems if why is not None)
