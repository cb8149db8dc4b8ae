"""The commands that a switchover is given: run as argv on a host over SSH, or on this machine."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from console.config.schema import Placed
from console.errors import NodeError
from console.hosts.commands import SHORT_OUTPUT_BYTES, run_here
from console.operations.command_words import trouble_of
from console.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    problem: str | None
    """None: it ended with 0."""
    is_sure: bool = True
    """False: whether it ran, or to what end, is not known."""


def place_of(entry: Placed) -> str | None:
    """Say where commands for a node are run, for people; None: nowhere."""
    if entry.host is not None:
        return f"on host {entry.host}"
    return "on this machine" if _is_here(entry) else None


async def run_command(entry: Placed, transport: Transport | None, command: str, *, timeout_s: float) -> Ran:
    """Run a command line, split as a shell would and given to none, where a node is."""
    argv: Sequence[str] = shlex.split(command)
    try:
        if entry.host is None:
            done = await run_here(argv, timeout_s, SHORT_OUTPUT_BYTES)
        elif transport is None:
            return Ran(f"the host {entry.host} cannot be reached from here")
        else:
            done = await transport.run(
                entry.host, argv, timeout_s=timeout_s, max_output_bytes=SHORT_OUTPUT_BYTES, stdin=b""
            )
    except NodeError as error:
        return Ran(error.message, is_sure=False)
    if done.exit_status == 0:
        return Ran(None)
    trouble, reason = trouble_of(done)
    return Ran(reason or trouble.value, is_sure=done.exit_status is not None)


def _is_here(entry: Placed) -> bool:
    host = entry.tcp_host
    if host is None:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
