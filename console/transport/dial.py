"""One attempt to reach one hop: TCP (or a channel of the jump host), key exchange, host key, login.

The waits are the event loop's, so an attempt that hangs holds no thread of the executor; only reading
files, key derivation and the agent are done there, one at a time for each attempt. Cancelling the attempt
ends it at any point. The caller sets the deadline; `Progress.stage` says what it was spent on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from console.errors import NodeError, Phase
from console.transport.base import TcpAddress
from console.transport.keys import Candidate, Keyring, load_keys
from console.transport.known_hosts import KnownHosts
from console.transport.link import Link
from console.transport.ssh_config import Hop
from console.transport.wire import LinkTransport
from console.transport.workers import Workers

_TURNED_AWAY = ("Exceeded MaxStartups", "Not allowed at this time")
"""What OpenSSH says instead of its banner to a connection it has no time for: sshd.c, drop_connection."""


@dataclass(slots=True)
class Progress:
    """Where an attempt is, for the message when its time is up."""

    stage: str = "the start of the attempt"
    hint: str | None = None


class _LoopEvent(threading.Event):
    """An event that paramiko sets in its thread and the event loop waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._seen = asyncio.Event()

    def set(self) -> None:
        super().set()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._seen.set)

    async def seen(self) -> None:
        await self._seen.wait()


async def open_link(
    hops: tuple[Hop, ...], via: Link | None, workers: Workers, limit_s: float, progress: Progress
) -> Link:
    """Reach the last of `hops`, through `via` (the hop before it) when there is one, and log in.

    `limit_s` bounds the agent's answers and the jump host's dialling; the whole is bounded by the caller.

    Raises:
        NodeError: phase `ssh`.
    """
    hop = hops[-1]
    progress.stage = "reading known_hosts"
    known = await workers.run(KnownHosts.load, hop, hops[:-1])
    if via is None:
        sock = await _connect(hop, workers, limit_s, progress)
    else:
        sock = await _connect_via(hop, via, limit_s, progress)
    transport: LinkTransport | None = None
    try:
        transport = LinkTransport(sock)
        transport.banner_timeout = transport.auth_timeout = limit_s + 60.0  # the caller's deadline rules
        transport.prefer_host_keys(known.algorithms)
        await _exchange_keys(hop, transport, progress)
        host_key = transport.get_remote_server_key()
        known.check(host_key.get_name(), host_key.asbytes())
        await _log_in(hop, transport, workers, limit_s, progress)
    except BaseException:
        if transport is not None:
            transport.hang_up()
        sock.close()
        raise
    return Link(hop, transport, asyncio.get_running_loop())


def _fault(hop: Hop, message: str, hint: str | None = None) -> NodeError:
    return NodeError(Phase.SSH, message, where=f"{hop.name} ({hop.address})", hint=hint)


async def _connect_via(hop: Hop, via: Link, limit_s: float, progress: Progress) -> socket.socket:
    progress.stage = f"the jump host {via.hop.name} connecting to {hop.hostname}:{hop.port}"
    try:
        return await via.dial(TcpAddress(hop.hostname, hop.port), limit_s=limit_s)
    except NodeError as error:
        raise _fault(
            hop, f"the jump host {via.hop.name} cannot reach it: {error.message}", error.hint
        ) from error


