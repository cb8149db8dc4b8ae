"""Turns what libpq says about a failed login into a `NodeError` with the phase that failed.

libpq reports a failed connection as text only, so the phase comes from two sources: the stage the
connection had reached (`console.poolers.wire` watches it), and what the text says where that is more
exact. Messages of PgBouncer are English and fixed in its source; libpq's are English because nothing
here sets a message locale. Pure text in, errors out: no IO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from console.errors import DeadlineError, NodeError, Phase

VERIFY_FAILED: Final = "certificate verify failed"
"""All libpq says of a certificate it does not accept (but for a wrong name)."""
_ATTEMPT = re.compile(r'connection to server (?:at|on socket) ".*?"(?: \([^)]*\))?(?:, port \d+)? failed: ')


@dataclass(frozen=True, slots=True)
class _Rule:
    """The first rule whose pattern is found decides; `hint` may use {user}."""

    pattern: re.Pattern[str]
    phase: Phase
    hint: str | None = None


def _rule(pattern: str, phase: Phase, hint: str | None = None) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), phase, hint)


_NOT_A_POOLER = (
    "this address answers, but not as a PgBouncer admin console: check `tcp` or `unix` of this bouncer"
)
_RULES = (
    _rule(
        r"SSL required|TLS required|client_tls",
        Phase.TLS,
        'the pooler takes only TLS: set sslmode = "require" or stricter for this bouncer',
    ),
    _rule(
        r"server does not support SSL|Unix-domain sockets? .*SSL|SSL is not enabled",
        Phase.TLS,
        'the pooler offers no TLS here: turn client_tls_sslmode on, or set sslmode = "disable"',
    ),
    _rule(
        r"certificate has expired|certificate is not yet valid",
        Phase.TLS,
        "renew the pooler's certificate (client_tls_cert_file), then RELOAD it; check this machine's clock",
    ),
    _rule(
        r"does not match host name",
        Phase.TLS,
        'use a name the certificate carries in `tcp`, or sslmode = "verify-ca"',
    ),
    _rule(
        r"root certificate file .* does not exist|self.signed certificate|unable to get (?:local )?issuer"
        r"|certificate verify failed|unknown ca",
        Phase.TLS,
        "point sslrootcert at the authority that signed the pooler's certificate",
    ),
    _rule(
        r"received invalid response to SSL negotiation|expected authentication request|"
        r"received (?:an )?(?:invalid|unexpected) (?:authentication|protocol|message)|"
        r"lost synchronization|message contents do not agree|unsupported frontend protocol|"
        r"invalid authentication request|authentication method \d+ not supported|"
        r"received invalid protocol negotiation|invalid message length|bad packet",
        Phase.PROTOCOL,
        _NOT_A_POOLER,
    ),
    _rule(
        r"SSL|TLS|certificate", Phase.TLS, "check sslmode, sslrootcert, sslcert and sslkey of this bouncer"
    ),
    _rule(
        r'database "pgbouncer" does not exist|no such database|the database system is',
        Phase.PROTOCOL,
        "a PostgreSQL server seems to listen here, not a pooler: check `tcp` or `unix` of this bouncer",
    ),
    _rule(
        r"unsupported startup parameter",
        Phase.PROTOCOL,
        "unset PGGEQO and like variables of libpq in this shell: the admin console refuses them",
    ),
    _rule(
        r"shutting down",
        Phase.CONNECT,
        "the pooler is shutting down: wait for its successor",
    ),
    _rule(
        r"not allowed",
        Phase.AUTH,
        'list "{user}" in admin_users or stats_users of the pooler, then RELOAD it',
    ),
    _rule(
        r"no password supplied",
        Phase.AUTH,
        'no password was found for "{user}": check password_from of this bouncer',
    ),
    _rule(
        r"password authentication failed|SASL|SCRAM|auth failed|login failed|no such user"
        r"|role .* does not exist",
        Phase.AUTH,
        'check the password of "{user}" where password_from names it, and the pooler\'s auth_file',
    ),
    _rule(
        r"no pg_hba|login rejected|hba",
        Phase.AUTH,
        'the pooler\'s HBA rules do not let "{user}" in from here',
    ),
    _rule(
        r"FATAL:|ERROR:",
        Phase.AUTH,
        "the pooler ended the login itself: its log says why",
    ),
    _rule(
        r"Connection refused",
        Phase.CONNECT,
        "is the pooler running, and does it listen on this address and port?",
    ),
    _rule(
        r"No such file or directory",
        Phase.CONNECT,
        "is the pooler running with this unix_socket_dir and listen_port?",
    ),
    _rule(
        r"Permission denied",
        Phase.CONNECT,
        "this account may not use the socket: see unix_socket_mode and the folder's rights",
    ),
    _rule(
        r"temporarily unavailable",
        Phase.CONNECT,
        "its queue of connections is full: it may hang, or be suspended (until 1.25): pooldeck mend looks at "
        "its process, and ends a SUSPEND",
    ),
    _rule(
        r"Network is unreachable|No route to host|timed out",
        Phase.CONNECT,
        "the network does not lead there: check the address, or give the bouncer a host to go through",
    ),
)
_STAGE_HINT = {
    Phase.CONNECT: "is the pooler running, and does it listen on this address and port?",
    Phase.TLS: "it may not speak TLS at all: check sslmode and the address of this bouncer",
    Phase.PROTOCOL: _NOT_A_POOLER,
    Phase.AUTH: "the pooler's log says why it ended the login",
}
_STAGE_DOING = {
    Phase.CONNECT: "connecting",
    Phase.TLS: "agreeing on TLS",
    Phase.PROTOCOL: "waiting for its first answer",
    Phase.AUTH: "logging in",
}
_DEADLINE_HINT = {
    Phase.CONNECT: "a firewall may drop the packets, or the machine is down",
    Phase.TLS: (
        "it may not speak TLS at all, hang, or be suspended (until 1.25): pooldeck mend looks at its "
        "process, and ends a SUSPEND"
    ),
    Phase.PROTOCOL: (
        "it accepted the connection and said nothing: it may hang, be no pooler, or be suspended (until "
        "1.25): pooldeck mend looks at its process, and ends a SUSPEND"
    ),
    Phase.AUTH: "it began the login and did not end it: auth_query or PAM behind it may hang",
}


def tidy(text: str) -> str:
    r"""Return libpq's text as one line, without the address our own `where` already tells.

    >>> tidy('connection to server at "h" (::1), port 1 failed: Connection refused\n\tIs the server up?\n')
    'Connection refused'
    """
    seen: list[str] = []
    for attempt in _ATTEMPT.split(text):
        line = attempt.strip().split("\n\t")[0].strip()
        line = " ".join(line.split())
        if line and line not in seen:
            seen.append(line)
    return "; ".join(seen) or "the connection failed without a message"


def login_failure(stage: Phase, text: str, *, where: str, user: str) -> NodeError:
    """Return the error for a login that failed after reaching `stage` with libpq's `text`."""
    message = tidy(text)
    for rule in _RULES:
        if rule.pattern.search(message):
            hint = rule.hint.replace("{user}", user) if rule.hint else None
            return NodeError(rule.phase, message, where=where, hint=hint)
    return NodeError(stage, message, where=where, hint=_STAGE_HINT.get(stage))


def login_deadline(stage: Phase, *, where: str, limit_s: float) -> DeadlineError:
    """Return the error for a login that was still in `stage` when its time was up."""
    return DeadlineError(
        stage,
        f"no answer within {limit_s:g} s while {_STAGE_DOING.get(stage, str(stage))}",
        limit_s=limit_s,
        where=where,
        hint=_DEADLINE_HINT.get(stage),
    )


def not_a_pooler(server_version: str, *, where: str) -> NodeError:
    """Return the error for a server that let us in and is no PgBouncer."""
    return NodeError(
        Phase.PROTOCOL,
        f"is PostgreSQL {server_version}, not a pooler"
        if server_version
        else "did not say that it is a PgBouncer",
        where=where,
        hint="check `tcp` or `unix` of this bouncer",
    )
