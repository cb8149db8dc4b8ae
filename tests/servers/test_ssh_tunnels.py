"""Tunnels through real sshds: a driver on this machine talks to a far socket as if it were here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
import struct
import threading
from pathlib import Path

import pytest

from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import Endpoint, TcpAddress, UnixAddress
from tests.harness.faults import FaultProxy, refusing_port
from tests.servers.ssh_kit import (
    LIMIT_S,
    SshKit,
    ask,
    black_hole,
    connect,
    kit,
    logged_connections,
    route,
    shout,
    tcp_server,
    until,
)

__all__ = ["kit"]  # a fixture


async def test_a_far_unix_socket_is_reached_through_a_near_one_nobody_else_can_open(kit: SshKit) -> None:
    async with kit.unix_server(shout) as address, kit.transport(a=kit.host(kit.sshd())) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        assert await ask(endpoint, "over streamlocal") == "OVER STREAMLOCAL"
        folder = Path(endpoint.host)
        assert endpoint.port == address.port
        for one in (folder, folder.parent, folder.parent.parent):
            assert stat.S_IMODE(one.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / f".s.PGSQL.{endpoint.port}").stat().st_mode) == 0o600
        assert transport.failure_of(endpoint) is None


async def test_a_far_tcp_port_is_reached_through_a_near_unix_socket(kit: SshKit) -> None:
    async with tcp_server(shout) as address, kit.transport(a=kit.host(kit.sshd())) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        assert endpoint.host.startswith(str(kit.runtime))
        assert await ask(endpoint, "over tcp") == "OVER TCP"


async def test_tls_inside_gets_a_loopback_port_and_keeps_the_name_to_verify(kit: SshKit) -> None:
    async with tcp_server(shout) as address, kit.transport(a=kit.host(kit.sshd())) as transport:
        far = TcpAddress("localhost", address.port)
        endpoint = await transport.endpoint(route("a", far, tls=True), timeout_s=LIMIT_S)
        assert (endpoint.host, endpoint.hostaddr) == ("localhost", "127.0.0.1")
        assert endpoint.port != address.port
        assert await ask(endpoint, "tls") == "TLS"


async def test_a_route_without_a_host_is_the_address_itself(kit: SshKit) -> None:
    async with kit.transport() as transport:
        tcp = await transport.endpoint(route(None, TcpAddress("db.example", 6432), tls=True), timeout_s=1)
        unix = await transport.endpoint(route(None, UnixAddress("/run/pgbouncer", 6432)), timeout_s=1)
        assert (tcp.host, tcp.port, tcp.hostaddr) == ("db.example", 6432, None)
        assert (unix.host, unix.port) == ("/run/pgbouncer", 6432)
        assert transport.failure_of(tcp) is None


async def test_all_users_of_a_host_share_one_connection(kit: SshKit) -> None:
    server = kit.sshd()
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(tcp_server(shout))
        second = await stack.enter_async_context(kit.unix_server(shout))
        transport = await stack.enter_async_context(kit.transport(a=kit.host(server)))
        routes = [route("a", first), route("a", second), route("a", first, tls=True)] * 5
        endpoints = await asyncio.gather(*(transport.endpoint(one, timeout_s=LIMIT_S) for one in routes))
        assert len(set(endpoints)) == 3
        answers = await asyncio.gather(*(ask(one, f"n{i}") for i, one in enumerate(endpoints)))
        assert answers == [f"N{i}" for i in range(len(endpoints))]
        assert logged_connections(server) == 1


async def test_100_mb_arrive_intact_through_rekeying(kit: SshKit) -> None:
    """RekeyLimit makes the server renegotiate the keys many times on the way."""
    size, block = 100_000_000, os.urandom(1_000_000)

    async def send_back_digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest, count = hashlib.sha256(), 0
        while data := await reader.read(1 << 20):
            digest.update(data)
            count += len(data)
        for _ in range(size // 2 // len(block)):
            writer.write(block)
            await writer.drain()
        writer.write(f"{count} {digest.hexdigest()}".encode())
        await writer.drain()

    server = kit.sshd(RekeyLimit="10M")
    async with kit.unix_server(send_back_digest) as address, kit.transport(a=kit.host(server)) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        reader, writer = await connect(endpoint)
        for _ in range(size // 2 // len(block)):
            writer.write(block)
            await writer.drain()
        writer.write_eof()  # the far end answers only after the half-close reached it
        back = await reader.read(-1)
        writer.close()
    expected = hashlib.sha256(block * (size // 2 // len(block))).hexdigest()
    assert back[: size // 2] == block * (size // 2 // len(block))
    assert back[size // 2 :].decode() == f"{size // 2} {expected}"


async def test_a_far_end_that_does_not_read_stops_the_sender_here(kit: SshKit) -> None:
    release = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await release.wait()
        while data := await reader.read(1 << 20):
            received += len(data)

    async with (
        tcp_server(slow) as address,
        tcp_server(shout) as quick,
        kit.transport(a=kit.host(kit.sshd())) as transport,
    ):
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        other = await transport.endpoint(route("a", quick), timeout_s=LIMIT_S)
        near = socket.socket(socket.AF_UNIX)
        near.connect(f"{endpoint.host}/.s.PGSQL.{endpoint.port}")
        near.setblocking(False)
        sent, still_s = 0, 0.0
        while still_s < 0.5:  # full when nothing more is taken for half a second
            try:
                sent += near.send(b"x" * 65_536)
                still_s = 0.0
            except BlockingIOError:
                await asyncio.sleep(0.05)
                still_s += 0.05
        assert 1_000_000 < sent < 40_000_000
        assert await ask(other, "others go on") == "OTHERS GO ON"
        release.set()
        near.shutdown(socket.SHUT_WR)
        await until(lambda: received == sent)
        near.close()


async def test_a_reset_on_either_side_ends_the_other(kit: SshKit) -> None:
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()) == b"reset\n":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        await reader.read()
        ended.set()

    async with tcp_server(hold) as address, kit.transport(a=kit.host(kit.sshd())) as transport:
        endpoint = await transport.endpoint(route("a", address, tls=True), timeout_s=LIMIT_S)
        assert await ask(endpoint, "reset") == ""
        near = socket.create_connection(("127.0.0.1", endpoint.port))
        near.sendall(b"stay\n")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        async with asyncio.timeout(LIMIT_S):
            await ended.wait()


async def test_hundreds_of_connections_that_end_on_both_sides_at_once_break_nothing(kit: SshKit) -> None:
    """Paramiko lets an end-of-file overtake the close of its channel; OpenSSH then hangs up on everybody."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async def visit(endpoint: Endpoint) -> None:
        reader, writer = await connect(endpoint)
        with contextlib.suppress(ConnectionError):
            writer.write(b"bye\n")
            writer.write_eof()
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = kit.sshd()
    async with (
        tcp_server(hang_up) as address,
        tcp_server(shout) as steady,
        kit.transport(a=kit.host(server)) as transport,
    ):
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        other = await transport.endpoint(route("a", steady), timeout_s=LIMIT_S)
        reader, writer = await connect(other)
        for _ in range(10):
            await asyncio.gather(*(visit(endpoint) for _ in range(40)))
        writer.write(b"still here\n")
        assert await reader.readline() == b"STILL HERE\n"
        writer.close()
        assert logged_connections(server) == 1


