"""SHUTDOWN: at once, or once the pooler's servers or clients are gone. It cannot be taken back (trap T14).

`ending` carries it out. Sources: PgBouncer's usage.html "SHUTDOWN", and pgbouncer-admin.md, 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from console.config.schema import Bouncer
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client
from console.operations.observe import Observation
from console.operations.outcome import NOTHING
from console.operations.radius_join import address_of
from console.operations.spec import Ask, Look, Parameters, Standing, state_words
from console.operations.step import plural
from console.poolers.base import Capability, ShutdownMode
from console.poolers.results import parse_in_slices

CONSOLES_SHOWN = 10


class ShutdownParameters(Parameters):
    """`timeout_s`: how long the end is waited for; a shutdown goes on without us."""

    mode: ShutdownMode
    timeout_s: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait.")] = 30.0
    allow_last: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a shutdown meets besides applications; no permit is bound to it."""

    consoles: tuple[Client, ...]
    """Sessions on the admin console, one of them ours; () when they do not matter."""
    start: str | None
    """How it is started again on its host; None: the inventory does not say."""

    @property
    def facts(self) -> Mapping[str, str]:
        """None."""
        return NOTHING


async def look_for_consoles(look: Look) -> Found:
    """Read who is on the admin console, when that would keep the pooler from exiting.

    Raises:
        NodeError: it could not be read.
    """
    start = _start(look.node) if isinstance(look.node, Bouncer) else None
    if look.parameters.mode is not ShutdownMode.FOR_CLIENTS:
        return Found((), start)
    clients = await parse_in_slices(
        look.dialect.parse_clients, await look.session.show("CLIENTS", timeout_s=look.timeout_s)
    )
    return Found(tuple(client for client in clients if client.database == ADMIN_DATABASE), start)


def _start(bouncer: Bouncer) -> str | None:
    process = bouncer.process
    if process is None:
        return None
    where = f"on {bouncer.host}: " if bouncer.host else ""
    sudo = "sudo " if process.sudo else ""
    words = {
        "systemd": f"{sudo}systemctl start {process.unit}",
        "command": sudo + " ".join(process.start_command or ()),
        "docker": f"{sudo}docker start {process.container}",
        "swarm": f"{sudo}docker service update --force {process.service}",
    }
    return where + words[process.kind]


def shutdown_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what SHUTDOWN sends."""
    return (ask.dialect.shutdown(ask.parameters.mode),)


def shutdown_standing(ask: Ask[Observation]) -> Standing:
    """Return how a pooler stands before a SHUTDOWN."""
    observation, mode = ask.seen, ask.parameters.mode
    clients = sum(pool.cl_active + pool.cl_waiting for pool in observation.pools)
    warnings: list[str] = []
    if mode is ShutdownMode.FOR_CLIENTS:
        warnings += _consoles_warnings(ask.found.consoles)
    notes = [_meaning(mode, clients, sum(pool.servers for pool in observation.pools))]
    notes.append(f"started again by: {ask.found.start or 'its supervisor; the inventory does not say how'}")
    if mode is not ShutdownMode.NOW and ask.dialect.has(observation.version, Capability.SHUTDOWN_MODES):
        notes.append(
            "to end it sooner, on its host: SIGQUIT, or one more SIGTERM or SIGINT, ends it at once "
            "(until 1.22 the first SIGTERM did)"
        )
    return Standing(
        state_words(ask.target, observation),
        blocked=_blocked(ask),
        warnings=tuple(warnings),
        notes=tuple(notes),
    )


def _blocked(ask: Ask[Observation]) -> str | None:
    observation, mode = ask.seen, ask.parameters.mode
    if mode is ShutdownMode.NOW:
        return None
    if not ask.dialect.has(observation.version, Capability.SHUTDOWN_MODES):
        since = ask.dialect.since(Capability.SHUTDOWN_MODES)
        return (
            f"--mode {mode} needs PgBouncer {since}; this is {observation.version}, and has only --mode now"
        )
    if observation.state.suspended:
        return "the pooler is suspended: resume it first"
    held = bool(observation.state.paused) or bool(observation.paused_databases)
    if mode is ShutdownMode.FOR_CLIENTS and held:
        return (
            f"it is {state_words(ask.target, observation)}, and a pooler that shuts down cannot be resumed: "
            "its clients would wait until they are cut; resume it first"
        )
    return None


def _meaning(mode: ShutdownMode, clients: int, servers: int) -> str:
    if mode is ShutdownMode.NOW:
        return f"{plural(clients, 'client')} cut at once, open transactions with them"
    if mode is ShutdownMode.FOR_SERVERS:
        return (
            f"{plural(servers, 'server connection')}: open transactions end, then it exits; a client without "
            "one is cut at its next query"
        )
    return f"{plural(clients, 'client')}: they go on until they leave by themselves; it exits after the last"


def _consoles_warnings(consoles: Sequence[Client]) -> list[str]:
    """Name the sessions that keep it from exiting (T13); one of those seen is our own."""
    if len(consoles) < 2:
        return []
    shown = ", ".join(console_line(client) for client in consoles[:CONSOLES_SHOWN])
    return [
        "it does not exit while an admin console is open, exporters and monitors too; "
        f"{len(consoles)} are now, this session among them: {shown}"
    ]


def console_line(client: Client) -> str:
    """Return who is at an admin console."""
    name = client.application_name or "no name"
    return f"{client.user}@{address_of(client.addr, client.port)} ({name})"
