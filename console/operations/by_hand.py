"""What a person can do when Pooldeck may not, because it cannot record it. Pure: it only words commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from psycopg.conninfo import make_conninfo

from console.config.schema import Bouncer
from console.model.derive import ADMIN_DATABASE
from console.operations.target import Target


def without_this_journal(
    op: str, target: Target, statements: Sequence[str], bouncer: Bouncer, *, in_shell: bool = False
) -> tuple[str, ...]:
    """Return the ways to carry a verb out although the journal cannot be written; () when nothing is sent.

    `in_shell`: the statements are commands for a shell on the bouncer's host.
    """
    if not statements:
        return ()
    command = _there(bouncer, "; ".join(statements)) if in_shell else psql_command(bouncer, statements)
    return (
        f"or keep the record elsewhere, in a folder with room: XDG_STATE_HOME=/dev/shm {target.command(op)}",
        f"or without a record: {command}",
    )


def psql_command(bouncer: Bouncer, statements: Sequence[str]) -> str:
    """Return the shell command that sends statements to a bouncer's console; it asks for the password."""
    conninfo = make_conninfo(
        host=str(bouncer.unix) if bouncer.unix is not None else bouncer.tcp_host,
        port=bouncer.listen_port,
        user=bouncer.admin_user,
        dbname=ADMIN_DATABASE,
        # Over a Unix socket there is no TLS.
        sslmode=bouncer.sslmode if bouncer.unix is None else None,
    )
    words = ["psql", conninfo, *(word for statement in statements for word in ("-c", statement))]
    return _there(bouncer, shlex.join(words))


def _there(bouncer: Bouncer, command: str) -> str:
    return f"on {bouncer.host}: {command}" if bouncer.host else command
