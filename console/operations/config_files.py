"""Files on a pooler's host: read, looked for, and replaced as a whole, over SSH or on this machine.

Everything goes through plain POSIX commands with each word quoted, so that any file name works and so that
`sudo -n cat` is all a reader may need. Contents stay in memory: they may hold passwords. Nothing is judged.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from console.config.pgbouncer_texts import HostFile, Trouble
from console.config.schema import Bouncer
from console.errors import NodeError
from console.hosts.commands import IN_CONTAINERS, SHORT_OUTPUT_BYTES, Runner, commands_of
from console.operations.command_words import failed, line_of, owner_of, trouble_of
from console.transport.base import CommandResult, Transport

LIMIT_BYTES = 4 * 1024 * 1024
"""Of one file; ten thousand databases take 1 MiB."""
NEW = ".pooldeck-new"
"""Behind the name of a file while it is written; renamed when it is complete."""


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a file came to."""

    problem: str | None = None
    """Why it was not written; None: it is there, whole, and was read back."""
    is_sure: bool = True
    """False: contact was lost while it was put in place, so it may be there all the same."""


class HostFiles(Protocol):
    """The files of one host, as a pooler there sees them. No method raises for what a file is like."""

    where: str
    """For people: `host edge-1` or `this machine`."""

    async def read(self, path: str, *, timeout_s: float) -> HostFile:
        """Return a file; at most 4 MiB are read."""
        ...

    async def look_for(self, path: str, *, timeout_s: float) -> Trouble | None:
        """Return None when a file is there, else why it cannot be seen."""
        ...

    async def has_no_pem(self, path: str, *, timeout_s: float) -> bool:
        """Say that a file certainly holds neither certificate nor key; its content stays on the host."""
        ...

    async def working_folder(self, pid_file: str, word: str, *, timeout_s: float) -> str | None:
        """Return the working folder of the process in `pid_file` whose command line has `word`.

        None: it cannot be seen, or another process has that number by now.
        """
        ...

    async def real_path(self, path: str, *, timeout_s: float) -> str | None:
        """Return where symbolic links lead; None when it cannot be told."""
        ...

    async def why_not_writable(self, path: str, *, timeout_s: float) -> str | None:
        """Return why a file cannot be replaced by one with the same owner; None when it can."""
        ...

    async def copy(self, source: str, target: str, *, sha256: str | None, timeout_s: float) -> str | None:
        """Put a copy of `source` in the place of `target` at once, with the same owner and permissions.

        Args:
            source: what to copy.
            target: where; what was there is gone, unless something goes wrong: then nothing has changed.
            sha256: what the copy must hold; None: whatever the source holds.
            timeout_s: for each of its commands.

        Returns:
            None when it is done, else why it is not.
        """
        ...

    async def write(
        self, path: str, content: bytes, *, expect_sha256: str | None, timeout_s: float
    ) -> Written:
        """Replace a file at once by one with the same owner, permissions, ACL and security context.

        Where symbolic links lead is replaced; they stay. The content goes through standard input only.

        Args:
            path: a file that is there.
            content: all of what it is to hold.
            expect_sha256: what it must hold until then; otherwise nothing is changed. None: whatever.
            timeout_s: for each of its commands.
        """
        ...

    async def names_in(self, folder: str, *, timeout_s: float) -> tuple[str, ...]:
        """Return the names in a folder; () when it cannot be read."""
        ...

    async def newest_first(self, paths: Sequence[str], *, timeout_s: float) -> tuple[str, ...]:
        """Return those of the files that are there, the one whose inode changed last first.

        A copy has the other times of its original; names with a line end in them are left out.
        """
        ...

    async def remove(self, path: str, *, timeout_s: float) -> str | None:
        """Remove a file; None when it is gone, else why it is not."""
        ...


def files_of(bouncer: Bouncer, transport: Transport | None) -> HostFiles | str:
    """Return the files of the host of `bouncer`; a clause instead, when there is no way to them."""
    process = bouncer.process
    if process is not None and process.kind in IN_CONTAINERS:
        return "it runs in a container, whose files are not read from outside"
    machine = commands_of(bouncer, transport)
    if machine is not None:
        return CommandFiles(machine.runner, where=machine.where, sudo=machine.sudo)
    if bouncer.host is not None:
        return f"the host {bouncer.host} cannot be reached from here"
    return "the inventory names no host for it, so its files cannot be reached over SSH"


