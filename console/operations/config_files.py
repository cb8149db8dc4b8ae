"""Files on a pooler's host: read, looked for, and replaced as a whole, over SSH or on this machine.

Everything goes through plain POSIX commands with each word quoted, so that any file name works and so that
`sudo -n cat` is all a reader may need. Contents stay in memory: they may hold passwords. Nothing is judged.
"""

from __future__ import annotations

import asyncio
import posixpath
from typing import Protocol

from console.config.pgbouncer_texts import HostFile, Trouble
from console.config.schema import Bouncer
from console.errors import NodeError
from console.hosts.commands import IN_CONTAINERS, SHORT_OUTPUT_BYTES, Runner, commands_of, last_line
from console.transport.base import CommandResult, Transport

LIMIT_BYTES = 4 * 1024 * 1024
"""Of one file; ten thousand databases take 1 MiB."""
NEW = ".pooldeck-new"
"""Behind the name of a file while it is written; renamed when it is complete."""
_MODE_COLUMNS = 10
"""Of `ls -l`: the type and nine permissions; a mark for ACLs may follow."""


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
        trouble, reason = _trouble(done)
        return HostFile(path, None, trouble, reason)

    async def look_for(self, path: str, *, timeout_s: float) -> Trouble | None:
        """See `HostFiles.look_for`."""
        done = await self._do("ls", "-ld", "--", path, timeout_s=timeout_s)
        if isinstance(done, str):
            return Trouble.OTHER
        return None if done.exit_status == 0 else _trouble(done)[0]

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
        return _line(done.stdout)

    async def real_path(self, path: str, *, timeout_s: float) -> str | None:
        """See `HostFiles.real_path`."""
        done = await self._do("readlink", "-f", "--", path, timeout_s=timeout_s)
        if isinstance(done, str) or done.exit_status != 0:
            return None
        return _line(done.stdout)

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
            problem = _failed(done)
            # A test that says no ends with 1 and without a word.
            if problem is not None and (isinstance(done, str) or done.exit_status != 1 or done.stderr):
                return problem
        for folder, done in zip(folders, writable, strict=True):
            if _failed(done) is not None:
                return f"the folder {folder} cannot be written"
        is_root = not isinstance(user, str) and user.stdout.strip() == b"0"
        if _failed(own) is not None and not is_root:
            return "it belongs to somebody else, and a copy could not"
        return None

    async def copy(self, source: str, target: str, *, sha256: str | None, timeout_s: float) -> str | None:
        """See `HostFiles.copy`."""
        new = target + NEW
        for words in (("rm", "-f", "--", new), ("cp", "-p", "--", source, new)):
            problem = _failed(await self._do(*words, timeout_s=timeout_s))
            if problem is not None:
                return problem
        problem = await self._differs(source, new, sha256, timeout_s)
        if problem is None:
            problem = _failed(await self._do("mv", "-f", "--", new, target, timeout_s=timeout_s))
        if problem is not None:
            await self._do("rm", "-f", "--", new, timeout_s=timeout_s)
        return problem

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
        problem = _failed(of_source) or _failed(of_new)
        if problem is not None:
            return problem
        if _owner(of_source) != _owner(of_new):
            return "a copy could not be given the same owner and permissions"
        return None

    async def _do(
        self, *words: str, timeout_s: float, limit_bytes: int = SHORT_OUTPUT_BYTES
    ) -> CommandResult | str:
        """Run a command; a clause instead when it could not be run."""
        try:
            "\0".join(words).encode()
        except UnicodeEncodeError:
            return "its name is no UTF-8, which no command line here can carry"
        try:
            return await self._run((*self._prefix, *words), timeout_s, limit_bytes)
        except NodeError as error:
            return error.message


def _trouble(done: CommandResult) -> tuple[Trouble, str]:
    """Tell from a command's message why it did not work."""
    last = last_line(done.stderr)
    if last.startswith("sudo:"):
        return Trouble.DENIED, f"sudo refuses: {last.removeprefix('sudo:').strip()}"
    if done.exit_status in (126, 127) or not last:
        return Trouble.OTHER, last or f"the command ended with {done.exit_status or done.signal}"
    for trouble, words in _SAID.items():
        if last.endswith(words):
            return trouble, ""
    return Trouble.OTHER, last.rpartition(": ")[2]


_SAID = {
    Trouble.MISSING: ("No such file or directory", "Not a directory"),
    Trouble.DENIED: ("Permission denied", "Operation not permitted"),
    Trouble.FOLDER: ("Is a directory",),
}
"""As GNU's, BSD's and busybox's tools end their messages in the C locale."""


def _failed(done: CommandResult | str) -> str | None:
    if isinstance(done, str):
        return done
    if done.exit_status == 0:
        return None
    trouble, reason = _trouble(done)
    return reason or trouble.value


def _owner(done: CommandResult | str) -> tuple[bytes, ...]:
    """Return permissions, user and group of a line of `ls -ldnL`."""
    fields = (b"" if isinstance(done, str) else done.stdout).split(maxsplit=4)
    return (fields[0][:_MODE_COLUMNS], fields[2], fields[3]) if len(fields) == 5 else ()


def _line(output: bytes) -> str | None:
    """Return a path that a command printed, without the newline it added."""
    return output.removesuffix(b"\n").decode("utf-8", "surrogateescape") or None
