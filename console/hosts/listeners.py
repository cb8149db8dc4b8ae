"""Who listens on an address of a host, and whether it takes the connections that come.

From `/proc/net` and the open files of the processes that run a program; nothing is connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass

from console.hosts.processes import HostProcesses, Process
from console.transport.base import TcpAddress, UnixAddress

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_LISTENS = 0x10000
"""In the flags of `/proc/net/unix`: __SO_ACCEPTCON."""
_ANY_V4, _ANY_V6 = "0" * 8, "0" * 32
_TCP_COLUMNS, _UNIX_COLUMNS = 10, 8


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that holds a listening socket of the address."""

    process: Process
    takes: bool | None
    """Whether it waits for connections on it; None: it cannot be told."""
    open_files: int
    file_limit: int | None
    """None: no limit, or not known."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who listens on an address."""

    sockets: int
    """Listening sockets of the address; 0: nobody listens."""
    found: tuple[Listener, ...]
    """Of the program that was looked for."""
    hidden: tuple[Process, ...]
    """Of that program as well, but what they have open may not be seen."""


async def listeners_on(
    processes: HostProcesses, address: TcpAddress | UnixAddress, program: str
) -> Listeners:
    """Find the processes of `program` that listen on `address`, as it is called on their host.

    Raises:
        NodeError: the host cannot be asked.
    """
    inodes, candidates = await asyncio.gather(_inodes(processes, address), processes.running(program))
    if not inodes:
        return Listeners(0, (), ())
    looked = await asyncio.gather(*(_look(processes, one, inodes) for one in candidates))
    return Listeners(
        sockets=len(inodes),
        found=tuple(one for one in looked if isinstance(one, Listener)),
        hidden=tuple(one for one in looked if isinstance(one, Process)),
    )


async def _look(
    processes: HostProcesses, process: Process, inodes: Collection[int]
) -> Listener | Process | None:
    """Return None for one that has none of the sockets, the process itself where that cannot be seen."""
    files = await processes.files(process.pid)
    if files is None:
        return process
    held = {number for number, target in files.items() if _inode(target) in inodes}
    if not held:
        return None
    watched, limit = await asyncio.gather(
        processes.watched(process.pid, files), processes.file_limit(process.pid)
    )
    return Listener(process, None if watched is None else bool(held & watched), len(files), limit)


def _inode(target: str) -> int | None:
    found = _SOCKET.fullmatch(target)
    return int(found[1]) if found else None


async def _inodes(processes: HostProcesses, address: TcpAddress | UnixAddress) -> frozenset[int]:
    if isinstance(address, TcpAddress):
        # A table may hold a row for each of many thousand connections: only what listens is fetched.
        table = await processes.text(("grep", "-hs", " 0A ", "/proc/net/tcp", "/proc/net/tcp6"))
        return tcp_listeners(table, address)
    name = posixpath.basename(address.path)
    rows = unix_listeners(await processes.text(("grep", "-F", name, "/proc/net/unix")), name)
    exact = frozenset(inode for path, inode in rows if path == address.path)
    if exact or not rows:
        return exact
    # Under another name of the folder, e.g. /var/run for /run.
    wanted, *others = await asyncio.gather(
        *(processes.text(("readlink", "-f", posixpath.dirname(path))) for path in (address.path, *dict(rows)))
    )
    real = dict(zip(dict(rows), others, strict=True))
    return frozenset(inode for path, inode in rows if wanted and real[path] == wanted)


def tcp_listeners(table: str, address: TcpAddress) -> frozenset[int]:
    """Return the inodes of the sockets that listen on `address`, from rows of `/proc/net/tcp` and `tcp6`.

    As for the kernel, a socket of exactly this address comes before one of any address. A name other than
    localhost fits every address: what it means on that host is not known.
    """
    rows = [
        (local.partition(":")[0], int(fields[9]))
        for fields in map(str.split, table.splitlines())
        if len(fields) >= _TCP_COLUMNS
        and fields[3] == "0A"
        and (local := fields[1]).partition(":")[2] == f"{address.port:04X}"
    ]
    wanted = _hexadecimal(address.host)
    if wanted is None:
        return frozenset(inode for _, inode in rows)
    any_v4 = {_ANY_V4} if any(len(text) == len(_ANY_V4) for text in wanted) else set()
    for texts in (wanted, any_v4, {_ANY_V6}):
        found = frozenset(inode for text, inode in rows if text in texts)
        if found:
            return found
    return frozenset()


def _hexadecimal(host: str) -> frozenset[str] | None:
    """Return an address as the kernel prints it, for either byte order of its words; None for a name."""
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    found: set[str] = set()
    for one in hosts:
        try:
            packed = ipaddress.ip_address(one.partition("%")[0]).packed
        except ValueError:
            return None
        words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
        found |= {packed.hex().upper(), b"".join(word[::-1] for word in words).hex().upper()}
    return frozenset(found)


def unix_listeners(table: str, name: str) -> tuple[tuple[str, int], ...]:
    """Return path and inode of the listening sockets called `name`, from rows of `/proc/net/unix`."""
    found = []
    for line in table.splitlines():
        fields = line.split(None, _UNIX_COLUMNS - 1)
        if len(fields) < _UNIX_COLUMNS or not int(fields[3], 16) & _LISTENS:
            continue
        path = fields[7]
        if path.startswith("/") and posixpath.basename(path) == name:
            found.append((path, int(fields[6])))
    return tuple(found)
