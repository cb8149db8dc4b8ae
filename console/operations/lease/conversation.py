"""What a run says to its guardian, and hears of it: a lease in force.

Both ends of the socket pair are watched: when this process dies in whatever way, the kernel closes our end,
and that is what the guardian acts on; when the guardian dies, `lost` is set at once. What is said goes into
the kernel's buffer before `expose` returns, so nothing can reach a pooler that the guardian has not heard of.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from console.errors import NodeError, Phase
from console.operations.lease.base import HEARTBEAT_S, SILENCE_LIMIT_S, LeaseOrder, Tell
from console.operations.lease.protocol import (
    Arming,
    Beat,
    Bye,
    Done,
    Ending,
    Expose,
    Failed,
    HandOver,
    Held,
    Hello,
    Lines,
    Message,
    News,
    ProtocolError,
    Ready,
    Release,
    encode,
)
from console.operations.lease.store import LeaseStore
from console.operations.target import Target

ANSWER_LIMIT_S = 8.0
"""For what the guardian does when asked; a keeper is told over SSH."""
CLOSE_LIMIT_S = 8.0
"""How long a guardian that has nothing left to do may take to end."""
_CHUNK_BYTES = 65_536


class GuardianLease:
    """A lease in force; a `Lease`. Made by `GuardianLeases.arm`."""

    def __init__(
        self,
        order: LeaseOrder,
        tell: Tell,
        link: socket.socket,
        pid: int,
        store: LeaseStore | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Take over one end of a socket pair.

        Args:
            order: what is to be guarded.
            tell: is told what the guardian reports of a target.
            link: to the guardian.
            pid: the guardian's process.
            store: the lease files; of a guardian that died it is this process that knows how all ended.
            progress: is told how far arming is.
        """
        self.lost = asyncio.Event()
        self.uncovered: Mapping[Target, str] = {}
        self.notes: tuple[str, ...] = ()
        self._order = order
        self._tell = tell
        self._link = link
        self._store = store
        self._progress = progress
        self.pid = pid
        """The guardian's process."""
        self._places = {cover.target: place for place, cover in enumerate(order.covers)}
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._gone = asyncio.Event()
        """The other end is closed."""
        self._open: set[int] = set()
        """Exposed and not released."""
        self._heard_s = self._loop.time()
        self._handed_over = False
        self._closing = False
        self._beating: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """See `Lease.id`."""
        return self._order.lease_id

    async def begin(self, hello: Hello) -> None:
        """Give the order and wait until the guardian stands by.

        Raises:
            NodeError: it does not.
        """
        try:
            await self._loop.sock_sendall(self._link, encode(hello))
        except (OSError, ProtocolError) as error:
            raise NodeError(Phase.CONNECT, f"the guardian did not take its order: {error}") from error
        self._loop.add_reader(self._link, self._read)
        ready = await self._ready
        self.uncovered = {self._order.covers[place].target: text for place, text in ready.uncovered}
        self.notes = ready.notes
        self._heard_s = self._loop.time()
        self._beating = asyncio.create_task(self._beat(), name=f"lease {self.id}")

    def expose(self, targets: Sequence[Target]) -> None:
        """See `Lease.expose`."""
        # What the guardian said while we could not listen, e.g. while stopped, counts before this.
        self._read()
        if self.lost.is_set():
            raise NodeError(Phase.PROTOCOL, "the guardian is gone, or has ended the lease")
        for target in targets:
            if target in self.uncovered:
                raise NodeError(Phase.PROTOCOL, f"{target} is not covered: {self.uncovered[target]}")
        places = self._places_of(targets)
        self._send(Expose(places))
        self._open.update(places)

    def held(self, targets: Sequence[Target]) -> None:
        """See `Lease.held`."""
        with contextlib.suppress(NodeError):
            self._send(Held(self._places_of(targets)))

    async def release(self, targets: Sequence[Target]) -> None:
        """See `Lease.release`."""
        places = self._places_of(targets)
        self._open.difference_update(places)
        with contextlib.suppress(NodeError, TimeoutError):
            await self._ask(lambda number: Release(places, number))

    async def hand_over(self, hold_s: float) -> None:
        """See `Lease.hand_over`."""
        try:
            await self._ask(lambda number: HandOver(hold_s, number))
        except TimeoutError:
            raise NodeError(
                Phase.PROTOCOL, f"the guardian did not answer within {ANSWER_LIMIT_S:g} s"
            ) from None
        self._handed_over = True

    async def close(self) -> None:
        """See `Lease.close`. A guardian with nothing left to do is waited for, `CLOSE_LIMIT_S` at most."""
        if self._closing:
            return
        self._closing = True
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if not self._handed_over:
            with contextlib.suppress(NodeError):
                self._send(Bye())
            if not self._open:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_LIMIT_S):
                        await self._gone.wait()
                await asyncio.to_thread(self._forget)
        self.abandon()

    def abandon(self) -> None:
        """Close the conversation at once: what is exposed is lifted. Safe to call often."""
        self._closing = True
        if self._beating is not None:
            self._beating.cancel()
        if self._link.fileno() >= 0:
            self._loop.remove_reader(self._link)
            self._link.close()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # looked at, whoever waited for it or not
        self._ready.cancel()

    # -- inside -------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Remove the file of a guardian that died: everything was seen running again, or never touched."""
        record = self._store.read(self.id) if self._store is not None else None
        if self._store is None or record is None or record.unrecorded or record.guardian_alive is not False:
            return
        with contextlib.suppress(OSError):  # then `mend` finds it
            self._store.forget(self.id)

    def _places_of(self, targets: Sequence[Target]) -> tuple[int, ...]:
        return tuple(self._places[target] for target in targets)

    async def _beat(self) -> None:
        """Say that we live, and see whether the guardian does."""
        while not self.lost.is_set():
            with contextlib.suppress(NodeError):
                self._send(Beat())
            slept_s = self._loop.time()
            await asyncio.sleep(HEARTBEAT_S)
            now_s = self._loop.time()
            if now_s - slept_s > 3 * HEARTBEAT_S:
                # We were stopped ourselves: what it said meanwhile is read first.
                self._heard_s = now_s
            if now_s - self._heard_s > SILENCE_LIMIT_S:
                self._lose(f"the guardian has said nothing for {SILENCE_LIMIT_S:g} s")

    def _send(self, message: Message) -> None:
        """Put a message into the kernel's buffer, also to a guardian that has ended the lease.

        Raises:
            NodeError: there is none.
        """
        if self._gone.is_set() or self._link.fileno() < 0:
            raise NodeError(Phase.PROTOCOL, "the guardian is gone")
        data = encode(message)
        try:
            sent = self._link.send(data)
        except OSError as error:
            # Also when the buffer is full: then it has not listened for a long time.
            self._lose(f"the guardian cannot be reached: {error.strerror or error}")
        else:
            if sent == len(data):
                return
            self._lose("the guardian does not listen")
        raise NodeError(Phase.PROTOCOL, "the guardian is gone")

    async def _ask(self, make: Callable[[int], Message]) -> None:
        """Ask for something and wait until it is done.

        Raises:
            NodeError: the guardian is gone. TimeoutError: no answer.
        """
        number = self._number = self._number + 1
        answer = self._asked[number] = self._loop.create_future()
        try:
            self._send(make(number))
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await answer
        finally:
            del self._asked[number]
            if answer.done() and not answer.cancelled():
                answer.exception()

    def _read(self) -> None:
        """Take what has come, without waiting."""
        while self._link.fileno() >= 0 and not self._gone.is_set():
            try:
                data = self._link.recv(_CHUNK_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone.set()
                self._loop.remove_reader(self._link)
                self._lose("the guardian has ended")
                return
            try:
                for message in self._lines.feed(data):
                    self._hear(message)
            except ProtocolError as error:
                self._lose(f"the guardian cannot be understood: {error}")
                return

    def _hear(self, message: Message) -> None:
        self._heard_s = self._loop.time()
        match message:
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(message)
            case Arming(text):
                if self._progress is not None:
                    self._progress(text)
            case Failed(reason):
                self._lose(reason)
            case Done(number):
                answer = self._asked.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(None)
            case News(cover, text):
                self._tell(str(self._order.covers[cover].target), f"guardian: {text}")
            case Ending(reason):
                if not self._closing:
                    # It took us for dead: that we are not is the last thing it has to know of us.
                    with contextlib.suppress(NodeError):
                        self._send(Beat())
                self._lose(f"the guardian ends the lease: {reason}")
            case _:
                return

    def _lose(self, reason: str) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        error = NodeError(Phase.CONNECT, reason)
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._asked.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)
        if self._beating is not None and not self._closing:
            self._tell(self._order.fleet, reason)
