"""How one pooler knows a role, database by database; from that follows the runbook. Pure.

How is a client of that name checked, and which secret opens the server connection?

Source: pgbouncer-admin.md, section 4 (facts 1, 2, 5, 7–11; runbooks R1–R6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from console.config.scram import SecretKind
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Database

CONSOLE_TEXT = "its admin console"
STAR = "*"
"""The line of `[databases]` for every name that has none of its own."""


class Method(StrEnum):
    """What has to be done where a role is known in one way; as typed behind --method."""

    AB = "ab"
    INLINE = "inline"
    USERLIST = "userlist"
    SCRAM = "scram"
    AUTH_QUERY = "auth-query"
    AUTH_USER = "auth-user"

    @property
    def runbook(self) -> str:
        """The runbook's number."""
        return _RUNBOOKS[self]


_STORED = (SecretKind.MD5, SecretKind.SCRAM)
_RUNBOOKS = {
    Method.AB: "R1",
    Method.INLINE: "R2",
    Method.USERLIST: "R3",
    Method.SCRAM: "R4",
    Method.AUTH_QUERY: "R5",
    Method.AUTH_USER: "R6",
}


class Check(StrEnum):
    """How the pooler checks a client of the role's name."""

    ENTRY = "its auth_file entry"
    QUERY = "auth_query"
    OPEN = "no password is asked"
    OUTSIDE = "not by a password that PgBouncer has"
    NOBODY = "it cannot log in here"


class ServerSecret(StrEnum):
    """What opens a server connection as the role."""

    INLINE = "the password= of the database's line"
    ENTRY = "the auth_file entry"
    PASS_THROUGH = "the keys of the last client login"
    QUERY = "what auth_query gave"
    OTHER = "another role's: the database forces a user"
    NOT_USED = "none"


@dataclass(frozen=True, slots=True)
class Line:
    """What a pooler's configuration says of one database, secrets left out."""

    name: str
    force_user: str | None
    has_password: bool
    auth_user: str | None
    """The database's own, or the pooler's."""
    host: str | None = None
    """Where it leads, as the pooler has it; None: its own machine's socket."""
    port: int | None = None
    dbname: str | None = None
    """None: called as clients call it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a pooler's files and settings say that a role's layout depends on."""

    role: str
    auth_type: str
    entry: SecretKind | None
    """The role's entry of the auth_file; None: it has none."""
    lines: Mapping[str, Line]
    """By database; without those that only `*` makes."""
    star: Line | None
    """The line `*`."""
    hba_methods: frozenset[str]
    """With auth_type hba: the methods of its rules."""
    console_users: frozenset[str]
    """admin_users and stats_users."""
    auth_file: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """The role at one database of one pooler."""

    database: str
    method: Method
    check: Check
    secret: ServerSecret
    entry: SecretKind | None
    host: str | None = None
    """Where the database leads, as the pooler has it; None: its own machine's socket, or its console."""
    port: int | None = None
    dbname: str | None = None
    """The database's name in Postgres; None: the admin console."""
    problem: str | None = None
    """Why the role cannot be rotated here, or does not work even now."""
    other_forced: bool = False
    """Clients of the role get another role's server connection."""

    @property
    def is_console(self) -> bool:
        """Whether it is the pooler's own console."""
        return self.database == ADMIN_DATABASE

    @property
    def is_star(self) -> bool:
        """Whether it is the line `*` and no database: nobody can log in to it by that name."""
        return self.database == STAR

    @property
    def needs_postgres(self) -> bool:
        """Whether a server connection is opened as the role."""
        return self.secret not in (ServerSecret.OTHER, ServerSecret.NOT_USED)

    @property
    def client_may_log_in(self) -> bool:
        """Whether a login through the pooler as the role is checked by its password."""
        return self.check in (Check.ENTRY, Check.QUERY) and not self.is_star

    @property
    def is_unproven(self) -> bool:
        """Whether server connections are opened as the role, and no login as it tells whether they can."""
        return self.needs_postgres and (self.other_forced or not self.client_may_log_in)

    @property
    def logs_in_directly(self) -> bool:
        """Whether the pooler logs in to Postgres with the password itself, so that it can be tried there."""
        return self.secret in (ServerSecret.INLINE, ServerSecret.ENTRY)

    @property
    def text(self) -> str:
        """One line for people."""
        where = CONSOLE_TEXT if self.is_console else "the line *" if self.is_star else self.database
        entry = f" ({self.entry.value})" if self.check is Check.ENTRY and self.entry else ""
        server = "" if self.is_console else f"; server logins: {self.secret.value}"
        return (
            f"{where}: {self.method.runbook} {self.method.value}; clients: {self.check.value}{entry}{server}"
        )


def places_of(known: Known, databases: tuple[Database, ...]) -> tuple[Place, ...]:
    """Return where the role matters on a pooler, its databases in order, the console last."""
    found = []
    for row in databases:
        line = known.lines.get(row.name) or known.star
        if line is None:
            line = Line(row.name, row.force_user, has_password=False, auth_user=None)
        if row.force_user and line.force_user != row.force_user:
            # A RELOAD cannot take a forced user away, so what runs counts.
            line = replace(line, force_user=row.force_user)
        place = _place(known, line)
        if place is not None:
            where = replace(place, database=row.name, host=row.host or None, port=row.port)
            found.append(replace(where, dbname=row.database))
    found += _unused_star(known, databases)
    if known.role in known.console_users and known.entry not in (None, SecretKind.EMPTY):
        found.append(_console(known))
    return tuple(found)


