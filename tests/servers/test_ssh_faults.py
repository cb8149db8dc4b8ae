"""SSH servers that hang, lie or vanish: an error that names the phase, in time; nothing else slows down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from console.errors import DeadlineError, NodeError, Phase
from console.transport import link as link_module
from console.transport import pool as pool_module
from console.transport.ssh import SshTransport
from tests.harness.faults import FaultProxy, silent_port, stopped
from tests.servers.ssh_kit import (
    LIMIT_S,
    SshKit,
    ask,
    black_hole,
    connect,
    kit,
    route,
    shout,
    tcp_server,
    until,
    watched_loop,
)

__all__ = ["kit"]  # a fixture
SHORT_S = 1.0
SLACK_S = 0.8
"""On a busy machine; the limit itself is what is tested."""


async def late(transport: SshTransport, host: str) -> DeadlineError:
    """Return the error of a host that must fail by its limit, having checked that it did."""
    start_s = time.monotonic()
    with pytest.raises(DeadlineError) as caught:
        await transport.run(host, ["true"], timeout_s=SHORT_S)
    assert time.monotonic() - start_s < SHORT_S + SLACK_S
    assert caught.value.phase is Phase.SSH
    assert caught.value.limit_s == pytest.approx(SHORT_S, abs=0.1)
    return caught.value


def attempt_threads() -> list[str]:
    """Threads of connections being made (paramiko's own have no better name)."""
    return [thread.name for thread in threading.enumerate() if type(thread).__name__ == "LinkTransport"]


async def test_an_sshd_that_is_stopped_fails_in_time_while_another_stays_fast(kit: SshKit) -> None:
    hung, fine = kit.sshd("hung"), kit.sshd("fine")
    async with (
        tcp_server(shout) as address,
        kit.transport(hung=kit.host(hung), fine=kit.host(fine)) as transport,
    ):
        endpoint = await transport.endpoint(route("fine", address), timeout_s=LIMIT_S)
        assert await ask(endpoint) == "HELLO"
        with stopped(hung):
            waiting = asyncio.create_task(late(transport, "hung"))
            worst_s = 0.0
            while not waiting.done():
                start_s = time.monotonic()
                assert await ask(endpoint) == "HELLO"
                worst_s = max(worst_s, time.monotonic() - start_s)
                await asyncio.sleep(0.02)
            error = await waiting
            assert "key exchange" in error.message
            assert worst_s < 0.5
            await until(lambda: len(attempt_threads()) == 1)  # that of `fine`
        transport.retry_now("hung")
        assert (await transport.run("hung", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_tcp_that_goes_nowhere_fails_in_time(kit: SshKit) -> None:
    server = kit.sshd()
    with black_hole() as port:
        async with kit.transport(a=kit.host(server, port=port)) as transport:
            error = await late(transport, "a")
            assert "connecting to" in error.message
            assert "firewall" in str(error.hint)


async def test_a_server_that_never_speaks_fails_in_time(kit: SshKit) -> None:
    server = kit.sshd()
    with silent_port() as port:
        async with kit.transport(a=kit.host(server, port=port)) as transport:
            await late(transport, "a")
            await until(lambda: not attempt_threads())


async def test_a_server_that_hangs_in_the_login_fails_in_time(kit: SshKit) -> None:
    """Sshd asks a command that does not answer whether the key is good."""
    account = kit.workshop.launcher.account.name
    server = kit.sshd(
        AuthorizedKeysFile="none",
        AuthorizedKeysCommand="/usr/bin/sleep 30",
        AuthorizedKeysCommandUser=account,
    )
    async with kit.transport(a=kit.host(server)) as transport:
        error = await late(transport, "a")
        assert "logging in with" in error.message
        await until(lambda: not attempt_threads())


async def test_a_server_that_hangs_in_the_key_exchange_fails_in_time(kit: SshKit) -> None:
    """The proxy lets the banner pass, and swallows what follows."""
    server = kit.sshd()
    with FaultProxy(server.port) as proxy:
        kit.know_as(server, proxy.port)
        async with kit.transport(a=kit.host(server, port=proxy.port)) as transport:
            with _swallowing_after(proxy, 0):
                assert "key exchange" in (await late(transport, "a")).message
            await until(lambda: not attempt_threads())
            transport.retry_now("a")
            assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


@contextlib.contextmanager
def _swallowing_after(proxy: FaultProxy, answer_bytes: int) -> Iterator[None]:
    passed = 0

    def take(size: int) -> int:
        nonlocal passed
        passed += size
        if passed > answer_bytes:
            proxy.black_hole = True
        return size

    proxy.take = take  # type: ignore[method-assign]
    try:
        yield
    finally:
        del proxy.take
        proxy.black_hole = False


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"), (b"", "closed the connection|Connection reset")],
)
async def test_something_that_is_no_ssh_server_is_named_so(
    kit: SshKit, greeting: bytes, expected: str
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting * 100)
        await writer.drain()
        if greeting:
            await reader.read()

    server = kit.sshd()
    async with (
        tcp_server(greet) as address,
        kit.transport(a=kit.host(server, port=address.port)) as transport,
    ):
        with pytest.raises(NodeError, match=expected) as caught:
            await transport.run("a", ["true"], timeout_s=LIMIT_S)
    assert caught.value.phase is Phase.SSH
    assert "SSH server" in str(caught.value.hint)


async def test_a_busy_sshd_that_turns_connections_away_is_named_so(kit: SshKit) -> None:
    server = kit.sshd(MaxStartups="1:100:1")
    with contextlib.ExitStack() as held:

        def takes_the_only_place() -> bool:
            link = socket.create_connection((server.host, server.port))
            if link.recv(3) == b"SSH":
                held.enter_context(link)
                return True
            link.close()
            return False

        await until(takes_the_only_place)
        async with kit.transport(a=kit.host(server)) as transport:
            with pytest.raises(NodeError, match="turns connections away") as caught:
                await transport.run("a", ["true"], timeout_s=LIMIT_S)
            assert "MaxStartups" in str(caught.value.hint)


async def test_many_dead_hosts_hold_up_no_living_one(kit: SshKit) -> None:
    """Far more hanging hosts than the executor has threads."""
    server = kit.sshd()
    with black_hole() as hole, silent_port() as mute:
        hosts = {f"dead{n}": kit.host(server, port=hole if n % 2 else mute) for n in range(40)}
        async with kit.transport(fine=kit.host(server), **hosts) as transport, watched_loop() as watch:
            dead = [asyncio.create_task(transport.run(name, ["true"], timeout_s=3.0)) for name in hosts]
            await asyncio.sleep(0.2)
            start_s = time.monotonic()
            assert (await transport.run("fine", ["true"], timeout_s=LIMIT_S)).exit_status == 0
            assert time.monotonic() - start_s < 1.5
            errors = await asyncio.gather(*dead, return_exceptions=True)
            assert all(isinstance(error, DeadlineError) for error in errors)
        assert watch.worst_s < 0.25


async def test_callers_that_come_together_share_one_attempt_and_its_failure(kit: SshKit) -> None:
    server = kit.sshd()
    with FaultProxy(server.port) as proxy:
        kit.know_as(server, proxy.port)
        async with kit.transport(a=kit.host(server, port=proxy.port)) as transport:
            with proxy.refusing():
                errors = await asyncio.gather(
                    *(transport.run("a", ["true"], timeout_s=LIMIT_S) for _ in range(5)),
                    return_exceptions=True,
                )
                assert all("Connection refused" in str(error) for error in errors)
            with pytest.raises(NodeError, match=r"next attempt in \d"):
                await transport.run("a", ["true"], timeout_s=LIMIT_S)
            assert proxy.connections == 0
            transport.retry_now("a")
            await asyncio.gather(*(transport.run("a", ["true"], timeout_s=LIMIT_S) for _ in range(5)))
            assert proxy.connections == 1


async def test_the_wait_between_attempts_grows(kit: SshKit, monkeypatch: pytest.MonkeyPatch) -> None:
    server = kit.sshd()
    server.kill()
    async with kit.transport(a=kit.host(server)) as transport:
        waits = []
        for _ in range(4):
            transport.retry_now("a")
            with pytest.raises(NodeError):
                await transport.run("a", ["true"], timeout_s=LIMIT_S)
            with pytest.raises(NodeError) as caught:
                await transport.run("a", ["true"], timeout_s=LIMIT_S)
            waits.append(float(caught.value.message.split("next attempt in ")[1].split()[0]))
        assert all(later > 1.15 * before for before, later in pairwise(waits))
        assert waits[0] <= 1.25


async def test_a_dead_network_is_noticed_without_any_traffic(
    kit: SshKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are shortened; a connection that only stays quiet must live."""
    monkeypatch.setattr(link_module, "PROBE_AFTER_S", 0.3)
    monkeypatch.setattr(pool_module, "DEAD_AFTER_S", 1.5)
    monkeypatch.setattr(pool_module, "_WATCH_S", 0.2)
    server = kit.sshd()
    with FaultProxy(server.port) as proxy:
        kit.know_as(server, proxy.port)
        async with (
            tcp_server(shout) as address,
            kit.transport(a=kit.host(server, port=proxy.port)) as transport,
        ):
            endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
            reader, writer = await connect(endpoint)
            writer.write(b"one\n")
            assert await reader.readline() == b"ONE\n"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    await reader.read()  # quiet for twice the limit, and alive
            writer.write(b"two\n")
            assert await reader.readline() == b"TWO\n"
            proxy.black_hole = True
            async with asyncio.timeout(5.0):
                assert await reader.read() == b""
            writer.close()
            failure = transport.failure_of(endpoint)
            assert failure is not None
            assert "dead: no answer" in failure.message
            proxy.black_hole = False
            assert await ask(endpoint, "back") == "BACK"


async def test_a_session_that_stalls_under_load_is_cut_and_frees_its_threads(
    kit: SshKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything up to the TCP buffers is full, so the connection's threads are stuck in sending."""
    monkeypatch.setattr(link_module, "PROBE_AFTER_S", 0.3)
    monkeypatch.setattr(pool_module, "DEAD_AFTER_S", 1.5)
    monkeypatch.setattr(pool_module, "_WATCH_S", 0.2)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 20):
            pass

    server = kit.sshd()
    async with tcp_server(swallow) as address, kit.transport(a=kit.host(server)) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        with socket.socket(socket.AF_UNIX) as near:
            near.connect(f"{endpoint.host}/.s.PGSQL.{endpoint.port}")
            near.setblocking(False)
            session = await transport.run("a", ["sh", "-c", "echo $PPID"], timeout_s=LIMIT_S)
            os.kill(int(session.stdout), signal.SIGSTOP)
            try:
                with pytest.raises((BrokenPipeError, ConnectionResetError)):
                    await asyncio.wait_for(fill(near), LIMIT_S)
            finally:
                os.kill(int(session.stdout), signal.SIGCONT)
        await until(lambda: not attempt_threads())
        assert "dead: no answer" in str(transport.failure_of(endpoint))


async def fill(near: socket.socket) -> None:
    """Send for ever."""
    while True:
        with contextlib.suppress(BlockingIOError):
            near.send(b"x" * 65_536)
        await asyncio.sleep(0.001)


def test_a_dead_link_is_noticed_within_15_seconds_by_default() -> None:
    assert pool_module.DEAD_AFTER_S + pool_module._WATCH_S <= 15.0
    assert 3 * link_module.PROBE_AFTER_S < pool_module.DEAD_AFTER_S


async def test_a_stuck_agent_costs_no_more_than_the_limit(
    kit: SshKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(os.environ["XDG_RUNTIME_DIR"]) / "stuck"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen(8)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        async with kit.transport(a=kit.host(kit.sshd())) as transport:
            error = await late(transport, "a")
            assert "keys" in error.message


async def test_a_cancelled_caller_goes_at_once_and_closing_ends_the_attempt(kit: SshKit) -> None:
    server = kit.sshd()
    with silent_port() as port:
        async with kit.transport(a=kit.host(server, port=port)) as transport:
            task = asyncio.create_task(transport.run("a", ["true"], timeout_s=30.0))
            await until(lambda: bool(attempt_threads()))
            start_s = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            waiting = asyncio.create_task(transport.run("a", ["true"], timeout_s=30.0))
            await asyncio.sleep(0.05)
            await transport.close()
            with pytest.raises(NodeError, match="clos"):
                await waiting
            assert time.monotonic() - start_s < 2.0
        await until(lambda: not attempt_threads())


async def test_the_event_loop_is_never_held_up_by_a_full_load(kit: SshKit) -> None:
    """40 MB through one tunnel, logins and commands beside it; the loop must turn all the time."""
    server, other = kit.sshd("one"), kit.sshd("two")

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(40):
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    def drain(path: str) -> int:
        with socket.socket(socket.AF_UNIX) as near:
            near.connect(path)
            count = 0
            while data := near.recv(1 << 20):
                count += len(data)
            return count

    async with (
        tcp_server(pour) as address,
        kit.transport(one=kit.host(server), two=kit.host(other)) as transport,
        watched_loop() as watch,
    ):
        endpoint = await transport.endpoint(route("one", address), timeout_s=LIMIT_S)
        received, *_ = await asyncio.gather(
            asyncio.to_thread(drain, f"{endpoint.host}/.s.PGSQL.{endpoint.port}"),
            *(transport.run("two", ["echo", str(n)], timeout_s=LIMIT_S) for n in range(10)),
            *(
                transport.run("one", ["head", "-c", "500000", "/dev/zero"], timeout_s=LIMIT_S)
                for _ in range(4)
            ),
        )
    assert received == 40_000_000
    assert watch.worst_s < 0.25
