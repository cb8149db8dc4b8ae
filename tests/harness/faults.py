"""Faults on the way to a server, each a context manager that mends what it broke.

`FaultProxy` stands between a client and a real server; the others act on the server itself.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from console.lab.ports import LOOPBACK, lease_port
from console.lab.server import Server

TICK_S = 0.02
CHUNK = 65_536


@contextlib.contextmanager
def killed(server: Server) -> Iterator[None]:
    """Kill a server with SIGKILL; start it again, on the same port, at the end."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Hold a server with SIGSTOP: its sockets accept, nothing answers."""
    with server.stopped():
        yield


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Give a loopback port on which nothing listens while the context lasts."""
    with lease_port() as lease:
        yield lease.number


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Give a loopback port that takes connections and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


class FaultProxy:
    """A TCP proxy on loopback whose faults are switched while connections run.

    Attributes:
        port: where it listens; the same after `refusing`.
        delay_s: how long every chunk of an answer is held back.
        cut_after: the connection is reset once this many bytes of answers went through, counted from when
            it was set; None: never.
        black_hole: True swallows everything in both directions; connections stay open.
        connections: how many were accepted so far.
    """

    def __init__(self, target_port: int, target_host: str = LOOPBACK) -> None:
        self.target = (target_host, target_port)
        self.delay_s = 0.0
        self.black_hole = False
        self.connections = 0
        self._budget: int | None = None
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._closing = threading.Event()
        self._listener: socket.socket | None = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._acceptor.start()

    @property
    def cut_after(self) -> int | None:
        return self._budget

    @cut_after.setter
    def cut_after(self, answer_bytes: int | None) -> None:
        self._budget = answer_bytes

    def cut(self) -> None:
        """Reset every connection that is open now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.reset.set()
        for link in links:
            link.join(timeout=5.0)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Close the listener and cut what is open; listen on the same port again at the end."""
        self._stop_listening()
        self.cut()
        try:
            yield
        finally:
            self._closing.clear()
            self._listener = socket.create_server((LOOPBACK, self.port))
            self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
            self._acceptor.start()

    def close(self) -> None:
        """Stop listening and cut everything."""
        self._stop_listening()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, size: int) -> int:
        """Return how many of `size` answer bytes may still pass."""
        with self._lock:
            if self._budget is None:
                return size
            allowed = min(size, self._budget)
            self._budget -= allowed
            return allowed

    def forget(self, link: _Link) -> None:
        """Drop a connection that has ended."""
        with self._lock:
            self._links.discard(link)

    def _stop_listening(self) -> None:
        self._closing.set()
        self._acceptor.join(timeout=5.0)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and not self._closing.is_set():
            if not select.select([listener], [], [], TICK_S)[0]:
                continue
            client, _ = listener.accept()
            self.connections += 1
            link = _Link(self, client)
            # Started under the lock: `cut` must never join one that does not run yet.
            with self._lock:
                self._links.add(link)
                link.start()


class _Link(threading.Thread):
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._client = client
        self.reset = threading.Event()

    def run(self) -> None:
        try:
            with self._client, socket.create_connection(self._proxy.target, timeout=5.0) as server:
                self._pump(server)
                if self.reset.is_set():
                    # SO_LINGER 0: the client sees a reset, as from a cable pulled or a host gone.
                    linger = struct.pack("ii", 1, 0)
                    self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except OSError:
            pass  # either side went away: that is what a proxy's connection ends with
        finally:
            self._proxy.forget(self)

    def _pump(self, server: socket.socket) -> None:
        while not self.reset.is_set():
            for source in select.select([self._client, server], [], [], TICK_S)[0]:
                data = source.recv(CHUNK)
                if not data:
                    return
                if self._proxy.black_hole:
                    continue
                if source is self._client:
                    server.sendall(data)
                    continue
                time.sleep(self._proxy.delay_s)
                allowed = self._proxy.take(len(data))
                self._client.sendall(data[:allowed])
                if allowed < len(data):
                    self.reset.set()
