"""The SSH connections of a program run: one for each hop chain, shared by all who need it.

Concurrent first users wait for the same attempt. After a failure the next attempt waits (exponential, with
jitter); who asks meanwhile gets the last error at once, and when it will be tried again. A jump host's
connection is shared by every host behind it. Runs in the event loop; nothing here blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass

from console.clock import Clock
from console.errors import DeadlineError, NodeError, Phase
from console.transport.dial import Progress, open_link
from console.transport.link import Link
from console.transport.ssh_config import Hop
from console.transport.workers import Workers

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
_STEADY_S = 10.0
"""A connection that lived so long was a good one: the next failure counts as the first."""
DEAD_AFTER_S = 13.0
"""A connection that gave no sign of life for so long is hung up: three questions went unanswered."""
_WATCH_S = 1.0
_JOIN_S = 2.0


def restate(error: NodeError, suffix: str = "") -> NodeError:
    """Return a fresh copy of a kept error, so that raising it again and again piles up no traceback."""
    fresh = type(error).__new__(type(error))
    fresh.__dict__.update(error.__dict__)
    fresh.message = error.message + suffix
    fresh.args = (fresh.message,)
    return fresh


def _is_cancelled_itself() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@dataclass(slots=True)
class _Attempt:
    """A connection being made; its deadline is that of the most patient caller."""

    task: asyncio.Task[Link]
    ends_s: float
    """Loop time."""
    limit_s: float


class Connection:
    """The one connection to a hop chain: made on demand, made again after a loss."""

    def __init__(self, hops: tuple[Hop, ...], via: Connection | None, workers: Workers, clock: Clock) -> None:
        self.hops = hops
        self.link: Link | None = None
        """The live connection, or the last one."""
        self._via = via
        self._workers = workers
        self._clock = clock
        self._attempt: _Attempt | None = None
        self._failures = 0
        self._retry_at_s = 0.0
        self._last_error: NodeError | None = None
        self._timeout: asyncio.Timeout | None = None

    @property
    def hop(self) -> Hop:
        """The hop this connection ends at."""
        return self.hops[-1]

    @property
    def where(self) -> str:
        """The hop, for people."""
        return f"{self.hop.name} ({self.hop.address})"

    @property
    def alive(self) -> bool:
        """True while a usable connection is there."""
        return self.link is not None and self.link.alive

    async def get(self, timeout_s: float, *, limit_s: float | None = None, force: bool = False) -> Link:
        """Return the live connection, making it when there is none.

        `limit_s` is the limit to speak of when `timeout_s` is only what is left of it. `force` tries at
        once, even when an earlier failure asks for patience.

        Raises:
            NodeError: phase `ssh`; DeadlineError when it took longer than `timeout_s`.
        """
        link = self.link
        if link is not None and link.alive:
            return link
        if self._attempt is None:
            wait_s = self._retry_at_s - self._clock.monotonic_s()
            if self._last_error is not None and wait_s > 0 and not force:
                raise restate(self._last_error, f" (next attempt in {wait_s:.1f} s)")
        limit_s = limit_s or timeout_s
        attempt = self._join(timeout_s, limit_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(attempt.task)
        except TimeoutError:
            said = f"no SSH connection within {limit_s:g} s"
            raise DeadlineError(Phase.SSH, said, limit_s=limit_s, where=self.where) from None
        except NodeError as error:
            raise restate(error) from None
        except asyncio.CancelledError:
            if attempt.task.cancelled() and not _is_cancelled_itself():
                raise NodeError(Phase.SSH, "the SSH connections are being closed", where=self.where) from None
            raise

    def retry_now(self) -> None:
        """Forget the backoff: the next `get` connects at once."""
        self._retry_at_s = 0.0
        if self._via is not None:
            self._via.retry_now()

    def _join(self, timeout_s: float, limit_s: float) -> _Attempt:
        # An attempt ends a little before its callers give up, so that they hear what took the time.
        ends_s = asyncio.get_running_loop().time() + timeout_s * 0.95
        attempt = self._attempt
        if attempt is None:
            task = asyncio.create_task(self._connect(), name=f"ssh-connect-{self.hop.name}")
            attempt = self._attempt = _Attempt(task, ends_s, limit_s)
            task.add_done_callback(self._ended)
        elif ends_s > attempt.ends_s:
            attempt.ends_s, attempt.limit_s = ends_s, limit_s
            if self._timeout is not None:
                self._timeout.reschedule(ends_s)
        return attempt

    async def _connect(self) -> Link:
        attempt = self._attempt
        limit_s = attempt.limit_s if attempt is not None else LONGEST_RETRY_S
        ends_s = attempt.ends_s if attempt is not None else asyncio.get_running_loop().time() + limit_s
        progress = Progress()
        try:
            async with asyncio.timeout_at(ends_s) as self._timeout:
                via = await self._jump(progress, limit_s)
                return await open_link(self.hops, via, self._workers, limit_s, progress)
        except TimeoutError:
            limit_s = attempt.limit_s if attempt is not None else limit_s
            raise DeadlineError(
                Phase.SSH,
                f"no SSH connection within {limit_s:g} s: the time went on {progress.stage}",
                limit_s=limit_s,
                where=self.where,
                hint=progress.hint,
            ) from None
        finally:
            self._timeout = None

    async def _jump(self, progress: Progress, limit_s: float) -> Link | None:
        if self._via is None:
            return None
        progress.stage = f"the jump host {self._via.hop.name}"
        try:
            return await self._via.get(limit_s)
        except NodeError as error:
            fresh = restate(error)
            fresh.where = f"{self.hop.name}, at its jump host {error.where or self._via.where}"
            raise fresh from None

    def _ended(self, task: asyncio.Task[Link]) -> None:
        self._attempt = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._take(task.result())
        elif isinstance(error, NodeError):
            self._failed(error)

    def _take(self, link: Link) -> None:
        self.link = link
        self._last_error = None
        self._retry_at_s = 0.0
        link.on_lost = lambda: self._lost(link)
        if not link.alive:
            self._lost(link)

    def _lost(self, link: Link) -> None:
        if link is not self.link:
            return
        if self._clock.monotonic_s() - link.since_s >= _STEADY_S:
            self._failures = 0

    def _failed(self, error: NodeError) -> None:
        self._last_error = restate(error)
        wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._retry_at_s = self._clock.monotonic_s() + wait_s * random.uniform(0.75, 1.25)

    async def close(self) -> None:
        """End the attempt and the connection."""
        if self._attempt is not None:
            self._attempt.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, NodeError):
                await self._attempt.task
        if self.link is not None:
            self.link.hang_up()


class Pool:
    """All connections, by hop chain, and the watch over them."""

    def __init__(self, workers: Workers, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._connections: dict[tuple[Hop, ...], Connection] = {}
        self._links: list[Link] = []
        self._watch: asyncio.Task[None] | None = None

    def connection(self, hops: tuple[Hop, ...]) -> Connection:
        """Return the connection to the end of `hops`, made known when it is new."""
        found = self._connections.get(hops)
        if found is None:
            via = self.connection(hops[:-1]) if len(hops) > 1 else None
            found = self._connections[hops] = Connection(hops, via, self._workers, self._clock)
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch(), name="ssh-watch")
        return found

    @property
    def live_links(self) -> tuple[Link, ...]:
        """Every live connection."""
        links = (connection.link for connection in self._connections.values())
        return tuple(link for link in links if link is not None and link.alive)

    async def _keep_watch(self) -> None:
        """Hang up what gives no sign of life; after a stop of the whole program, give it time to answer."""
        loop = asyncio.get_running_loop()
        patience_until_s = 0.0
        while True:
            slept_at_s = loop.time()
            await asyncio.sleep(_WATCH_S)
            now_s = loop.time()
            if now_s - slept_at_s > 3 * _WATCH_S:
                patience_until_s = now_s + DEAD_AFTER_S
            if now_s < patience_until_s:
                continue
            for link in self.live_links:
                if link.silent_s > DEAD_AFTER_S:
                    link.hang_up(
                        NodeError(
                            Phase.SSH,
                            f"the SSH connection is dead: no answer for {link.silent_s:.0f} s",
                            where=link.where,
                            hint="the host or the network between is down; it is tried again when needed",
                        )
                    )

    async def close(self) -> None:
        """End everything, hosts before their jump hosts, and wait for the threads' ends."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        connections = sorted(self._connections.values(), key=lambda one: -len(one.hops))
        self._connections = {}
        for connection in connections:
            await connection.close()
        for connection in connections:
            if connection.link is not None:
                await self._workers.run(connection.link.join, _JOIN_S)
