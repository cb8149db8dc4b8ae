"""Turns a host name into addresses without blocking the event loop, and without delaying an exit.

libpq would look names up itself, blocking, and asyncio in threads that an exit waits for. Each look-up
here runs in its own daemon thread: a name server that hangs holds up nothing but its own look-up, not even
the end of the program. Look-ups of one name share one thread, so hung ones do not pile up.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

from console.errors import NodeError, Phase

_Key = tuple[asyncio.AbstractEventLoop, str]
_running: dict[_Key, asyncio.Future[tuple[str, ...]]] = {}


def is_address(host: str) -> bool:
    """Say whether `host` is an IP address already."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def addresses(host: str, *, where: str) -> tuple[str, ...]:
    """Return the addresses of `host` in the order the resolver prefers; at least one.

    Raises:
        NodeError: phase `connect`; the name is unknown or no name server answers.
    """
    if is_address(host):
        return (host,)
    loop = asyncio.get_running_loop()
    key = (loop, host)
    future = _running.get(key)
    if future is None:
        future = _running[key] = loop.create_future()
        future.add_done_callback(lambda done: _forget(key, done))
        threading.Thread(target=_look_up, args=(loop, future, host), name=f"dns {host}", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except OSError as failure:
        raise NodeError(
            Phase.CONNECT,
            f'the name "{host}" cannot be resolved: {failure.strerror or failure}',
            where=where,
            hint="check the `tcp` of this node and this machine's name servers",
        ) from None


def _forget(key: _Key, done: asyncio.Future[tuple[str, ...]]) -> None:
    _running.pop(key, None)
    if not done.cancelled():
        # Read here as well: everyone who asked may have run out of time by now.
        done.exception()


def _look_up(loop: asyncio.AbstractEventLoop, future: asyncio.Future[tuple[str, ...]], host: str) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        unique = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        outcome: tuple[str, ...] | OSError = unique or OSError("no address")
    except (OSError, UnicodeError) as failure:
        outcome = failure if isinstance(failure, OSError) else OSError(str(failure))
    try:
        loop.call_soon_threadsafe(_settle, future, outcome)
    except RuntimeError:
        return  # the loop was closed meanwhile: nobody waits any more


def _settle(future: asyncio.Future[tuple[str, ...]], outcome: tuple[str, ...] | OSError) -> None:
    if future.done():
        return
    if isinstance(outcome, OSError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
