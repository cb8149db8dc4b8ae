"""Which process holds which TCP socket, read from /proc. It opens no socket and ends no process."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = 0x01
LISTEN = 0x0A


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """One row of /proc/net/tcp or tcp6."""

    address: str
    """The local address, `127.0.0.1` or `::1`."""
    port: int
    state: int
    """The kernel's number: `LISTEN`, `ESTABLISHED` …"""
    inode: int


def tcp_sockets() -> tuple[TcpSocket, ...]:
    """Return every TCP socket of this network namespace."""
    found: list[TcpSocket] = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:
            continue
        found.extend(parse_row(line) for line in lines)
    return tuple(found)


def parse_row(line: str) -> TcpSocket:
    """Parse a row of /proc/net/tcp: addresses are hexadecimal, in 32-bit words of this machine's byte order.

    >>> parse_row("0: 0100007F:1538 00000000:0000 0A 0:0 00:0 0 0 0 4711 1").address
    '127.0.0.1'
    """
    fields = line.split()
    address, port = fields[1].split(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    packed = ipaddress.ip_address(b"".join(words))
    return TcpSocket(str(packed), int(port, 16), int(fields[3], 16), int(fields[9]))


def socket_inodes(pid: int) -> frozenset[int]:
    """Return the inodes of a process's sockets; empty when it is gone or not ours to look at."""
    found: set[int] = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{number}")
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return frozenset()
    return frozenset(found)


def listeners(pids: Iterable[int]) -> tuple[TcpSocket, ...]:
    """Return the listening TCP sockets that any of `pids` holds."""
    inodes: set[int] = set()
    for pid in pids:
        inodes |= socket_inodes(pid)
    return tuple(row for row in tcp_sockets() if row.state == LISTEN and row.inode in inodes)


def holders(port: int, state: int = ESTABLISHED) -> tuple[int, ...]:
    """Return the pids that hold a TCP socket whose local port is `port`."""
    inodes = {row.inode for row in tcp_sockets() if row.port == port and row.state == state}
    if not inodes:
        return ()
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(pid for pid in pids if socket_inodes(pid) & inodes)


def command_line(pid: int) -> tuple[str, ...]:
    """Return a process's arguments, or its title where it set one; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(word.decode(errors="replace") for word in raw.rstrip(b"\0").split(b"\0") if word)
