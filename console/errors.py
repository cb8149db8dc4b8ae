"""Every error Pooldeck raises on purpose, as one tree.

PooldeckError
├── UsageError                the command line, a selector or a setting is wrong      exit 2
│   ├── SelectorError         a selector names nothing, or cannot be read
│   └── InventoryError        one or more mistakes in an inventory file (`problems`)
├── NodeError                 a pooler, host or Postgres node did not answer as it should
│   ├── DeadlineError         a phase took longer than its limit
│   ├── LostConnection        the link broke after a statement was sent: outcome unknown
│   ├── PasswordRefused       a Postgres node does not take the password
│   └── CredentialError       the password could not be had from its source
├── AdminError                the pooler understood us and refused (`sqlstate`)       exit 1
├── RefusedError              the guard denied the operation                         exit 3
├── JournalError              the journal cannot be written: nothing is sent          exit 1
└── LabError                  the local test fleet could not be started or stopped    exit 1

This module says what went wrong; it prints nothing (`console.cli.diagnostics` does). A message
is one sentence; `where` is the place (file:line:key, node, hop); `hint` says what to do next.
No message may hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where on the way to a node something failed, in the order the phases are passed."""

    CREDENTIALS = "credentials"
    SSH = "ssh"
    TUNNEL = "tunnel"
    CONNECT = "connect"
    TLS = "tls"
    AUTH = "auth"
    PROTOCOL = "protocol"
    PARSE = "parse"


class PooldeckError(Exception):
    """Base of everything raised on purpose.

    Attributes:
        message: one sentence without a final stop.
        where: the place it happened, or None when the message says it all.
        hint: what the reader can do next, or None.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(PooldeckError):
    """What the user typed or wrote cannot be carried out."""


class SelectorError(UsageError):
    """A selector cannot be read, or names nothing in this fleet."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in an inventory file."""

    file: str
    line: int | None
    """1-based; None when the file as a whole is meant."""
    key: str
    """Dotted path as the reader would write it, e.g. `bouncers[edge-1a].sslmode`; "" for the whole file."""
    message: str
    hint: str | None = None
    """The nearest valid key or value, or how to mend it."""
    column: int | None = None
    """1-based; None when the mistake is a key's or a value's, not one of TOML's own grammar."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class InventoryError(UsageError):
    """An inventory cannot be used; `problems` holds every mistake found, in file order."""

    def __init__(self, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        count = len(problems)
        super().__init__(
            f"{count} mistake{'' if count == 1 else 's'} in the inventory",
            where=problems[0].file if problems else None,
            hint=hint,
        )
        self.problems = problems


class NodeError(PooldeckError):
    """A node could not be reached or did not answer as it should.

    Attributes:
        phase: the phase that failed.
    """

    def __init__(
        self, phase: Phase, message: str, *, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.phase = phase


class PasswordRefused(NodeError):
    """A Postgres node does not take the password: wrong, or none is stored."""


class DeadlineError(NodeError):
    """A phase did not end within its limit.

    Attributes:
        limit_s: the limit in seconds.
    """

    def __init__(
        self, phase: Phase, message: str, *, limit_s: float, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(phase, message, where=where, hint=hint)
        self.limit_s = limit_s


class LostConnection(NodeError):
    """The connection broke while an answer was outstanding: whether the statement took effect is unknown."""


class AdminError(PooldeckError):
    """The admin console answered with an ERROR; the connection stays usable.

    Attributes:
        sqlstate: five characters; PgBouncer uses 08P01 for all but a failed RELOAD (F0000).
    """

    def __init__(
        self, message: str, *, sqlstate: str | None, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.sqlstate = sqlstate


class CredentialError(NodeError):
    """A password could not be had from its source; the source is named, its value never."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(Phase.CREDENTIALS, message, where=where, hint=hint)


class RefusedError(PooldeckError):
    """The guard refused; `where` is the rule that did."""


class JournalError(PooldeckError):
    """The journal cannot be written, so no statement is sent."""


class LabError(PooldeckError):
    """The local test fleet could not be started, read or stopped."""
