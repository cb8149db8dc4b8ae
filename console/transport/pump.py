"""The one thread of an SSH connection that writes to it: moves bytes between channels and local sockets.

Flows (`flows.py`) are state machines; the pump calls `step` when their socket or channel changed, or their
deadline passed. A flow never blocks but in sending to the SSH connection itself, which then concerns only
this connection: it ends when the connection is hung up. The event loop is never touched from here.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import paramiko

from console.errors import NodeError
from console.transport.wire import LinkTransport

_LOG = logging.getLogger(__name__)
READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
_IDLE_S = 30.0
"""The longest sleep when no flow has a deadline; everything that matters wakes the pump."""


_BROKEN = (OSError, EOFError, paramiko.SSHException)
"""What sending raises when the connection broke under it."""


class Flow(Protocol):
    """Something that lives on one channel. All methods run in the pump's thread."""

    @property
    def deadline_s(self) -> float | None:
        """Monotonic time at which `step` must run even though nothing happened; None for never."""
        ...

    @property
    def finished(self) -> bool:
        """True when the flow holds nothing any more."""
        ...

    def start(self, pump: Pump) -> None:
        """Begin; may send to the connection."""
        ...

    def step(self, ready: int) -> None:
        """Go on as far as possible; `ready` has READ and WRITE of the flow's socket."""
        ...

    def lose(self, error: NodeError) -> None:
        """The connection is gone: tell whoever waits and let go of everything."""
        ...


class Pump(threading.Thread):
    """Runs flows until its connection ends or `stop` is called."""

    def __init__(self, transport: LinkTransport, name: str, loss: Callable[[], NodeError]) -> None:
        """`loss` says why the connection ended; asked once, when it has."""
        super().__init__(name=f"ssh-pump-{name}", daemon=True)
        self.transport = transport
        self._loss = loss
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, READ)
        self._lock = threading.Lock()
        self._inbox: deque[Callable[[], None]] = deque()
        self._changed: set[Flow] = set()
        self._flows: set[Flow] = set()
        self._over = False

    @property
    def flow_count(self) -> int:
        """How many flows are alive; for people and tests."""
        return len(self._flows)

    def add(self, flow: Flow) -> None:
        """Start `flow` in the pump's thread; from any thread. After the end it is lost at once."""
        if not self.call(lambda: self._start(flow)):
            flow.lose(self._loss())

    def call(self, action: Callable[[], None]) -> bool:
        """Run `action` in the pump's thread; from any thread. False: the pump is over, nothing will run."""
        with self._lock:
            if self._over:
                return False
            self._inbox.append(action)
        self.wake()
        return True

    def changed(self, flow: Flow) -> None:
        """Have `flow` stepped soon; from any thread."""
        self._changed.add(flow)
        self.wake()

    def wake(self) -> None:
        """End the pump's sleep; from any thread."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it is over
            self._wake_out.send(b"\0")

    def watch(self, sock: socket.socket, flow: Flow, events: int) -> None:
        """Watch `sock` for `flow`; 0 ends it. In the pump's thread only."""
        known = self._selector.get_map().get(sock) if sock.fileno() >= 0 else None
        if known is None:
            if events:
                self._selector.register(sock, events, flow)
        elif not events:
            self._selector.unregister(sock)
        elif known.events != events:
            self._selector.modify(sock, events, flow)

    def run(self) -> None:
        """Pump until the connection ends."""
        try:
            while self.transport.is_active():
                self._turn()
        except Exception:
            # A mistake of ours must not end in a traceback on the user's screen, nor leave anyone waiting.
            _LOG.exception("the pump of an SSH connection failed: %s", self.name)
        finally:
            self._end()

    def _turn(self) -> None:
        ready: dict[Flow, int] = {}
        for key, events in self._selector.select(self._sleep_s()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(65_536)
            else:
                ready[key.data] = events
        while self._inbox:
            self._inbox.popleft()()
        while self._changed:
            ready.setdefault(self._changed.pop(), 0)
        now = time.monotonic()
        for flow in self._flows:
            if flow.deadline_s is not None and flow.deadline_s <= now:
                ready.setdefault(flow, 0)
        for flow, events in ready.items():
            if flow in self._flows:
                self._step(flow, events)

    def _sleep_s(self) -> float:
        if self._inbox or self._changed:
            return 0.0
        soonest = min((flow.deadline_s for flow in self._flows if flow.deadline_s is not None), default=None)
        return _IDLE_S if soonest is None else min(_IDLE_S, max(0.0, soonest - time.monotonic()))

    def _start(self, flow: Flow) -> None:
        self._flows.add(flow)
        try:
            flow.start(self)
        except _BROKEN:
            # The connection broke under the sender; the loop ends and `_end` tells every flow.
            self.transport.hang_up()
        if flow.finished:
            self._flows.discard(flow)

    def _step(self, flow: Flow, events: int) -> None:
        try:
            flow.step(events)
        except _BROKEN:
            self.transport.hang_up()
        if flow.finished:
            self._flows.discard(flow)

    def _end(self) -> None:
        with self._lock:
            self._over = True
        error = self._loss()
        while self._inbox:
            self._inbox.popleft()()
        for flow in tuple(self._flows):
            if not flow.finished:
                flow.lose(error)
        self._flows.clear()
        self.transport.hang_up()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
