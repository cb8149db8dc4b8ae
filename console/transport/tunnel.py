"""The near end of a tunnel: a local listening socket, each of whose connections is forwarded over SSH.

A near end lives from the first `endpoint()` for its route until the transport is closed, also while its
SSH connection is down: a driver that connects then makes it come back, or is hung up on and can ask
`failure` why. Accepting is the event loop's; moving bytes is the pump's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from console.errors import NodeError, Phase
from console.transport.base import Endpoint, Route, UnixAddress
from console.transport.link import Link

LOOPBACK = "127.0.0.1"
_BACKLOG = 128
_ACCEPTS_A_TURN = 16
_REST_S = 1.0
"""How long accepting rests after the process ran out of file descriptors."""


class Tunnel:
    """One near end and the far address it stands for."""

    def __init__(
        self,
        route: Route,
        listener: socket.socket,
        endpoint: Endpoint,
        folder: Path | None,
        reach: Callable[[Route, float], Awaitable[Link]],
    ) -> None:
        """`reach` returns a live link for the route within so many seconds, or raises NodeError."""
        self.route = route
        self.endpoint = endpoint
        self.failure: NodeError | None = None
        """Why the far end could last not be reached, or was lost; None when it could."""
        self.timeout_s = 5.0
        """For reaching the far end of one connection; as the latest caller of `endpoint()` wants it."""
        self._listener = listener
        self._folder = folder
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                near, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self.failure = NodeError(
                    Phase.TUNNEL,
                    f"the near end cannot accept: {error.strerror or error}",
                    where=str(self.route.address),
                )
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_REST_S, self._accept_again)
                return
            task = self._loop.create_task(self._join(near), name=f"tunnel-{self.route.address}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _accept_again(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _join(self, near: socket.socket) -> None:
        limit_s = self.timeout_s
        try:
            link = await self._reach(self.route, limit_s)
        except NodeError as error:
            self.failure = error
            near.close()
        except BaseException:
            near.close()
            raise
        else:
            link.forward(
                near,
                self.route.address,
                limit_s=limit_s,
                on_dialled=self._dialled,
                on_lost=self._dialled,
            )

    def _dialled(self, error: NodeError | None) -> None:
        """Keep the outcome. The pump calls it before it closes the near side, so nobody asks too early."""
        self.failure = error

    def close(self) -> None:
        """Stop listening and remove the near end. Connections through it end with their link."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / socket_name(self.endpoint.port)).unlink(missing_ok=True)
                self._folder.rmdir()


def socket_name(port: int) -> str:
    """Return the file name libpq looks for in a socket directory."""
    return f".s.PGSQL.{port}"


def listen_unix(route: Route, folder: Path) -> tuple[socket.socket, Endpoint]:
    """Listen on a Unix socket in `folder` (0700 already); the port is the far one, so people recognise it.

    Raises:
        OSError: the socket cannot be made.
    """
    address = route.address
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = folder / socket_name(address.port)
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener, Endpoint(str(folder), address.port)


def listen_loopback(route: Route) -> tuple[socket.socket, Endpoint]:
    """Listen on a free loopback port; `host` of the endpoint is the name that TLS verifies.

    Raises:
        OSError: no port can be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind((LOOPBACK, 0))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    port: int = listener.getsockname()[1]
    if isinstance(route.address, UnixAddress):
        return listener, Endpoint(LOOPBACK, port)
    return listener, Endpoint(route.address.host, port, hostaddr=LOOPBACK)
