"""pg_cancel_backend and pg_terminate_backend: on Postgres nodes, backends named by their pids.

A pid is reused, and behind a pooler the same backend serves one client after another. So a plan is bound to
who the backend is (pid and backend_start, which the server compares once more when it signals), and a cancel
also to its transaction: the query of the next client is never hit. `signalling` carries it out. Source:
PostgreSQL manual, "Server Signaling Functions" and "pg_stat_activity".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr

from console.errors import NodeError, Phase, UsageError
from console.operations.control import insist
from console.operations.reach import Reach
from console.operations.signal_rights import forbidden, unseen
from console.operations.spec import Ask, Parameters, Standing
from console.operations.step import plural
from console.operations.target import Target
from console.postgres.activity import Backend, Blocker
from console.postgres.sessions import Rights, Surroundings

CLIENT_BACKEND = "client backend"
RUNS = frozenset({"active", "fastpath function call"})
_IN_TRANSACTION = "idle in transaction"


def _distinct(pids: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(pids))


class BackendParameters(Parameters):
    """Pids of one node. `timeout_s`: how long the end of the query, or of the backend, is waited for."""

    pids: Annotated[
        tuple[Annotated[int, Field(gt=0, lt=2**31)], ...],
        Field(min_length=1, max_length=100),
        AfterValidator(_distinct),
    ]
    _node: str | None = PrivateAttr(None)

    def bind(self, node: str) -> None:
        """Take these pids for numbers of `node`.

        Raises:
            UsageError: they are another one's already.
        """
        if self._node not in (None, node):
            raise UsageError(
                f"a pid is a number of one machine, and the selector names {self._node} and {node}",
                hint="name one Postgres node",
            )
        self._node = node


@dataclass(frozen=True, slots=True)
class Seen:
    """The backends as found on the node."""

    backends: Mapping[int, Backend | None]
    """By pid; None: no process has it."""
    around: Mapping[int, Surroundings]
    poolers: Mapping[str | None, tuple[str, ...]]
    """By client address: the bouncers that may be the client."""
    rights: Rights
    """Of our role."""


async def observe_backends(reach: Reach, target: Target, parameters: BackendParameters) -> Seen:
    """Read the backends.

    Raises:
        NodeError: the node did not answer, or none can be asked from here. UsageError: the pids belong to
            another node.
    """
    parameters.bind(target.bouncer)
    if reach.nodes is None:
        raise NodeError(Phase.CONNECT, "no Postgres node can be asked from here", where=target.bouncer)
    session = await reach.nodes.session(target.bouncer)
    try:
        found = await session.backends(parameters.pids, timeout_s=parameters.timeout_s)
        around = await session.surroundings(parameters.pids, timeout_s=parameters.timeout_s)
        rights = await session.rights(timeout_s=parameters.timeout_s)
    finally:
        await insist(session.close)
    known = {backend.pid: backend for backend in found}
    addresses = {
        one.client_address
        for one in found
        if one.client_port is not None and not _is_hidden(one, around.get(one.pid))
    }
    poolers = {address: await reach.nodes.poolers_at(target.bouncer, address) for address in addresses}
    return Seen({pid: known.get(pid) for pid in parameters.pids}, around, poolers, rights)


def terminate_facts(ask: Ask[Seen]) -> dict[str, str]:
    """Return who the backends are."""
    return {f"backend {pid}": _identity(backend) for pid, backend in ask.seen.backends.items()}


def cancel_facts(ask: Ask[Seen]) -> dict[str, str]:
    """Return who the backends are, and which transactions they are in."""
    transactions = {
        f"transaction of backend {pid}": (
            "none"
            if backend is None or backend.xact_started_at is None
            else f"since {backend.xact_started_at.isoformat()}"
        )
        for pid, backend in ask.seen.backends.items()
    }
    return terminate_facts(ask) | transactions


def _identity(backend: Backend | None) -> str:
    if backend is None:
        return "gone"
    started = "n/a" if backend.started_at is None else backend.started_at.isoformat()
    return f"{_whose(backend)}, started {started}"


def cancel_statements(ask: Ask[Seen]) -> tuple[str, ...]:
    """Return what is sent to the node, one statement for each backend that runs something."""
    return tuple(statement_of(one, terminate=False) for one in to_cancel(ask.seen))


def terminate_statements(ask: Ask[Seen]) -> tuple[str, ...]:
    """Return what is sent to the node, one statement for each backend that is there."""
    return tuple(statement_of(one, terminate=True) for one in there(ask.seen))


def statement_of(backend: Backend, *, terminate: bool) -> str:
    """Return what signals exactly this backend, as one could paste it."""
    function = "pg_terminate_backend" if terminate else "pg_cancel_backend"
    started = "" if backend.started_at is None else backend.started_at.isoformat(sep=" ")
    which = f"pid = {backend.pid} AND backend_start = '{started}'"
    return f"SELECT {function}(pid) FROM pg_stat_activity WHERE {which}"


def there(seen: Seen) -> list[Backend]:
    """Return the backends that are there."""
    return [backend for backend in seen.backends.values() if backend is not None]


def to_cancel(seen: Seen) -> list[Backend]:
    """Return the backends that run something; one that is not a client's has no state and always does."""
    return [one for one in there(seen) if one.state is None or one.state in RUNS]


