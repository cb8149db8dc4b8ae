"""One live SSH connection: its paramiko transport, its pump, and what can be done over it.

Made by `dial.open_link`. Every method is called from the event loop and returns without blocking it; what
waits is a coroutine with a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import CommandResult, TcpAddress, UnixAddress
from console.transport.flows import CommandFlow, ForwardFlow, Target
from console.transport.pump import Pump
from console.transport.ssh_config import Hop
from console.transport.wire import LinkTransport

PROBE_AFTER_S = 4.0
"""A connection silent for so long is asked for a sign of life, and again after as long."""
MAX_COMMANDS = 4
"""Commands at once on one connection. sshd allows 10 sessions (MaxSessions), and a session that ended still
counts until its next turn, so as many again may be on their way out."""
_T = TypeVar("_T")


class Link:
    """A connection that was logged in to; once lost it stays lost, and `error` says why."""

    def __init__(self, hop: Hop, transport: LinkTransport, loop: asyncio.AbstractEventLoop) -> None:
        self.hop = hop
        self.since_s = time.monotonic()
        """Monotonic: when it was made."""
        self.error: NodeError | None = None
        self.on_lost: Callable[[], None] = lambda: None
        """Called in the event loop when the connection is gone."""
        self._transport = transport
        self._loop = loop
        self._commands = asyncio.Semaphore(MAX_COMMANDS)
        self._pongs: list[asyncio.Future[None]] = []
        self._pump = Pump(transport, hop.name, self._loss)
        transport.on_end = self._ended
        transport.on_probe_answer = lambda: self._to_loop(self._pong)
        transport.probe_when_quiet(PROBE_AFTER_S)
        self._pump.start()
        if not transport.is_active():
            self._ended()

    @property
    def alive(self) -> bool:
        """True until the connection is known to be lost."""
        return self.error is None and self._transport.is_active()

    @property
    def where(self) -> str:
        """The hop, for people."""
        return f"{self.hop.name} ({self.hop.address})"

    @property
    def silent_s(self) -> float:
        """Seconds since a packet last came."""
        return time.monotonic() - self._transport.packetizer.last_read_s

    def forward(
        self,
        near: socket.socket,
        address: TcpAddress | UnixAddress,
        *,
        limit_s: float,
        on_dialled: Callable[[NodeError | None], None],
        on_lost: Callable[[NodeError], None],
    ) -> None:
        """Join `near`, which is taken over, to `address`. The callbacks come from another thread."""
        target = Target(address, self.hop.name, self.hop.user)
        self._pump.add(ForwardFlow(near, target, limit_s=limit_s, on_dialled=on_dialled, on_lost=on_lost))

    async def dial(self, address: TcpAddress, *, limit_s: float) -> socket.socket:
        """Return a local socket that is joined to `address`, as seen from this hop.

        Raises:
            NodeError: phase `tunnel`, or `ssh` when the connection is lost meanwhile.
        """
        ours, theirs = socket.socketpair()
        done: asyncio.Future[NodeError | None] = self._loop.create_future()

        def tell(error: NodeError | None) -> None:
            self._to_loop(lambda: _settle(done, error))

        self.forward(theirs, address, limit_s=limit_s, on_dialled=tell, on_lost=lambda _: None)
        try:
            error = await done
        except BaseException:
            ours.close()
            raise
        if error is not None:
            ours.close()
            raise error
        return ours

    async def run(
        self, command: str, *, stdin: bytes, max_output_bytes: int, timeout_s: float, limit_s: float
    ) -> CommandResult:
        """Run `command` by the far login shell; when it is late, or the caller cancels, it is killed there.

        `limit_s` is the limit to speak of when `timeout_s` is what is left of it.

        Raises:
            NodeError: phase `ssh`; DeadlineError when it did not end within `timeout_s`.
        """
        done: asyncio.Future[CommandResult | NodeError] = self._loop.create_future()
        flow = CommandFlow(
            command,
            stdin=stdin,
            max_output_bytes=max_output_bytes,
            where=self.where,
            on_end=lambda outcome: self._to_loop(lambda: _settle(done, outcome)),
        )
        try:
            async with asyncio.timeout(timeout_s), self._commands:
                self._pump.add(flow)
                outcome = await done
        except TimeoutError:
            raise DeadlineError(
                Phase.SSH,
                f"the command did not end within {limit_s:g} s and was stopped",
                limit_s=limit_s,
                where=self.where,
            ) from None
        finally:
            if not done.done() or done.cancelled():
                self._pump.call(flow.cancel)
        if isinstance(outcome, NodeError):
            raise outcome
        return outcome

    async def ping(self, timeout_s: float) -> float:
        """Return the round trip to the SSH server in seconds.

        Raises:
            DeadlineError: phase `ssh`.
        """
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        start = time.monotonic()
        self._pump.call(self._transport.probe)
        try:
            async with asyncio.timeout(timeout_s):
                await pong
        except TimeoutError:
            raise DeadlineError(
                Phase.SSH,
                f"the SSH server is silent for {timeout_s:g} s",
                limit_s=timeout_s,
                where=self.where,
            ) from None
        finally:
            if pong in self._pongs:
                self._pongs.remove(pong)
        return time.monotonic() - start

    def hang_up(self, error: NodeError | None = None) -> None:
        """End the connection without waiting; `error` is what its users are told."""
        if self.error is None:
            self.error = error or NodeError(Phase.SSH, "the SSH connection was closed", where=self.where)
        self._transport.hang_up()
        self._pump.wake()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the connection's threads; blocks. False: one still runs."""
        threads = (self._transport, self._pump)
        for thread in threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in threads)

    def _loss(self) -> NodeError:
        if self.error is None:
            said = self._transport.disconnect_reason
            self.error = NodeError(
                Phase.SSH,
                "the SSH connection was lost" + (f": {said}" if said else ""),
                where=self.where,
                hint="it is made again when it is next needed",
            )
        return self.error

    def _ended(self) -> None:
        self._pump.wake()
        self._to_loop(self._lost)

    def _lost(self) -> None:
        self._loss()
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(self._loss())
        self.on_lost()

    def _pong(self) -> None:
        for pong in self._pongs:
            if not pong.done():
                pong.set_result(None)

    def _to_loop(self, action: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(action)


def _settle(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)
