"""Who listens where: tables of `/proc/net` as text, and this very process as the one that is looked for."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.audit.processes import boot_id, process_start
from console.hosts.commands import HostCommands, run_here
from console.hosts.listeners import listeners_on, tcp_listeners, unix_listeners
from console.hosts.processes import HostProcesses, Process
from console.transport.base import CommandResult, TcpAddress, UnixAddress

LIMIT_S = 10.0
V4, ANY_V4, ANY_V6 = "0100007F", "00000000", "0" * 32
V6 = "00000000000000000000000001000000"


def row(local: str, port: int, inode: int, state: str = "0A") -> str:
    return f"   0: {local}:{port:04X} 00000000:0000 {state} 0:00000003 00:0 0  101        0 {inode} 4 0 100 0"


TABLE = "\n".join(
    [
        row(V4, 6432, 1),
        row("0200007F", 6432, 2),
        row(ANY_V4, 6433, 3),
        row(ANY_V6, 6433, 4),
        row(V6, 6434, 5),
        row(ANY_V6, 6435, 6),
        row(V4, 6436, 7, state="01"),
        "7: 7F000001:1925 00000000:0000 0A 0:0 0:0 0 101 0 8 1 0",
        "cut off",
    ]
)


@pytest.mark.parametrize(
    ("host", "port", "inodes"),
    [
        ("127.0.0.1", 6432, {1}),
        ("127.0.0.3", 6432, set()),
        ("localhost", 6432, {1}),
        ("edge-1.example", 6432, {1, 2}),
        ("10.0.0.7", 6433, {3}),
        ("fe80::1%eth0", 6433, {4}),
        ("::1", 6434, {5}),
        ("localhost", 6434, {5}),
        ("10.0.0.7", 6435, {6}),
        ("127.0.0.1", 6436, set()),
        ("127.0.0.1", 6437, {8}),
    ],
)
def test_the_closest_sockets_of_an_address_count(host: str, port: int, inodes: set[int]) -> None:
    assert tcp_listeners(TABLE, TcpAddress(host, port)) == inodes


def test_only_listening_unix_sockets_of_the_name_count() -> None:
    table = (
        "00000000ad7bccc5: 00000003 00000000 00000000 0001 03 71 /run/pgb/.s.PGSQL.6432\n"
        "00000000d261f8be: 00000002 00000000 00010000 0001 01 72 /run/pgb/.s.PGSQL.6432\n"
        "00000000d261f8bf: 00000002 00000000 00010000 0001 01 73 /run/my pgb/.s.PGSQL.6432\n"
        "00000000d261f8c0: 00000002 00000000 00010000 0001 01 74 /run/pgb/.s.PGSQL.64321\n"
        "00000000d261f8c1: 00000002 00000000 00010000 0001 01 75 ./.s.PGSQL.6432\n"
        "00000000d261f8c2: 00000002 00000000 00010000 0001 01 76\n"
    )
    assert unix_listeners(table, ".s.PGSQL.6432") == (
        ("/run/pgb/.s.PGSQL.6432", 72),
        ("/run/my pgb/.s.PGSQL.6432", 73),
    )


@pytest.mark.parametrize(
    ("executable", "argv", "is_it"),
    [
        ("/usr/sbin/pgbouncer", ("pgbouncer", "x.ini"), True),
        ("/usr/sbin/pgbouncer (deleted)", ("pgbouncer",), True),
        ("/opt/pgbouncer-1.24.1", ("x",), True),
        ("/lib64/ld-linux-x86-64.so.2", ("ld", "--library-path", "/x", "/opt/bin/pgbouncer", "x.ini"), True),
        ("/usr/bin/pgbouncer_exporter", ("pgbouncer_exporter",), False),
        ("/usr/sbin/haproxy", ("haproxy", "-f", "/etc/haproxy/pgbouncer"), False),
        ("/usr/bin/psql", ("psql", "pgbouncer"), False),
        (None, ("/usr/sbin/pgbouncer", "x.ini"), True),
        (None, (), False),
    ],
)
def test_a_program_is_told_by_its_file(executable: str | None, argv: tuple[str, ...], is_it: bool) -> None:
    assert Process(1, 2, "boot", "S", argv, executable).runs("pgbouncer") is is_it


@pytest.fixture
def here() -> HostProcesses:
    return HostProcesses(HostCommands(run_here, "this machine"), timeout_s=LIMIT_S)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def test_a_process_is_read_as_it_is(here: HostProcesses) -> None:
    (own,) = await here.read([os.getpid()])
    assert own.identity in [one.identity for one in await here.running("python")]
    assert own.executable == os.readlink("/proc/self/exe")
    assert own.argv[1:] == tuple(sys.orig_argv[1:])
    assert own.state in "RS"
    assert (str(own.start_ticks), own.boot_id) == (process_start(os.getpid()), boot_id())
    assert await here.read([]) == ()
    assert await here.read([2**22 + 1]) == ()


async def test_whether_connections_are_waited_for_is_seen(
    here: HostProcesses, listening: socket.socket
) -> None:
    address = TcpAddress("127.0.0.1", listening.getsockname()[1])

    async def takes() -> bool | None:
        found = await listeners_on(here, address, "python")
        assert [one.process.pid for one in found.found] == [os.getpid()]
        return found.found[0].takes

    # The test's own loop waits by epoll as well, but not for this socket.
    assert await takes() is False
    with select.epoll() as epoll:
        epoll.register(listening, select.EPOLLIN)
        assert await takes() is True
        epoll.unregister(listening)
        assert await takes() is False


async def test_a_unix_socket_is_found_under_another_name_of_its_folder(
    here: HostProcesses, tmp_path: Path
) -> None:
    real, other, empty = tmp_path / "real", tmp_path / "other", tmp_path / "empty"
    real.mkdir()
    empty.mkdir()
    other.symlink_to(real)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{real}/.s.PGSQL.6432")
        server.listen()
        for folder, count in ((real, 1), (other, 1), (empty, 0)):
            found = await listeners_on(here, UnixAddress(str(folder), 6432), "python")
            assert (found.sockets, len(found.found)) == (count, count)


async def test_what_may_not_be_seen_is_hidden_and_not_absent(listening: socket.socket) -> None:
    async def run(argv: tuple[str, ...], timeout_s: float, limit_bytes: int) -> CommandResult:
        if argv[2] in ("ls", "readlink"):
            return CommandResult(2, b"", b"ls: cannot open directory: Permission denied\n", False)
        return await run_here(argv, timeout_s, limit_bytes)

    closed = HostProcesses(HostCommands(run, "here"), timeout_s=LIMIT_S)  # type: ignore[arg-type]
    found = await listeners_on(closed, TcpAddress("127.0.0.1", listening.getsockname()[1]), "python")
    assert found.sockets == 1
    assert not found.found
    assert os.getpid() in [one.pid for one in found.hidden]
