"""The look of RESTART: its process and supervision, its files, its peers, and the method that follows.

It only asks. SHOW CLIENTS and SHOW SERVERS are read only where a takeover is in question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.errors import AdminError, NodeError
from console.operations.observe import Observation
from console.operations.process.finding import Finder, ProcessLook
from console.operations.process.supervision import Kind, Supervision
from console.operations.reload_files import ConfigLook, look_at_files
from console.operations.restart.methods import (
    TAKES_OVER_UNTIL,
    Choice,
    Method,
    RestartParameters,
    Situation,
    choose,
)
from console.operations.sessions import Connector, close_quietly
from console.operations.spec import Look
from console.poolers.base import Capability
from console.poolers.dialects import dialect_for
from console.poolers.results import parse_in_slices


@dataclass(frozen=True, slots=True)
class RestartLook:
    """What RESTART's look found. Implements `console.operations.spec.Found`."""

    bouncer: Bouncer
    process: ProcessLook
    files: ConfigLook
    peers: Mapping[str, bool]
    """The other members of its peer group, and whether each serves."""
    peer_entries: tuple[Bouncer, ...]
    choice: Choice
    situation: Situation
    command_timeout_s: float
    """For each command on its host."""
    runs_as: str = ""
    """The setting `user`: whom PgBouncer becomes when root starts it; "": nobody."""

    @property
    def supervision(self) -> Supervision:
        """How it is supervised; only once `unable` is None."""
        assert self.process.supervision is not None, "refused before"
        return self.process.supervision

    def supervision_is(self, kind: Kind) -> bool:
        """Say whether it is supervised so; False when that is not known."""
        return self.process.supervision is not None and self.process.supervision.kind is kind

    @property
    def unable(self) -> str | None:
        """Why it cannot be stopped and started from here; None: it can."""
        found = self.process
        if found.cannot_start is not None:
            return found.cannot_start
        if found.process is None and not self.supervision_is(Kind.SWARM):
            return f"its process was not found: {found.why}"
        return found.may_act or self._as_root

    @property
    def _as_root(self) -> str | None:
        """Say that the start command would run as root, which PgBouncer refuses unless told a user."""
        found = self.process
        if not found.starts_as_root or self.runs_as or found.process is None or found.process.uid == 0:
            return None
        return (
            f"its start command would run as root on {found.where}, and process {found.process.pid} belongs "
            f"to uid {found.process.uid}: begin it with setpriv --reuid={found.process.uid} --clear-groups"
        )

    @property
    def facts(self) -> Mapping[str, str]:
        """The process, its supervision, the method, and the hash of each file; no secrets."""
        found = self.process
        return {
            "process": found.process.process.identity
            if found.process is not None
            else found.why or "not found",
            "supervision": found.supervision.words if found.supervision is not None else "not known",
            "method": self.choice.method.value,
            "obstacle": self.unable or self.choice.refused or "none",
            "next version": str(found.program_version or "not known"),
            **self.files.facts,
        }


async def look_for_restart(look: Look) -> RestartLook:
    """Read what a restart of the target rests on.

    Raises:
        NodeError: the pooler did not answer. What is wrong with its host is in what is returned.
    """
    assert isinstance(look.node, Bouncer), "only poolers are restarted"
    bouncer, seen, parameters = look.node, look.observation, look.parameters
    assert isinstance(parameters, RestartParameters), "of this verb"
    timeout_s = look.timeout_s + (bouncer.connect_timeout_s or look.timeout_s)
    finder = Finder(bouncer, look.reach.transport, timeout_s=timeout_s)
    process, files, healthy = await asyncio.gather(
        finder.look(seen.config),
        look_at_files(look),
        asyncio.gather(*(_serves(look.reach.connector, peer, look.timeout_s) for peer in look.peers)),
    )
    peers = {peer.name: serves for peer, serves in zip(look.peers, healthy, strict=True)}
    situation = await _situation(look, process, peers)
    return RestartLook(
        bouncer=bouncer,
        process=process,
        files=files,
        peers=peers,
        peer_entries=look.peers,
        choice=choose(parameters.method, situation),
        situation=situation,
        command_timeout_s=timeout_s,
        runs_as=(own.value or "") if (own := seen.config.get("user")) is not None else "",
    )


async def _situation(look: Look, process: ProcessLook, peers: Mapping[str, bool]) -> Situation:
    seen = look.observation
    kind = process.supervision.kind if process.supervision is not None else None
    folder = seen.config.get("unix_socket_dir")
    tls: int | None = None
    prepared: int | None = None
    wanted = look.parameters.method in (Method.AUTO, Method.TAKEOVER)
    if wanted and kind is Kind.COMMAND and seen.version < TAKES_OVER_UNTIL:
        limit_s = look.timeout_s
        clients = await parse_in_slices(
            look.dialect.parse_clients, await look.session.show("CLIENTS", timeout_s=limit_s)
        )
        servers = look.dialect.parse_servers(await look.session.show("SERVERS", timeout_s=limit_s))
        tls = sum(bool(one.tls) for one in (*clients, *servers))
        prepared = sum(bool(one.prepared_statements) for one in clients)
    return Situation(
        version=seen.version,
        next_version=process.program_version,
        kind=kind,
        paused=bool(seen.state.paused) or bool(seen.state.suspended) or bool(seen.paused_databases),
        peers=peers,
        session_servers=_session_servers(seen),
        tls=tls,
        prepared=prepared,
        has_socket=bool(folder is not None and (folder.value or "").startswith("/")),
    )


def _session_servers(seen: Observation) -> int:
    held = 0
    for pool in seen.pools:
        database = seen.database(pool.database)
        mode = pool.pool_mode or (database.pool_mode if database is not None else None)
        held += pool.sv_active if mode == "session" else 0
    return held


async def _serves(connector: Connector, peer: Bouncer, timeout_s: float) -> bool:
    """Say whether a peer answers and is not paused as a whole."""
    dialect = dialect_for(peer.kind)
    try:
        session = await connector.reader(peer.name)
    except NodeError:
        return False
    try:
        version = dialect.parse_version(await session.show("VERSION", timeout_s=timeout_s))
        if not dialect.has(version, Capability.SHOW_STATE):
            return True
        state = dialect.parse_state(await session.show("STATE", timeout_s=timeout_s))
    except (NodeError, AdminError):
        return False
    finally:
        await close_quietly(session)
    return not (state.paused or state.suspended)
