"""What the SSH tests share: a transport for some sshds, far ends to talk to, a watch on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from console.clock import SystemClock
from console.config.schema import Host
from console.lab.sshd import SshServer
from console.transport.base import Endpoint, Route, TcpAddress, UnixAddress
from console.transport.ssh import SshTransport
from tests.harness.servers import MakeSshd, Workshop

LIMIT_S = 10.0
"""For what must work; generous, since the machine may be busy."""
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class SshKit:
    """One test's sshds, known_hosts and transports."""

    workshop: Workshop
    make_sshd: MakeSshd
    home: Path
    runtime: Path

    @property
    def known_hosts(self) -> Path:
        return self.home / "known_hosts"

    @property
    def config_file(self) -> Path:
        return self.home / "ssh_config"

    def sshd(self, name: str = "host", **settings: str) -> SshServer:
        """Start an sshd whose key is known."""
        server = self.make_sshd(name, port=None, start=True, **settings)
        self.know(server)
        return server

    def know(self, server: SshServer) -> None:
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.write(server.known_hosts_line)

    def know_as(self, server: SshServer, port: int) -> None:
        """Make the server's key known for another port, such as a proxy's."""
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"[{server.host}]:{port} {server.host_key.public}\n")

    def host(self, server: SshServer, **changes: object) -> Host:
        values: dict[str, object] = {
            "hostname": server.host,
            "port": server.port,
            "user": server.user,
            "identity_file": self.make_sshd.user_key.path,
            "known_hosts_file": self.known_hosts,
            "proxy_jump": "none",
        }
        return Host.model_validate({**values, **changes})

    def alias(self, name: str) -> Host:
        """A host about which the inventory says nothing but its name in the configuration file."""
        return Host(hostname=name)

    @contextlib.asynccontextmanager
    async def transport(self, **hosts: Host) -> AsyncIterator[SshTransport]:
        if not self.config_file.exists():
            self.config_file.write_text("", encoding="utf-8")
        made = SshTransport(
            hosts, clock=SystemClock(), runtime_dir=self.runtime, ssh_config_file=self.config_file
        )
        try:
            yield made
        finally:
            await made.close()

    @contextlib.asynccontextmanager
    async def unix_server(self, handler: Handler, port: int = 6432) -> AsyncIterator[UnixAddress]:
        """Serve `handler` on a real Unix socket that the sshds' account may open."""
        folder = self.workshop.place("sock")
        folder.mkdir(mode=0o755)
        address = UnixAddress(str(folder), port)
        far = _FarEnd(handler)
        server = await asyncio.start_unix_server(far, address.path)
        os.chmod(address.path, 0o777)
        async with server:
            try:
                yield address
            finally:
                await far.end()


@pytest.fixture
def kit(workshop: Workshop, make_sshd: MakeSshd, tmp_path: Path) -> SshKit:
    """A kit for one test; import it to use it."""
    runtime = Path(os.environ["XDG_RUNTIME_DIR"]) / "pooldeck"
    return SshKit(workshop, make_sshd, tmp_path, runtime)


@contextlib.asynccontextmanager
async def tcp_server(handler: Handler, port: int = 0) -> AsyncIterator[TcpAddress]:
    """Serve `handler` on a loopback port; 0 takes any."""
    far = _FarEnd(handler)
    server = await asyncio.start_server(far, "127.0.0.1", port)
    async with server:
        try:
            yield TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])
        finally:
            await far.end()


class _FarEnd:
    """Runs a handler for each connection, and ends them all when the test is over."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._running: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await self._handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every line in capitals."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()


async def connect(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as libpq would."""
    if endpoint.host.startswith("/"):
        return await asyncio.open_unix_connection(f"{endpoint.host}/.s.PGSQL.{endpoint.port}")
    return await asyncio.open_connection(endpoint.hostaddr or endpoint.host, endpoint.port)


async def ask(endpoint: Endpoint, text: str = "hello") -> str:
    """Send one line and return the answer; "" when the far end hung up."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await connect(endpoint)
        try:
            writer.write(f"{text}\n".encode())
            await writer.drain()
            return (await reader.readline()).decode().strip()
        except ConnectionError:
            return ""
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def until(check: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Return when `check` is true; fails the test after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not check():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


def route(host: str | None, address: TcpAddress | UnixAddress, *, tls: bool = False) -> Route:
    return Route(host, address, tls)


def logged_connections(server: SshServer) -> int:
    """How many TCP connections an sshd has seen log in."""
    return server.log_path.read_text(encoding="utf-8", errors="replace").count("Accepted publickey")


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a loopback port whose TCP handshake never ends: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@dataclass
class LoopWatch:
    """The longest time the event loop did not turn."""

    worst_s: float = 0.0


@contextlib.asynccontextmanager
async def watched_loop() -> AsyncIterator[LoopWatch]:
    """Tick every 5 ms and note the longest gap."""
    watch = LoopWatch()
    loop = asyncio.get_running_loop()

    async def tick() -> None:
        last_s = loop.time()
        while True:
            await asyncio.sleep(0.005)
            now_s = loop.time()
            watch.worst_s, last_s = max(watch.worst_s, now_s - last_s), now_s

    task = asyncio.create_task(tick())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