async def _connect(hop: Hop, workers: Workers, limit_s: float, progress: Progress) -> socket.socket:
    progress.stage = f"looking up {hop.hostname}"
    try:
        found = await workers.look_up(hop.hostname, hop.port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _fault(
            hop,
            f"the name {hop.hostname!r} cannot be looked up: {why}",
            "check HostName, or hostname in [hosts]",
        ) from error
    progress.stage = f"connecting to {hop.hostname}:{hop.port}"
    progress.hint = "the host is down, or a firewall drops the packets"
    deadline_s = asyncio.get_running_loop().time() + limit_s
    problem: OSError | None = None
    for number, (family, address) in enumerate(found):
        left_s = max(0.05, deadline_s - asyncio.get_running_loop().time()) / (len(found) - number)
        try:
            return await _connect_one(family, address, left_s if number + 1 < len(found) else None)
        except OSError as error:
            problem = error
    # asyncio words the error itself and keeps only the number of the system's.
    why = os.strerror(problem.errno) if problem is not None and problem.errno else "no answer in time"
    hint = f"check that sshd listens on port {hop.port} there"
    raise _fault(hop, f"TCP connect failed: {why}", hint) from problem


async def _connect_one(family: int, address: tuple[object, ...], limit_s: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(limit_s):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _exchange_keys(hop: Hop, transport: LinkTransport, progress: Progress) -> None:
    progress.stage = "the key exchange"
    progress.hint = (
        "it accepts connections but does not speak SSH in time: is it an SSH server, is it overloaded?"
    )
    event = _LoopEvent()
    transport.start_client(event=event)
    await event.seen()
    if transport.is_active() and transport.initial_kex_done:
        progress.hint = None
        return
    error = transport.get_exception()
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        raise _fault(
            hop, f"no common algorithm: {error}", "its sshd is too old or limited to newer ones"
        ) from error
    if transport.remote_version:
        said = transport.disconnect_reason or _words(error)
        raise _fault(hop, f"the key exchange failed: {said}") from error
    line = transport.packetizer.first_line
    if line and line.startswith(_TURNED_AWAY):
        raise _fault(
            hop,
            f"the SSH server turns connections away: {line[:80]}",
            "it is busy; see MaxStartups in its sshd_config",
        ) from error
    if line and not line.startswith("SSH-"):
        raise _fault(
            hop, f"it is no SSH server: it says {line[:80]!r}", "check the port: is an SSH server there?"
        ) from error
    said = _words(error).removeprefix("Error reading SSH protocol banner").strip()
    raise _fault(
        hop,
        f"no SSH banner: {said or 'it closed the connection'}",
        "is this an SSH server? One that is busy drops new connections (MaxStartups)",
    ) from error


async def _log_in(
    hop: Hop, transport: LinkTransport, workers: Workers, limit_s: float, progress: Progress
) -> None:
    progress.stage = "reading the keys to log in with"
    ring: Keyring = await workers.run(load_keys, hop, limit_s, discard=Keyring.close)
    try:
        if not ring.candidates:
            raise _no_login(hop, [], ring.notes, None)
        for number, candidate in enumerate(ring.candidates):
            progress.stage = f"logging in with {candidate.label}"
            event = _LoopEvent()
            await workers.run(transport.auth_publickey, hop.user, candidate.key, event)
            await event.seen()
            if transport.is_authenticated():
                return
            error = transport.get_exception()
            tried = ring.candidates[: number + 1]
            if not transport.is_active():
                said = transport.disconnect_reason or _words(error)
                raise _no_login(hop, tried, ring.notes, f"the server hung up: {said}") from error
            stop = _hopeless(error)
            if stop is not None:
                raise _no_login(hop, tried, ring.notes, stop) from error
        raise _no_login(hop, ring.candidates, ring.notes, None)
    finally:
        ring.close()


def _hopeless(error: Exception | None) -> str | None:
    """Say why no other key will help; None when one may."""
    if isinstance(error, paramiko.ssh_exception.PartialAuthentication):
        if "publickey" in error.allowed_types:
            return None
        return (
            f"after the key it wants {', '.join(error.allowed_types)} as well, which Pooldeck cannot answer"
        )
    if isinstance(error, paramiko.BadAuthenticationType) and "publickey" not in error.allowed_types:
        return f"it takes only {', '.join(error.allowed_types)}; Pooldeck logs in by key"
    return None


def _no_login(hop: Hop, tried: Sequence[Candidate], notes: Sequence[str], why: str | None) -> NodeError:
    keys = "; ".join(candidate.label for candidate in tried) or "no key"
    message = f"SSH login as {hop.user} failed" + (f": {why}" if why else "") + f"; tried {keys}"
    if notes:
        message += f"; not used: {'; '.join(notes)}"
    encrypted = any("ssh-add" in note for note in notes)
    hint = (
        "add the encrypted key to an SSH agent with ssh-add"
        if encrypted
        else f"check the user, and that one of the keys is in {hop.user}'s authorized_keys there"
    )
    return _fault(hop, message, hint)


def _words(error: Exception | None) -> str:
    if error is None or isinstance(error, EOFError):
        return "it closed the connection"
    if isinstance(error, TimeoutError):
        return "the SSH agent or the server did not answer"
    return str(error).strip() or type(error).__name__