def cancel_standing(ask: Ask[Seen]) -> Standing:
    """Return how the backends stand before a cancel."""
    warnings = [
        f"backend {one.pid} is {one.state}: it runs nothing, so there is nothing to cancel; only "
        f"{terminate_command(ask.target, [one])} ends its transaction"
        for one in idle_in_transaction(ask.seen)
    ]
    return _standing(ask, warnings, to_cancel(ask.seen))


def idle_in_transaction(seen: Seen) -> list[Backend]:
    """Return the backends that a cancel does nothing to although their transaction is open."""
    return [one for one in there(seen) if (one.state or "").startswith(_IN_TRANSACTION)]


def terminate_command(target: Target, backends: Iterable[Backend]) -> str:
    """Return the shell command that ends `backends`."""
    return f"{target.command('terminate')} {' '.join(str(one.pid) for one in backends)}"


def terminate_standing(ask: Ask[Seen]) -> Standing:
    """Return how the backends stand before they are ended."""
    return _standing(ask, [], there(ask.seen))


def _standing(ask: Ask[Seen], warnings: list[str], chosen: list[Backend]) -> Standing:
    """Return the standing when `chosen` are to be signalled."""
    seen = ask.seen
    hidden = [one for one in there(seen) if _is_hidden(one, seen.around.get(one.pid))]
    blocked = unseen(hidden, seen.rights) or forbidden(chosen, seen.around, seen.rights)
    for one in there(seen):
        around = seen.around.get(one.pid)
        kind = None if around is None else around.kind
        if kind not in (None, CLIENT_BACKEND):
            warnings.append(f"backend {one.pid} is no client's: it is a {kind}{_KINDS.get(kind or '', '')}")
    notes = [
        f"no process has the pid {pid} (any more)"
        for pid, backend in seen.backends.items()
        if backend is None
    ]
    for one in there(seen):
        notes += _lines(one, seen)
    return Standing(
        _present(seen),
        already=not chosen and not hidden,
        blocked=blocked,
        warnings=tuple(warnings),
        notes=tuple(notes),
        clients=len(list(there(seen))),
    )


_KINDS = {
    "walsender": ", and a standby or a consumer of changes is cut off",
    "autovacuum worker": ", and what it vacuums is begun anew later",
    "logical replication worker": ", and its subscription stops for a moment",
}


def _is_hidden(backend: Backend, around: Surroundings | None) -> bool:
    return backend.started_at is None or around is None or around.kind is None


def _present(seen: Seen) -> str:
    found = there(seen)
    if not found:
        return "no such backend"
    states: dict[str, int] = {}
    for one in found:
        states[one.state or "no state"] = states.get(one.state or "no state", 0) + 1
    return (
        f"{plural(len(found), 'backend')}: {', '.join(f'{n} {word}' for word, n in sorted(states.items()))}"
    )


def _lines(backend: Backend, seen: Seen) -> list[str]:
    """Say who a backend is, what it does, and who waits for whom."""
    lines = [
        f"backend {backend.pid}: {_whose(backend)}{_client(backend, seen)}",
        f"backend {backend.pid}: {backend.state or 'no state'}"
        f"{_age(' for', backend.state_age_s)}{_age(', transaction for', backend.xact_age_s)}"
        f"{_age(', query began', backend.query_age_s, ' ago')}",
    ]
    if backend.blocked_by:
        blockers = ", ".join(map(_blocker, backend.blocked_by))
        lines.append(f"backend {backend.pid} waits for a lock of {blockers}")
    around = seen.around.get(backend.pid)
    if around is not None and around.blocks:
        blocked = ", ".join(map(str, around.blocks))
        lines.append(f"backend {backend.pid} keeps {plural(len(around.blocks), 'other')} waiting: {blocked}")
    return lines


def _whose(backend: Backend) -> str:
    """Return role and database; a walsender has no database, a process of the server's own neither."""
    return f"{backend.user or 'no role'} on {backend.database or 'no database'}"


def _client(backend: Backend, seen: Seen) -> str:
    """Return who is at its other end; "" when nobody is, or nobody that may be seen."""
    if backend.client_port is None:
        return ""
    name = backend.application_name or "no application name"
    address = backend.client_address or "a Unix socket"
    poolers = seen.poolers.get(backend.client_address, ())
    through = f", where {', '.join(poolers)} run{'s' if len(poolers) == 1 else ''}" if poolers else ""
    return f", {name}, from {address}{through}"


def _blocker(blocker: Blocker) -> str:
    if blocker.pid == 0:
        return "a prepared transaction"
    age = _age(", transaction for", blocker.xact_age_s)
    return f"{blocker.pid} ({blocker.user or 'n/a'}, {blocker.state or 'n/a'}{age})"


def _age(before: str, seconds: float | None, after: str = "") -> str:
    return "" if seconds is None else f"{before} {max(0.0, seconds):.1f} s{after}"
