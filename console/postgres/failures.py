"""asyncpg's and the network's errors as `NodeError` with the phase that failed. Pure.

No text of a driver's error that could repeat a connection string goes through: asyncpg's carry server
messages only.
"""

from __future__ import annotations

import os
import ssl

import asyncpg

from console.errors import DeadlineError, LostConnection, NodeError, PasswordRefused, Phase

_NOT_POSTGRES = "does a PostgreSQL server listen there? check `tcp` or `unix` of this node"


def connect_failure(error: BaseException, *, where: str, user: str, limit_s: float) -> NodeError:
    """Return what a failed login was."""
    match error:
        case NodeError():
            return error
        case TimeoutError():
            return DeadlineError(
                Phase.CONNECT,
                f"no login within {limit_s:g} s",
                limit_s=limit_s,
                where=where,
                hint="is the node up, and is a firewall in between?",
            )
        case asyncpg.InvalidAuthorizationSpecificationError():
            kind = PasswordRefused if isinstance(error, asyncpg.InvalidPasswordError) else NodeError
            return kind(
                Phase.AUTH,
                str(error),
                where=where,
                hint=f"check {user}'s password source and the server's pg_hba.conf",
            )
        case asyncpg.CannotConnectNowError() | asyncpg.TooManyConnectionsError():
            return NodeError(
                Phase.CONNECT, str(error), where=where, hint="try again when the server is ready"
            )
        case asyncpg.PostgresConnectionError():
            return NodeError(
                Phase.PROTOCOL, "it hung up in the middle of the login", where=where, hint=_NOT_POSTGRES
            )
        case asyncpg.PostgresError():
            return NodeError(
                Phase.AUTH, str(error), where=where, hint="check `databases` and `user` of this node"
            )
        case ssl.SSLError():
            reason = getattr(error, "verify_message", None) or error.reason or str(error)
            return NodeError(
                Phase.TLS,
                f"TLS failed: {reason}",
                where=where,
                hint="check sslmode and sslrootcert of this node",
            )
        case ConnectionError() if "SSL" in str(error) or "TLS" in str(error):
            return NodeError(
                Phase.TLS,
                "the server does not do TLS as asked",
                where=where,
                hint="check sslmode of this node and the server's `ssl` setting",
            )
        case OSError():
            return NodeError(
                Phase.CONNECT,
                _reason(error),
                where=where,
                hint="is the server running, and does it listen on this address?",
            )
        case _:
            return NodeError(
                Phase.PROTOCOL, f"not an answer of PostgreSQL ({error})", where=where, hint=_NOT_POSTGRES
            )


def _reason(error: OSError) -> str:
    """Return the system's words for an error; asyncio puts its own in their place."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def query_failure(error: BaseException, *, where: str, limit_s: float) -> NodeError:
    """Return what a failed question was; the session must be closed after it."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError():
            return DeadlineError(
                Phase.PROTOCOL, f"no answer within {limit_s:g} s", limit_s=limit_s, where=where
            )
        case asyncpg.PostgresConnectionError() | asyncpg.AdminShutdownError() | asyncpg.CrashShutdownError():
            return LostConnection(Phase.PROTOCOL, f"the connection was lost: {error}", where=where)
        case OSError() | asyncpg.InterfaceError():
            return LostConnection(Phase.PROTOCOL, f"the connection was lost: {error}", where=where)
        case _:
            return NodeError(Phase.PROTOCOL, f"{type(error).__name__}: {error}", where=where)
