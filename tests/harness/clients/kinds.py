"""The kinds of errors a report counts by: phase, SQLSTATE, and a message without what differs each time."""

from __future__ import annotations

import re

from tests.harness.clients.session import Trouble

REFUSED = "refused"
RESET = "reset"
SHUTTING_DOWN = "told that the pooler is shutting down"
"""From 1.25 on PgBouncer says so to who is in the middle of a login when it begins to shut down."""
_TRANSPORT = {
    REFUSED: ("Connection refused", "No such file or directory"),
    RESET: (
        "Connection reset by peer",
        "server closed the connection unexpectedly",
        "SSL SYSCALL error: EOF detected",
        "SSL connection has been closed unexpectedly",
        "Broken pipe",
        "unexpected eof while reading",
    ),
}
_LIBPQ_PREFIX = re.compile(r"^connection to server (at|on) .*? failed: ", re.DOTALL)
_VARIES = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)*")
LONGEST = 100


def retriable(trouble: Trouble) -> str | None:
    """Return `refused` or `reset` for a connect that never got an answer; None for any other trouble.

    An answer, such as FATAL `the database system is starting up`, is a failure: applications do not retry
    those. The one of a pooler that leaves is a refused connect as well, and a kind of its own.
    """
    if trouble.phase == "connect" and "FATAL:  pooler is shutting down" in trouble.message:
        return SHUTTING_DOWN
    if trouble.phase != "connect" or "FATAL:" in trouble.message:
        return None
    for kind, words in _TRANSPORT.items():
        if any(word in trouble.message for word in words):
            return kind
    return None


def kind_of(trouble: Trouble) -> str:
    """Return the row a trouble is counted in: `COMMIT: 57P01 terminating connection due to …`."""
    text = _LIBPQ_PREFIX.sub("", trouble.message.strip())
    line = text.splitlines()[0] if text else "no message"
    for kind, words in _TRANSPORT.items():
        if trouble.sqlstate is None and "FATAL:" not in text and any(word in text for word in words):
            line = f"connection {kind}"
    state = f"{trouble.sqlstate} " if trouble.sqlstate else ""
    return f"{trouble.phase}: {state}{_VARIES.sub('N', line)[:LONGEST]}"
