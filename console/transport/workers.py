"""The transport's own threads: bounded, never the event loop's default executor and never Textual's.

Two pools: one for paramiko calls, files and agents, whose every task has a limit of its own; one for name
look-ups, which cannot be interrupted and must not take the others' threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_MAX_WORKERS = 8
_MAX_LOOK_UPS = 8
_P = ParamSpec("_P")
_R = TypeVar("_R")
Address = tuple[int, tuple[object, ...]]
"""An address family and what `connect` takes."""


class Workers:
    """Runs what blocks. One for a transport."""

    def __init__(self) -> None:
        self._calls = ThreadPoolExecutor(_MAX_WORKERS, thread_name_prefix="ssh-work")
        self._names = ThreadPoolExecutor(_MAX_LOOK_UPS, thread_name_prefix="ssh-name")
        self._looking: dict[tuple[str, int], Future[Sequence[Address]]] = {}

    def submit(self, call: Callable[[], _R]) -> Future[_R]:
        """Start `call` without a running event loop."""
        return self._calls.submit(call)

    async def run(
        self, call: Callable[..., _R], *args: object, discard: Callable[[_R], None] | None = None
    ) -> _R:
        """Return `call(*args)`, run in a thread. When the caller is cancelled, `discard` gets the result."""
        future = self._calls.submit(call, *args)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if discard is not None:
                future.add_done_callback(lambda done: _discard(done, discard))
            raise

    async def look_up(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of `host`; a numeric one needs no thread.

        A look-up that hangs is shared by all who ask for the same name, so one name holds one thread.

        Raises:
            OSError: the name cannot be looked up.
        """
        with contextlib.suppress(OSError):
            return _addresses(host, port, socket.AI_NUMERICHOST)
        key = (host, port)
        future = self._looking.get(key)
        if future is None:
            future = self._names.submit(_addresses, host, port, 0)
            self._looking[key] = future
            future.add_done_callback(lambda _: self._looking.pop(key, None))
        return await asyncio.shield(asyncio.wrap_future(future))

    def stop(self) -> None:
        """Take no more work; threads end when their task does."""
        for pool in (self._calls, self._names):
            pool.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int, flags: int) -> Sequence[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _discard(done: Future[_R], discard: Callable[[_R], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        discard(done.result())
