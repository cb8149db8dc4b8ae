"""KILL_CLIENT (PgBouncer 1.24 and later): single clients of one bouncer are cut, each named by its id.

An id is a number of one process, so it is looked up first: who has it is part of what the plan rests on, and
another client is never hit. The id of a client is never given to another one while the process lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr

from console.errors import UsageError
from console.model.advisories import KILL_CLIENT_BY_READERS
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client, Server
from console.operations.cutting import backend_notes, backends_warning, runs_on
from console.operations.observe import Observation
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.radius_join import address_of
from console.operations.sending import Answer, ask, on_writer, read_back
from console.operations.sessions import WriteSession
from console.operations.spec import Ask, Look, Parameters, Standing, state_words
from console.operations.step import Step, plural
from console.poolers.base import Capability
from console.poolers.results import parse_in_slices

GONE_LIMIT_S = 2.0
_POLL_S = 0.1


def _distinct(ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


class KillClientParameters(Parameters):
    """Ids as SHOW CLIENTS has them."""

    ids: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9]{1,20}$")], ...],
        Field(min_length=1, max_length=100),
        AfterValidator(_distinct),
    ]
    _bouncer: str | None = PrivateAttr(None)

    def bind(self, bouncer: str) -> None:
        """Take these ids for numbers of `bouncer`.

        Raises:
            UsageError: they are another one's already.
        """
        if self._bouncer not in (None, bouncer):
            raise UsageError(
                f"an id is a number of one bouncer, and the selector names {self._bouncer} and {bouncer}",
                hint="name one bouncer",
            )
        self._bouncer = bouncer


@dataclass(frozen=True, slots=True)
class Found:
    """Who has the ids."""

    clients: Mapping[str, Client | None]
    """By id; None: nobody."""
    servers: tuple[Server, ...]
    """The server connections that they hold."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Who each client is, so that a permit is never spent on another one."""
        return {f"client {number}": _identity(client) for number, client in self.clients.items()}


async def look_for_clients(look: Look) -> Found:
    """Find the clients in SHOW CLIENTS, and the servers they hold in SHOW SERVERS.

    Raises:
        NodeError: they could not be read. UsageError: the ids belong to another bouncer.
    """
    look.parameters.bind(look.target.bouncer)
    everyone = await parse_in_slices(
        look.dialect.parse_clients, await look.session.show("CLIENTS", timeout_s=look.timeout_s)
    )
    by_id = {client.id: client for client in everyone if client.id}
    found = {number: by_id.get(number) for number in look.parameters.ids}
    links = {client.link for client in found.values() if client is not None and client.link}
    servers: Sequence[Server] = ()
    if links:
        servers = look.dialect.parse_servers(await look.session.show("SERVERS", timeout_s=look.timeout_s))
    return Found(found, tuple(server for server in servers if server.ptr in links))


def kill_client_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what KILL_CLIENT sends, one statement a client."""
    return tuple(ask.dialect.kill_client(number) for number in ask.parameters.ids)


def kill_client_standing(ask: Ask[Observation]) -> Standing:
    """Return who is hit."""
    found: Found = ask.found
    missing = [number for number, client in found.clients.items() if client is None]
    blocked = None
    if missing and ask.dialect.has(ask.seen.version, Capability.KILL_CLIENT):
        many = len(missing) > 1
        blocked = (
            f"no client of {ask.target.bouncer} has the id{'s' if many else ''} {', '.join(missing)} "
            f"({'they' if many else 'it'} may have left)"
        )
    present = [client for client in found.clients.values() if client is not None]
    warnings = []
    if found.servers:
        warnings.append(backends_warning(found.servers))
    consoles = [client for client in present if client.database == ADMIN_DATABASE]
    if consoles:
        warnings.append(f"{plural(len(consoles), 'admin console')} among them, maybe one of Pooldeck's own")
    if KILL_CLIENT_BY_READERS.concerns(ask.seen.version):
        warnings.append(f"on {ask.seen.version} {KILL_CLIENT_BY_READERS}")
    notes = (*(_line(number, client) for number, client in found.clients.items() if client is not None),)
    return Standing(
        state_words(ask.target, ask.seen),
        blocked=blocked,
        warnings=tuple(warnings),
        notes=(*notes, *backend_notes(found.servers)),
        clients=len(present),
    )


def _identity(client: Client | None) -> str:
    if client is None:
        return "not there"
    return f"{client.user}@{_address(client)} on {client.database}, connected {client.connect_time}"


def _address(client: Client) -> str:
    return address_of(client.addr, client.port)


def _line(number: str, client: Client) -> str:
    holds = "holds a server connection" if client.link else "holds no server connection"
    name = client.application_name or "no application name"
    return f"client {number}: {_identity(client)}, {name}, {client.state}, {holds}"


async def carry_out_kill_client(step: Step) -> TargetReceipt:
    """Cut the clients of `step`."""

    async def act(session: WriteSession) -> TargetReceipt:
        answers = []
        for statement in step.statements:
            answers.append(await ask(step, session, statement))
            if answers[-1].lost is not None:
                break
        lost = answers[-1].lost is not None
        left = await _wait_gone(step, None if lost else session)
        return await _judge(step, answers, left)

    return await on_writer(step, act)


async def _wait_gone(step: Step, session: WriteSession | None) -> tuple[str, ...] | None:
    """Wait until none of the clients is listed; return the ids left, None when they cannot be read."""
    loop = asyncio.get_running_loop()
    end = loop.time() + GONE_LIMIT_S

    async def read(over: WriteSession) -> frozenset[str | None]:
        table = await over.show("CLIENTS", timeout_s=step.query_timeout_s)
        everyone = await parse_in_slices(step.dialect.parse_clients, table)
        return frozenset(client.id for client in everyone)

    while True:
        listed = await read_back(step, session, read)
        if listed is None:
            return None
        left = tuple(number for number in step.parameters.ids if number in listed)
        if not left or loop.time() >= end:
            return left
        await asyncio.sleep(_POLL_S)


async def _judge(step: Step, answers: Sequence[Answer], left: tuple[str, ...] | None) -> TargetReceipt:
    count = len(step.parameters.ids)
    gone_before = [a for a in answers if a.refused is not None and "not found" in a.refused.message]
    refused = [a for a in answers if a.refused is not None and a not in gone_before]
    told = next((a.words for a in (*refused, *answers) if a.refused or a.lost), "")
    status = (f"pooldeck status {step.target.bouncer}",)
    if left is None:
        return step.receipt(
            Outcome.UNKNOWN, f"{told or 'answered'}; who is left could not be read", None, next_steps=status
        )
    if left:
        many = len(left) > 1
        still = f"client{'s' if many else ''} {', '.join(left)} still {'are' if many else 'is'} connected"
        return step.receipt(
            Outcome.FAILED, f"{told}; {still}" if told else still, step.present, next_steps=status
        )
    verified = (f"{plural(count, 'client')} no longer listed",)
    if len(gone_before) == count:
        return step.receipt(Outcome.NO_CHANGE, "they had left by themselves", step.present, verified=verified)
    servers = step.ask.found.servers
    return step.receipt(
        Outcome.OK,
        f"{plural(count - len(gone_before), 'client')} cut",
        step.present,
        verified=verified,
        next_steps=await runs_on(step, servers),
    )
