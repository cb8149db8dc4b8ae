"""The real transport: SSH by paramiko, tunnels with local near ends, remote commands.

Made once for a program run and closed at its end. It belongs to the event loop that first uses it, which
it never blocks. What it must not do: know of poolers, read passwords, or decide when to poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path

from console.clock import Clock
from console.config.schema import Host
from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import CommandResult, Endpoint, Route
from console.transport.direct import direct_endpoint
from console.transport.link import Link
from console.transport.pool import Connection, Pool, restate
from console.transport.shell import command_line
from console.transport.ssh_config import ResolvedHost, SshConfig
from console.transport.sweep import RunFolder, open_run_folder
from console.transport.tunnel import Tunnel, listen_loopback, listen_unix
from console.transport.wire import quiet_paramiko_log
from console.transport.workers import Workers


@dataclass(frozen=True, slots=True)
class HopProbe:
    """How one hop of a host's jump chain answered."""

    name: str
    address: str
    """`user@host:port`."""
    ok: bool | None
    """None: not tried, because a hop before it failed."""
    elapsed_s: float | None
    """To connect and log in, or, when `reused`, one round trip; None when not tried."""
    reused: bool
    """True when a live connection was there already."""
    error: NodeError | None


class SshTransport:
    """Implements `console.transport.base.Transport` over SSH; routes without a host are direct."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        *,
        clock: Clock,
        runtime_dir: Path,
        ssh_config_file: Path | None = None,
    ) -> None:
        """Nothing is connected yet; what earlier runs left in `runtime_dir` is swept in the background.

        `ssh_config_file` is read alone, as by `ssh -F`; None reads ~/.ssh/config and the system's.
        """
        quiet_paramiko_log()
        self._hosts = hosts
        self._config_file = ssh_config_file
        self._workers = Workers()
        self._pool = Pool(self._workers, clock)
        self._connections: dict[str, Connection] = {}
        self._tunnels: dict[Route, Tunnel] = {}
        self._by_endpoint: dict[Endpoint, Tunnel] = {}
        self._making: dict[Route, asyncio.Lock] = {}
        self._closed = False
        self._folder: Future[RunFolder] = self._workers.submit(lambda: open_run_folder(runtime_dir))
        # Also when the program ends without close(): by an exception, or by sys.exit.
        self._last_resort = weakref.finalize(self, _remove_folder, self._folder)

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:
        """See `Transport.endpoint`."""
        if route.host is None:
            return direct_endpoint(route.address)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        await self._reach(route, timeout_s)
        tunnel = self._tunnels.get(route)
        if tunnel is None:
            async with self._making.setdefault(route, asyncio.Lock()):
                tunnel = self._tunnels.get(route)
                if tunnel is None:
                    tunnel = await self._open_tunnel(route, max(0.1, ends_s - loop.time()))
        tunnel.timeout_s = timeout_s
        return tunnel.endpoint

    def failure_of(self, endpoint: Endpoint) -> NodeError | None:
        """See `Transport.failure_of`."""
        tunnel = self._by_endpoint.get(endpoint)
        return restate(tunnel.failure) if tunnel is not None and tunnel.failure is not None else None

    async def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        max_output_bytes: int = 1_048_576,
    ) -> CommandResult:
        """See `Transport.run`. The bound is for each of stdout and stderr; a late command is killed."""
        command = command_line(argv)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        link = await self._link(host, timeout_s)
        left_s = max(0.0, ends_s - loop.time())
        return await link.run(
            command, stdin=stdin, max_output_bytes=max_output_bytes, timeout_s=left_s, limit_s=timeout_s
        )

    async def resolve(self, host: str, *, timeout_s: float) -> ResolvedHost:
        """Return the hops to the inventory host, as the inventory and the SSH configuration say now.

        Raises:
            UsageError: no such host, or a setting that cannot be used, with its place.
            NodeError: phase `ssh`, when the transport is closed; DeadlineError.
        """
        self._check_open(host)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._workers.run(self._resolve, host)
        except TimeoutError:
            raise DeadlineError(
                Phase.SSH,
                f"the SSH configuration could not be read within {timeout_s:g} s",
                limit_s=timeout_s,
                where=host,
            ) from None

    async def probe_hops(self, host: str, *, timeout_s: float) -> tuple[HopProbe, ...]:
        """Try each hop to `host` in turn, `timeout_s` each, whatever the backoff says.

        Raises:
            UsageError: as `resolve`.
        """
        resolved = await self.resolve(host, timeout_s=timeout_s)
        probes: list[HopProbe] = []
        for number, hop in enumerate(resolved.hops, start=1):
            if probes and not probes[-1].ok:
                probes.append(HopProbe(hop.name, hop.address, None, None, reused=False, error=None))
                continue
            connection = self._pool.connection(resolved.hops[:number])
            reused = connection.alive
            start_s = time.monotonic()
            error: NodeError | None = None
            try:
                link = await connection.get(timeout_s, force=True)
                if reused:
                    await link.ping(timeout_s)
            except NodeError as failure:
                error = failure
            elapsed_s = time.monotonic() - start_s
            probes.append(HopProbe(hop.name, hop.address, error is None, elapsed_s, reused, error))
        return tuple(probes)

    def retry_now(self, host: str) -> None:
        """Forget the backoff of `host`: the next use connects at once."""
        connection = self._connections.get(host)
        if connection is not None:
            connection.retry_now()

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._closed:
            return
        self._closed = True
        for tunnel in self._tunnels.values():
            tunnel.close()
        await self._pool.close()
        with contextlib.suppress(NodeError, CancelledError):
            folder = await asyncio.wrap_future(self._folder)
            await self._workers.run(folder.remove)
        self._last_resort.detach()
        self._workers.stop()

    def _check_open(self, where: str | None) -> None:
        if self._closed:
            raise NodeError(Phase.SSH, "the transport is closed", where=where)

    def _resolve(self, host: str) -> ResolvedHost:
        return SshConfig.load(self._config_file, Path.home()).resolve(host, self._hosts)

    async def _reach(self, route: Route, timeout_s: float) -> Link:
        return await self._link(route.host or "", timeout_s)

    async def _link(self, host: str, timeout_s: float) -> Link:
        self._check_open(host)
        known = self._connections.get(host)
        if known is not None and known.link is not None and known.link.alive:
            return known.link
        # Read anew for each attempt, so that a mended ~/.ssh/config counts without a restart.
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        resolved = await self.resolve(host, timeout_s=timeout_s)
        connection = self._connections[host] = self._pool.connection(resolved.hops)
        return await connection.get(max(0.05, ends_s - loop.time()), limit_s=timeout_s)

    async def _open_tunnel(self, route: Route, timeout_s: float) -> Tunnel:
        self._check_open(route.host)
        try:
            if route.tls:
                listener, endpoint = listen_loopback(route)
                folder = None
            else:
                async with asyncio.timeout(timeout_s):
                    run_folder = await asyncio.shield(asyncio.wrap_future(self._folder))
                    folder = await self._workers.run(run_folder.new_folder)
                    self._check_open(route.host)  # it may have been closed meanwhile
                listener, endpoint = listen_unix(route, folder)
        except TimeoutError:
            raise DeadlineError(
                Phase.TUNNEL,
                f"the near end was not ready within {timeout_s:g} s",
                limit_s=timeout_s,
                where=f"{route.host} -> {route.address}",
            ) from None
        except OSError as error:
            raise NodeError(
                Phase.TUNNEL,
                f"no near end: {error.strerror or error}",
                where=f"{route.host} -> {route.address}",
            ) from error
        tunnel = Tunnel(route, listener, endpoint, folder, self._reach)
        self._tunnels[route] = self._by_endpoint[endpoint] = tunnel
        return tunnel


def _remove_folder(folder: Future[RunFolder]) -> None:
    if folder.done() and not folder.cancelled() and folder.exception() is None:
        folder.result().remove()