async def test_why_a_tcp_far_end_could_not_be_dialled(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        with refusing_port() as port:
            endpoint = await transport.endpoint(route("a", TcpAddress("127.0.0.1", port)), timeout_s=LIMIT_S)
            assert await ask(endpoint) == ""
            failure = transport.failure_of(endpoint)
            assert failure is not None
            assert failure.phase is Phase.TUNNEL
            assert "Connection refused" in failure.message
            assert str(port) in str(failure.hint)
        async with tcp_server(shout, port):
            assert await ask(endpoint, "up again") == "UP AGAIN"
            assert transport.failure_of(endpoint) is None


async def test_why_a_unix_far_end_could_not_be_dialled(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        missing = UnixAddress("/nonexistent", 6432)
        endpoint = await transport.endpoint(route("a", missing), timeout_s=LIMIT_S)
        assert await ask(endpoint) == ""
        failure = transport.failure_of(endpoint)
        assert failure is not None
        assert failure.phase is Phase.TUNNEL
        assert missing.path in str(failure.hint)


async def test_a_server_that_forbids_forwards_is_named_as_such(kit: SshKit) -> None:
    server = kit.sshd(AllowTcpForwarding="no")
    async with tcp_server(shout) as address, kit.transport(a=kit.host(server)) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        assert await ask(endpoint) == ""
        failure = transport.failure_of(endpoint)
        assert failure is not None
        assert "does not allow" in failure.message
        assert "AllowTcpForwarding" in str(failure.hint)


async def test_a_far_end_that_swallows_packets_fails_in_time(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        with black_hole() as port:
            endpoint = await transport.endpoint(route("a", TcpAddress("127.0.0.1", port)), timeout_s=LIMIT_S)
            await transport.endpoint(route("a", TcpAddress("127.0.0.1", port)), timeout_s=0.5)
            async with asyncio.timeout(3.0):
                assert await ask(endpoint) == ""
            failure = transport.failure_of(endpoint)
            assert isinstance(failure, DeadlineError)
            assert failure.phase is Phase.TUNNEL


async def test_killed_in_the_middle_the_driver_learns_it_and_the_same_endpoint_works_again(
    kit: SshKit,
) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()) == b"pour\n":
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        writer.write(b"GENTLE\n")
        await writer.drain()

    server = kit.sshd()
    async with kit.unix_server(pour) as address, kit.transport(a=kit.host(server)) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        reader, writer = await connect(endpoint)
        writer.write(b"pour\n")
        await reader.readexactly(1_000_000)
        server.kill()
        async with asyncio.timeout(5.0):
            with contextlib.suppress(ConnectionError):
                while await reader.read(1 << 20):
                    pass
        writer.close()
        failure = transport.failure_of(endpoint)
        assert failure is not None
        assert failure.phase is Phase.SSH
        assert "lost" in failure.message
        with pytest.raises(NodeError) as refused:
            await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        assert "Connection refused" in refused.value.message
        with pytest.raises(NodeError, match="next attempt in"):
            await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        server.start()
        transport.retry_now("a")
        assert await transport.endpoint(route("a", address), timeout_s=LIMIT_S) == endpoint
        assert await ask(endpoint) == "GENTLE"


async def test_a_driver_alone_brings_a_lost_connection_back(kit: SshKit) -> None:
    server = kit.sshd()
    async with kit.unix_server(shout) as address:
        with FaultProxy(server.port) as proxy:
            kit.know_as(server, proxy.port)
            async with kit.transport(a=kit.host(server, port=proxy.port)) as transport:
                endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
                assert await ask(endpoint) == "HELLO"
                proxy.cut()
                await until(lambda: transport.failure_of(endpoint) is not None or not _alive(transport))
                assert await ask(endpoint, "again") == "AGAIN"
                assert proxy.connections == 2


def _alive(transport: object) -> bool:
    return bool(transport._pool.live_links)  # type: ignore[attr-defined]


async def test_close_leaves_no_file_no_port_and_no_thread(kit: SshKit) -> None:
    before = set(threading.enumerate())
    server = kit.sshd()
    async with kit.unix_server(shout) as address, tcp_server(shout) as tcp:
        async with kit.transport(a=kit.host(server)) as transport:
            endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
            loopback = await transport.endpoint(route("a", tcp, tls=True), timeout_s=LIMIT_S)
            assert await ask(endpoint) == "HELLO"
            reader, writer = await connect(loopback)
            writer.write(b"open\n")
            assert await reader.readline() == b"OPEN\n"
            folder = Path(endpoint.host).parent
        assert not folder.exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", loopback.port), timeout=1.0)
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        await transport.close()
    await until(lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("ssh-")])
    await until(lambda: set(threading.enumerate()) <= before)
