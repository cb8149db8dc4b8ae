"""Commands on the machine that a pooler runs on: over SSH, or here.

It runs words and returns what came; it judges nothing. Contents go through standard input only: words show in
process lists. sudo is used only where the inventory says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.transport.base import CommandResult, Transport
from console.transport.shell import command_line

IN_CONTAINERS = frozenset({"docker", "swarm"})
"""Kinds of supervision whose processes and files are not the host's own."""
SHORT_OUTPUT_BYTES = 65_536


class Runner(Protocol):
    """Runs words as a command."""

    async def __call__(
        self, argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        """Return what it left, `limit_bytes` of its output at most.

        Raises:
            NodeError: it could not be run, or did not end in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class HostCommands:
    """One machine, to run commands on."""

    runner: Runner
    where: str
    """For people: `host edge-1` or `this machine`."""
    sudo: bool = False
    """The inventory has `sudo = true` for the pooler's process."""

    def as_owner(self, *words: str) -> tuple[str, ...]:
        """Return words as they are run where only the process's owner or root may: by sudo, if it is used."""
        return ("sudo", "-n", *words) if self.sudo else words

    async def ask(
        self, words: Sequence[str], *, timeout_s: float, limit_bytes: int = SHORT_OUTPUT_BYTES
    ) -> CommandResult:
        """Run what only reads, its messages in English.

        Raises:
            NodeError: it could not be run, or sudo refused to.
        """
        done = await self.runner(("env", "LC_ALL=C", *words), timeout_s, limit_bytes)
        refusal = last_line(done.stderr)
        if done.exit_status != 0 and refusal.startswith("sudo:"):
            reason = refusal.removeprefix("sudo:").strip()
            raise NodeError(Phase.SSH, f"sudo refuses: {reason}", where=self.where)
        return done

    async def type(self, words: Sequence[str], *, timeout_s: float) -> CommandResult:
        """Run words as if typed at a prompt there: what is no file, but a part of every shell, is found.

        Raises:
            NodeError: it could not be run, or did not end in time: what it did is not known.
        """
        return await self.runner(("sh", "-c", command_line(words)), timeout_s, SHORT_OUTPUT_BYTES)


def commands_of(bouncer: Bouncer, transport: Transport | None) -> HostCommands | None:
    """Return the machine that `bouncer` runs on; None when there is no way to it."""
    sudo = bouncer.process is not None and bouncer.process.sudo
    host = bouncer.host
    if host is None:
        return HostCommands(run_here, "this machine", sudo) if _is_here(bouncer) else None
    if transport is None:
        return None
    reachable = transport

    async def over_ssh(
        argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        return await reachable.run(host, argv, timeout_s=timeout_s, max_output_bytes=limit_bytes, stdin=stdin)

    return HostCommands(over_ssh, f"host {host}", sudo)


def _is_here(bouncer: Bouncer) -> bool:
    if bouncer.unix is not None:
        return True
    address = bouncer.tcp_host or ""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


async def run_here(
    argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
) -> CommandResult:
    """Run a command on this machine; see `Runner`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NodeError(Phase.PROTOCOL, f"{argv[0]} cannot be run here: {error.strerror}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            output, errors, _ = await asyncio.gather(
                _up_to(process.stdout, limit_bytes),
                _up_to(process.stderr, SHORT_OUTPUT_BYTES),
                _feed(process.stdin, stdin),
            )
            truncated = len(output) > limit_bytes
            status = None if truncated else await process.wait()
    except TimeoutError:
        raise NodeError(Phase.PROTOCOL, f"no answer within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return CommandResult(status, output[:limit_bytes], errors, truncated)


async def _feed(stream: asyncio.StreamWriter | None, content: bytes) -> None:
    if stream is None:
        return
    # One that ends early says why on its standard error.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(content)
        await stream.drain()
    stream.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _up_to(stream: asyncio.StreamReader, limit_bytes: int) -> bytes:
    """Return what comes, and one byte more than `limit_bytes` when there is more."""
    parts: list[bytes] = []
    left = limit_bytes + 1
    while left > 0 and (part := await stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def last_line(output: bytes) -> str:
    """Return the last line of what a command said; "" when it said nothing."""
    said = output.decode("utf-8", "replace").strip().splitlines()
    return said[-1].strip() if said else ""