def _unused_star(known: Known, databases: tuple[Database, ...]) -> Iterator[Place]:
    """Return the line `*` where it has the role's password and made no database yet."""
    line = known.star
    if line is None or line.force_user != known.role or not line.has_password:
        return
    if any(row.name not in known.lines for row in databases):
        return
    place = _forced(known, line, Check.NOBODY)
    yield replace(place, host=line.host, port=line.port, dbname=line.dbname)


def _console(known: Known) -> Place:
    method = Method.SCRAM if known.entry is SecretKind.SCRAM else Method.USERLIST
    check = _check(known, None)
    return Place(ADMIN_DATABASE, method, check, ServerSecret.NOT_USED, known.entry)


def _place(known: Known, line: Line) -> Place | None:
    role, entry = known.role, known.entry
    check = _check(known, line)
    if line.auth_user == role:
        return _auth_user(known, line, check)
    if line.force_user == role:
        return _forced(known, line, check)
    if check is Check.NOBODY:
        return None
    if line.force_user is not None:
        return Place(line.name, _method(entry, check), check, ServerSecret.OTHER, entry)
    if line.has_password:
        return Place(
            line.name,
            Method.INLINE,
            check,
            ServerSecret.INLINE,
            entry,
            problem=(
                "its line has a password= and no user=: it is used for whoever logs in, so it cannot be told "
                "whose it is"
            ),
        )
    return _own(known, line, check)


def _auth_user(known: Known, line: Line, check: Check) -> Place:
    """PgBouncer itself logs in as the role, by the entry, to ask about others."""
    entry = known.entry
    problem = None
    if entry is not SecretKind.PLAINTEXT:
        there = f"only its {entry.value} secret" if entry in _STORED else "no password of it"
        problem = (
            f"it is the auth_user, and the auth_file has {there}: PgBouncer logs in by a plaintext entry"
        )
    return Place(
        line.name,
        Method.AUTH_USER,
        check,
        ServerSecret.ENTRY,
        entry,
        problem=problem,
        other_forced=line.force_user not in (None, known.role),
    )


def _own(known: Known, line: Line, check: Check) -> Place:
    """The role logs in to Postgres by its own name."""
    entry = known.entry
    method = _method(entry, check)
    if check is Check.QUERY:
        return Place(line.name, method, check, ServerSecret.QUERY, entry)
    if entry is SecretKind.SCRAM:
        problem = None
        if check is not Check.ENTRY:
            problem = (
                "its clients do not log in by SCRAM, so PgBouncer never gets the keys that a SCRAM secret "
                "needs to log in to Postgres: it takes a plaintext entry"
            )
        return Place(line.name, method, check, ServerSecret.PASS_THROUGH, entry, problem=problem)
    problem = None
    if entry is SecretKind.MD5 and known.auth_type == "scram-sha-256":
        problem = "auth_type is scram-sha-256 and its entry is md5: nobody can log in with it"
    if entry is None:
        problem = "no password is asked and it has no auth_file entry, so only Postgres itself may let it in"
    return Place(line.name, method, check, ServerSecret.ENTRY, entry, problem=problem)


def _forced(known: Known, line: Line, check: Check) -> Place:
    entry = known.entry
    if line.has_password:
        return Place(line.name, Method.INLINE, check, ServerSecret.INLINE, entry)
    if entry is SecretKind.SCRAM:
        return Place(
            line.name,
            Method.SCRAM,
            check,
            ServerSecret.PASS_THROUGH,
            entry,
            problem=(
                "its line forces this user, and the auth_file has only its SCRAM secret: PgBouncer needs "
                "password= or a plaintext entry to log in to Postgres"
            ),
        )
    problem = None
    if entry is SecretKind.MD5:
        problem = (
            "its line forces this user, and the auth_file has only its md5 secret, which opens no Postgres "
            "that has a SCRAM one: PgBouncer needs password= or a plaintext entry"
        )
    elif entry is None:
        problem = "its line forces this user, and no password of it is there"
    return Place(line.name, Method.USERLIST, check, ServerSecret.ENTRY, entry, problem=problem)


def _method(entry: SecretKind | None, check: Check) -> Method:
    if check is Check.QUERY:
        return Method.AUTH_QUERY
    return Method.SCRAM if entry is SecretKind.SCRAM else Method.USERLIST


def _check(known: Known, line: Line | None) -> Check:
    """Say how a client that calls itself the role is checked; `line` None: at the console."""
    auth_type, entry = known.auth_type, known.entry
    if auth_type == "any":
        return Check.OPEN
    if auth_type in ("pam", "ldap"):
        return Check.OUTSIDE
    if auth_type == "hba" and not known.hba_methods & {"md5", "password", "scram-sha-256"}:
        return Check.OUTSIDE
    if entry is SecretKind.EMPTY:
        # It shadows auth_query, and no password opens it.
        return Check.NOBODY
    if entry is not None:
        if auth_type == "trust":
            return Check.OPEN
        return Check.OUTSIDE if auth_type == "cert" else Check.ENTRY
    if line is None or line.auth_user is None or auth_type == "trust":
        return Check.NOBODY
    return Check.OUTSIDE if auth_type == "cert" else Check.QUERY
