"""Processes of a host as its `/proc` shows them, by plain commands (Linux; proc(5)).

It only reads, and needs no more there than a shell, `cat`, `grep`, `ls` and `readlink`. What only a process's
owner or root may see is read by sudo where the inventory says so; otherwise it is None. Nothing is judged.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.errors import NodeError, Phase
from console.hosts.commands import HostCommands

FILES_LIMIT_BYTES = 4 * 1024 * 1024
"""Of the list of one process's open files: some fifty thousand."""
STOPPED = frozenset("Tt")
"""`Process.state`: stopped by a signal, or by a debugger."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_STATE, _START = 0, 19
"""Fields 3 and 22 of `/proc/PID/stat` (proc_pid_stat(5)), counted from behind the command's name."""
_LOADER = re.compile(r"ld[-.].*")
_OPEN_FILES = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)
_WATCHED = re.compile(r"^tfd:\s*(\d+)", re.MULTILINE)
_LISTED = re.compile(r"^\S+ .* (\d+) -> (.*)$", re.MULTILINE)
_EPOLL = "anon_inode:[eventpoll]"


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as it was when it was read."""

    pid: int
    start_ticks: int
    """Clock ticks from boot to its start."""
    boot_id: str
    """Of the machine's boot; with pid and start it names a process for good. "": not known."""
    state: str
    """One letter: R runs, S sleeps, D waits in the kernel, T is stopped, Z has ended (proc_pid_stat(5))."""
    argv: tuple[str, ...]
    executable: str | None
    """The path of the file that it runs; None: it may not be seen."""

    @property
    def identity(self) -> str:
        """What no other process ever has."""
        return f"{self.pid}, started {self.start_ticks} ticks after boot {self.boot_id}"

    def runs(self, program: str) -> bool:
        """Say whether it runs `program`, with or without a version behind its name."""
        named = re.compile(rf"{re.escape(program)}(-?\d[\d.]*)?")
        # What was replaced by an upgrade is still told, with a mark.
        own = self.executable.removesuffix(" (deleted)") if self.executable else "".join(self.argv[:1])
        name = posixpath.basename(own)
        if named.fullmatch(name):
            return True
        by_loader = _LOADER.fullmatch(name) is not None
        return by_loader and any(named.fullmatch(posixpath.basename(word)) for word in self.argv[1:])


class HostProcesses:
    """The processes of one machine. Every method raises NodeError when the machine cannot be asked."""

    def __init__(self, commands: HostCommands, *, timeout_s: float) -> None:
        self.commands = commands
        self.timeout_s = timeout_s
        """For each command."""

    async def running(self, program: str) -> tuple[Process, ...]:
        """Return the processes that run `program`, the lowest pid first."""
        # In brackets the word does not find the search itself.
        pattern = f"[{program[0]}]{program[1:]}"
        search = ("sh", "-c", 'exec grep -ls -e "$0" /proc/[0-9]*/cmdline', pattern)
        found = await self.text(search)
        pids = sorted(int(path.split("/")[2]) for path in found.splitlines())
        return tuple(one for one in await self.read(pids) if one.runs(program))

    async def read(self, pids: Iterable[int]) -> tuple[Process, ...]:
        """Return those of `pids` that are there."""
        wanted = list(pids)
        if not wanted:
            return ()
        boot_id, lines = await asyncio.gather(
            self.text(("cat", _BOOT_ID)), self.text(("cat", *(f"/proc/{pid}/stat" for pid in wanted)))
        )
        stats = {pid: fields for pid, fields in map(_stat, lines.splitlines()) if fields}
        found = await asyncio.gather(
            *(self._one(pid, stats[pid], boot_id.strip()) for pid in wanted if pid in stats)
        )
        return tuple(found)

    async def _one(self, pid: int, stat: list[str], boot_id: str) -> Process:
        words, executable = await asyncio.gather(
            self.text(("cat", f"/proc/{pid}/cmdline")),
            self.text(self.commands.as_owner("readlink", f"/proc/{pid}/exe")),
        )
        return Process(
            pid=pid,
            start_ticks=int(stat[_START]),
            boot_id=boot_id,
            state=stat[_STATE],
            argv=tuple(words.rstrip("\0").split("\0")) if words else (),
            executable=executable.removesuffix("\n") or None,
        )

    async def files(self, pid: int) -> Mapping[int, str] | None:
        """Return what a process has open, by descriptor; None: it may not be seen, or is gone."""
        listed = await self.text(
            self.commands.as_owner("ls", "-l", f"/proc/{pid}/fd"), limit_bytes=FILES_LIMIT_BYTES
        )
        return {int(number): target for number, target in _LISTED.findall(listed)} or None

    async def file_limit(self, pid: int) -> int | None:
        """Return how many files a process may have open; None: no limit, or not known."""
        found = _OPEN_FILES.search(await self.text(("cat", f"/proc/{pid}/limits")))
        return int(found[1]) if found else None

    async def watched(self, pid: int, files: Mapping[int, str]) -> frozenset[int] | None:
        """Return the descriptors whose events a process waits for by epoll; None: it cannot be told.

        Args:
            pid: the process.
            files: what `files` said of it.
        """
        sets = [f"/proc/{pid}/fdinfo/{number}" for number, target in files.items() if target == _EPOLL]
        if not sets:
            return None
        told = await self.text(self.commands.as_owner("cat", *sets), limit_bytes=FILES_LIMIT_BYTES)
        return frozenset(map(int, _WATCHED.findall(told))) if told else None

    async def text(self, words: tuple[str, ...], *, limit_bytes: int = FILES_LIMIT_BYTES) -> str:
        """Return what a command printed, whatever its exit status: part of it may have gone meanwhile."""
        done = await self.commands.ask(words, timeout_s=self.timeout_s, limit_bytes=limit_bytes)
        if done.truncated:
            raise NodeError(Phase.PROTOCOL, f"{words[-1]} is too long to be read", where=self.commands.where)
        return done.stdout.decode("utf-8", "surrogateescape")


def _stat(line: str) -> tuple[int, list[str]]:
    """Return pid and fields of a line of `stat`; no fields when it is none."""
    # The command's name is in parentheses and may hold anything, parentheses and spaces too.
    number, _, rest = line.partition(" (")
    fields = rest.rpartition(")")[2].split()
    if not number.isdecimal() or len(fields) <= _START:
        return 0, []
    return int(number), fields