class CommandFiles:
    """Implements `HostFiles` by commands."""

    def __init__(self, run: Runner, *, where: str, sudo: bool) -> None:
        self.where = where
        self._run = run
        self._prefix = ("env", "LC_ALL=C", *(("sudo", "-n") if sudo else ()))

    async def read(self, path: str, *, timeout_s: float) -> HostFile:
        """See `HostFiles.read`."""
        done = await self._do("cat", "--", path, timeout_s=timeout_s, limit_bytes=LIMIT_BYTES)
        if isinstance(done, str):
            return HostFile(path, None, Trouble.OTHER, done)
        if done.truncated:
            size = LIMIT_BYTES // 1024 // 1024
            return HostFile(path, None, Trouble.OTHER, f"it is larger than {size} MiB")
        if done.exit_status == 0:
            return HostFile(path, done.stdout)
        trouble, reason = trouble_of(done)
        return HostFile(path, None, trouble, reason)

    async def look_for(self, path: str, *, timeout_s: float) -> Trouble | None:
        """See `HostFiles.look_for`."""
        done = await self._do("ls", "-ld", "--", path, timeout_s=timeout_s)
        if isinstance(done, str):
            return Trouble.OTHER
        return None if done.exit_status == 0 else trouble_of(done)[0]

    async def has_no_pem(self, path: str, *, timeout_s: float) -> bool:
        """See `HostFiles.has_no_pem`."""
        done = await self._do("grep", "-c", "-e", "-----BEGIN ", "--", path, timeout_s=timeout_s)
        # grep counts 0 and ends with 1; sudo, which may not run it, ends with 1 too and counts nothing.
        return not isinstance(done, str) and done.exit_status == 1 and done.stdout.strip() == b"0"

    async def working_folder(self, pid_file: str, word: str, *, timeout_s: float) -> str | None:
        """See `HostFiles.working_folder`."""
        file = await self.read(pid_file, timeout_s=timeout_s)
        pid = (file.content or b"").strip()
        if not pid.isdigit():
            return None
        folder = f"/proc/{int(pid)}"
        command, done = await asyncio.gather(
            self.read(f"{folder}/cmdline", timeout_s=timeout_s),
            self._do("readlink", "--", f"{folder}/cwd", timeout_s=timeout_s),
        )
        words = (command.content or b"").split(b"\0")
        if word.encode("utf-8", "surrogateescape") not in words:
            return None
        if isinstance(done, str) or done.exit_status != 0:
            return None
        return line_of(done.stdout)

    async def real_path(self, path: str, *, timeout_s: float) -> str | None:
        """See `HostFiles.real_path`."""
        done = await self._do("readlink", "-f", "--", path, timeout_s=timeout_s)
        if isinstance(done, str) or done.exit_status != 0:
            return None
        return line_of(done.stdout)

    async def why_not_writable(self, path: str, *, timeout_s: float) -> str | None:
        """See `HostFiles.why_not_writable`."""
        real = await self.real_path(path, timeout_s=timeout_s)
        if real is None:
            return "where it lies cannot be seen"
        # A copy lies beside the name, a replacement beside what a symbolic link leads to.
        folders = list(dict.fromkeys(map(posixpath.dirname, (path, real))))
        own, user, *writable = await asyncio.gather(
            self._do("test", "-O", real, timeout_s=timeout_s),
            self._do("id", "-u", timeout_s=timeout_s),
            *(self._do("test", "-w", folder, timeout_s=timeout_s) for folder in folders),
        )
        for done in (own, user, *writable):
            problem = failed(done)
            # A test that says no ends with 1 and without a word.
            if problem is not None and (isinstance(done, str) or done.exit_status != 1 or done.stderr):
                return problem
        for folder, done in zip(folders, writable, strict=True):
            if failed(done) is not None:
                return f"the folder {folder} cannot be written"
        is_root = not isinstance(user, str) and user.stdout.strip() == b"0"
        if failed(own) is not None and not is_root:
            return "it belongs to somebody else, and a copy could not"
        return None

    async def copy(self, source: str, target: str, *, sha256: str | None, timeout_s: float) -> str | None:
        """See `HostFiles.copy`."""
        new = target + NEW
        problem = None
        for words in (("rm", "-f", "--", new), ("cp", "-p", "--", source, new)):
            problem = problem or failed(await self._do(*words, timeout_s=timeout_s))
        if problem is None:
            problem = await self._differs(source, new, sha256, timeout_s)
        if problem is None:
            problem = failed(await self._do("mv", "-f", "--", new, target, timeout_s=timeout_s))
        if problem is not None:
            # A copy that a full disk ended is there in part.
            await self._do("rm", "-f", "--", new, timeout_s=timeout_s)
        return problem

    async def write(
        self, path: str, content: bytes, *, expect_sha256: str | None, timeout_s: float
    ) -> Written:
        """See `HostFiles.write`."""
        real = await self.real_path(path, timeout_s=timeout_s)
        if real is None:
            return Written("where it lies cannot be seen")
        new = real + NEW
        problem = await self._prepare(real, new, content, timeout_s)
        if problem is None and expect_sha256 is not None:
            now = await self.read(real, timeout_s=timeout_s)
            if now.sha256 != expect_sha256:
                problem = "it was changed meanwhile" if now.content is not None else now.why
        if problem is not None:
            left = await self.remove(new, timeout_s=timeout_s)
            return Written(problem if left is None else f"{problem}; {new} may be left there: {left}")
        moved = await self._do("mv", "-f", "--", new, real, timeout_s=timeout_s)
        # A command without an exit status may have done its work before contact was lost.
        lost = isinstance(moved, str) or (moved.exit_status is None and moved.signal is None)
        problem = failed(moved)
        if problem is None:
            return Written()
        now = await self.read(real, timeout_s=timeout_s)
        if now.content == content:
            return Written()
        left = await self.remove(new, timeout_s=timeout_s)
        told = problem if left is None else f"{problem}; {new} may be left there: {left}"
        return Written(told, is_sure=not lost or now.content is not None)

    async def _prepare(self, real: str, new: str, content: bytes, timeout_s: float) -> str | None:
        """Make the file beside the one that it is to replace."""
        for words in (("rm", "-f", "--", new), ("cp", "-a", "--", real, new)):
            problem = failed(await self._do(*words, timeout_s=timeout_s))
            if problem is not None:
                return problem
        done = await self._do("dd", f"of={new}", "bs=65536", "conv=fsync", timeout_s=timeout_s, stdin=content)
        problem = failed(done)
        if problem is not None:
            return problem
        return await self._differs(real, new, hashlib.sha256(content).hexdigest(), timeout_s)

    async def names_in(self, folder: str, *, timeout_s: float) -> tuple[str, ...]:
        """See `HostFiles.names_in`."""
        done = await self._do("ls", "-1a", "--", folder, timeout_s=timeout_s, limit_bytes=LIMIT_BYTES)
        return _lines(done)

    async def newest_first(self, paths: Sequence[str], *, timeout_s: float) -> tuple[str, ...]:
        """See `HostFiles.newest_first`."""
        if not paths:
            return ()
        done = await self._do("ls", "-1dct", "--", *paths, timeout_s=timeout_s)
        known = set(paths)
        return tuple(line for line in _lines(done) if line in known)

    async def remove(self, path: str, *, timeout_s: float) -> str | None:
        """See `HostFiles.remove`."""
        return failed(await self._do("rm", "-f", "--", path, timeout_s=timeout_s))

    async def _differs(self, source: str, new: str, sha256: str | None, timeout_s: float) -> str | None:
        written, of_source, of_new = await asyncio.gather(
            self.read(new, timeout_s=timeout_s),
            self._do("ls", "-ldnL", "--", source, timeout_s=timeout_s),
            self._do("ls", "-ldnL", "--", new, timeout_s=timeout_s),
        )
        if written.content is None:
            return written.why
        if sha256 is not None and written.sha256 != sha256:
            return "it was changed meanwhile"
        problem = failed(of_source) or failed(of_new)
        if problem is not None:
            return problem
        if owner_of(of_source) != owner_of(of_new):
            return "a copy could not be given the same owner and permissions"
        return None

    async def _do(
        self,
        *words: str,
        timeout_s: float,
        limit_bytes: int = SHORT_OUTPUT_BYTES,
        stdin: bytes = b"",
    ) -> CommandResult | str:
        """Run a command; a clause instead when it could not be run."""
        try:
            "\0".join(words).encode()
        except UnicodeEncodeError:
            return "its name is no UTF-8, which no command line here can carry"
        try:
            return await self._run((*self._prefix, *words), timeout_s, limit_bytes, stdin)
        except NodeError as error:
            return error.message


def _lines(done: CommandResult | str) -> tuple[str, ...]:
    if isinstance(done, str):
        return ()
    return tuple(done.stdout.decode("utf-8", "surrogateescape").split("\n"))
