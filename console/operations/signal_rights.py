"""Whether our role may signal a backend, and which GRANT is missing when it may not. Pure.

The server decides as this does (PostgreSQL manual, "Server Signaling Functions"; signalfuncs.c): a superuser
may signal whom it likes; a superuser's backend, and one that runs as no role, only a superuser; any other one
a member of its role or of pg_signal_backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from console.postgres.activity import Backend
from console.postgres.sessions import Rights, Surroundings

AUXILIARY = frozenset(
    {
        *("checkpointer", "background writer", "walwriter", "archiver", "startup", "walreceiver"),
        *("walsummarizer", "io worker"),
    }
)
"""Processes of the server itself, which no function signals: it answers false for them."""
AUTOVACUUM_WORKER = "autovacuum worker"
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


def forbidden(backends: Sequence[Backend], around: Mapping[int, Surroundings], rights: Rights) -> str | None:
    """Return why some of `backends` cannot be signalled, and the GRANT that would help; None when all can.

    Args:
        backends: visible ones, as `unseen` would say otherwise.
        around: by pid.
        rights: of our role.
    """
    found: dict[str, list[Backend]] = {}
    for backend in backends:
        why = _why(backend, around[backend.pid], rights)
        if why is not None:
            found.setdefault(why, []).append(backend)
    return "; ".join(f"{numbers(those)}: {why}" for why, those in found.items()) or None


def unseen(backends: Sequence[Backend], rights: Rights) -> str | None:
    """Return why `backends`, whose rows are hidden, cannot be acted on; None when there are none."""
    if not backends:
        return None
    wanted = [
        name for name, has in (("pg_monitor", rights.sees), ("pg_signal_backend", rights.signals)) if not has
    ]
    return (
        f"{numbers(backends)}: {rights.role} may not see it, so it cannot be told from a later one with the "
        f"same pid; {_grant(', '.join(wanted) or 'pg_monitor', rights)}"
    )


def numbers(backends: Sequence[Backend]) -> str:
    """Return `backend 1`, `backends 1, 2`."""
    pids = ", ".join(str(one.pid) for one in backends)
    return f"backend{'' if len(backends) == 1 else 's'} {pids}"


def _why(backend: Backend, around: Surroundings, rights: Rights) -> str | None:
    if around.kind in AUXILIARY:
        return f"a {around.kind} is part of the server itself, and Postgres signals none on request"
    if rights.superuser:
        return None
    if around.kind == AUTOVACUUM_WORKER and rights.signals_autovacuum is not None:
        return None if rights.signals_autovacuum else _lacks("pg_signal_autovacuum_worker", rights)
    if around.owner_is_superuser is None:
        return f"it runs as no role, so only a superuser may signal it, and {rights.role} is none"
    if around.owner_is_superuser:
        return f"{backend.user} is a superuser, so only a superuser may signal it, and {rights.role} is none"
    if around.owner_is_ours or rights.signals:
        return None
    return _lacks("pg_signal_backend", rights)


def _lacks(role: str, rights: Rights) -> str:
    return f"{rights.role} may not signal it; {_grant(role, rights)}"


def _grant(roles: str, rights: Rights) -> str:
    """Return what a superuser has to run; on a standby roles are those of its primary."""
    return f"a superuser has to run, on the primary: GRANT {roles} TO {_identifier(rights.role)}"


def _identifier(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
