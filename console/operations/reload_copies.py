"""Copies of the last good configuration, beside the files on the pooler's own host: kept, and put back.

The copies never leave that host, and have their file's owner and permissions, since they may hold passwords.
A file is replaced as a whole or not at all. Nothing here talks to a pooler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from console.config.pgbouncer_texts import HostFile
from console.operations.config_files import HostFiles
from console.operations.reload_files import BROKEN, GOOD, ConfigLook


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping copies came to."""

    paths: tuple[str, ...] = ()
    """Files whose copy is that of this RELOAD now."""
    failed: Mapping[str, str] | None = None
    """Files without one, and why."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """What putting copies back came to."""

    paths: tuple[str, ...] = ()
    """Files that are as their copies were; what stood there before is beside them as `.pooldeck-broken`."""
    failed: str | None = None
    """Why it could not be done, or not to its end; None: the last good configuration is in place."""


async def changed_files(look: ConfigLook) -> tuple[str, ...]:
    """Return which files are no longer as they were read, e.g. `/etc/pgbouncer/pgbouncer.ini`."""
    if look.host is None or look.texts is None:
        return ()
    host = look.host
    old = look.texts.files
    new = await asyncio.gather(*(host.read(path, timeout_s=look.timeout_s) for path in old))
    return tuple(
        file.path
        for file in new
        if (file.sha256, file.trouble) != (old[file.path].sha256, old[file.path].trouble)
    )


async def keep_good(look: ConfigLook) -> Kept:
    """Make the copies those of the files that were read, and of nothing that was written since."""
    if look.host is None or look.texts is None:
        return Kept()
    wanted = {path: file for path, file in look.texts.files.items() if file.content is not None}
    problems = await asyncio.gather(
        *(_keep(look.host, file, look.good.files.get(path), look.timeout_s) for path, file in wanted.items())
    )
    found = dict(zip(wanted, problems, strict=True))
    return Kept(
        tuple(path for path, problem in found.items() if problem is None),
        {path: problem for path, problem in found.items() if problem is not None} or None,
    )


async def put_back(look: ConfigLook) -> PutBack:
    """Put the copies in the place of the files that differ from them."""
    why_not = look.good.why_not
    if look.host is None or look.texts is None or why_not is not None:
        return PutBack(failed=why_not or look.unread)
    host, done = look.host, list[str]()
    for path, copy in look.good.files.items():
        now = await host.read(path, timeout_s=look.timeout_s)
        if now.sha256 == copy.sha256:
            continue
        problem = await _replace(host, path, copy, now, look.timeout_s)
        if problem is not None:
            return PutBack(tuple(done), f"{path}: {problem}")
        done.append(path)
    if not done:
        return PutBack(failed="the files are the last good ones already")
    return PutBack(tuple(done))


async def _keep(host: HostFiles, file: HostFile, copy: HostFile | None, timeout_s: float) -> str | None:
    if copy is not None and copy.sha256 == file.sha256:
        return None
    return await host.copy(file.path, f"{file.path}{GOOD}", sha256=file.sha256, timeout_s=timeout_s)


async def _replace(host: HostFiles, path: str, copy: HostFile, now: HostFile, timeout_s: float) -> str | None:
    # A symbolic link stays one: what it leads to is replaced.
    real = await host.real_path(path, timeout_s=timeout_s)
    if real is None:
        return "where it lies cannot be seen"
    if now.content is not None:
        problem = await host.copy(real, f"{path}{BROKEN}", sha256=now.sha256, timeout_s=timeout_s)
        if problem is not None:
            return f"it could not be kept as {path}{BROKEN}: {problem}"
    return await host.copy(f"{path}{GOOD}", real, sha256=copy.sha256, timeout_s=timeout_s)
