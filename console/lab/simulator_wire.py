"""The server side of the admin console's wire protocol, as far as a simulated PgBouncer speaks it.

Simple queries only, as the real console: whoever prepares a statement is told so and dropped. Trust
authentication. It holds no state of a bouncer; `simulator_state` answers.
Source: PostgreSQL's manual, "Message Formats"; error texts are PgBouncer's own.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from console.lab.simulator_columns import Header

_STARTUP_V3: Final = 196608
_SSL_REQUEST: Final = 80877103
_GSS_REQUEST: Final = 80877104
_INT = struct.Struct("!i")
_NULL: Final = _INT.pack(-1)
_READY: Final = b"Z\x00\x00\x00\x05I"
_CELLS: dict[str, bytes] = {}
_MAX_CACHED_CELLS: Final = 50_000


class Refused(Exception):
    """The console's ERROR answer."""


class Console(Protocol):
    """What answers one bouncer's consoles."""

    version: str

    def may_log_in(self, user: str) -> bool: ...

    def answer(self, statement: str, user: str) -> bytes:
        """Return the encoded answer up to and including CommandComplete.

        Raises:
            Refused: the console says ERROR.
        """
        ...


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _INT.pack(len(body) + 4) + body


def row_description(header: Header) -> bytes:
    """Encode a header; all columns are in text format."""
    fields = b"".join(
        name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, oid, 4 if oid == 23 else -1, -1, 0)
        for name, oid in header
    )
    return _message(b"T", struct.pack("!h", len(header)) + fields)


def _cell(value: str | None) -> bytes:
    if value is None:
        return _NULL
    known = _CELLS.get(value)
    if known is None:
        raw = value.encode()
        known = _INT.pack(len(raw)) + raw
        if len(_CELLS) < _MAX_CACHED_CELLS:
            _CELLS[value] = known
    return known


def data_rows(rows: Iterable[Sequence[str | None]]) -> bytes:
    """Encode rows of text; None is NULL."""
    parts: list[bytes] = []
    for row in rows:
        body = b"".join(map(_cell, row))
        parts.append(b"D" + _INT.pack(len(body) + 6) + struct.pack("!h", len(row)) + body)
    return b"".join(parts)


def command_complete(tag: str) -> bytes:
    """Encode a command tag."""
    return _message(b"C", tag.encode() + b"\0")


def _error(severity: str, message: str) -> bytes:
    fields = (("S", severity), ("V", severity), ("C", "08P01"), ("M", message))
    return _message(b"E", b"".join(f"{code}{text}\0".encode() for code, text in fields) + b"\0")


class ConsoleProtocol(asyncio.Protocol):
    """One client's connection to a simulated console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._buffer = b""
        self._user: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._buffer += data
        while self._transport is not None and not self._transport.is_closing():
            if self._user is None:
                if not self._start():
                    return
            elif not self._command():
                return

    def _take(self, offset: int) -> bytes | None:
        """Cut one length-prefixed message off the buffer; None while it is incomplete."""
        if len(self._buffer) < offset + 4:
            return None
        (length,) = _INT.unpack_from(self._buffer, offset)
        if len(self._buffer) < offset + length:
            return None
        body = self._buffer[offset + 4 : offset + length]
        self._buffer = self._buffer[offset + length :]
        return body

    def _start(self) -> bool:
        body = self._take(0)
        if body is None:
            return False
        (code,) = _INT.unpack_from(body)
        if code in (_SSL_REQUEST, _GSS_REQUEST):
            self._send(b"N")
            return True
        if code != _STARTUP_V3:
            self._hang_up()
            return False
        words = [word.decode("utf-8", "replace") for word in body[4:].split(b"\0")]
        options = dict(zip(words[::2], words[1::2], strict=False))
        user = options.get("user", "")
        if options.get("database", user) != "pgbouncer":
            self._hang_up(f"no such database: {options.get('database', user)}")
            return False
        if "options" in options:
            self._hang_up("unsupported startup parameter: options")
            return False
        if not self._console.may_log_in(user):
            self._hang_up("not allowed")
            return False
        self._user = user
        self._send(self._welcome())
        return True

    def _welcome(self) -> bytes:
        version = self._console.version
        parameters = {
            "server_version": f"{version}/bouncer",
            "client_encoding": "UTF8",
            "server_encoding": "UTF8",
            "DateStyle": "ISO",
            "TimeZone": "GMT",
            "standard_conforming_strings": "on",
            "is_superuser": "on",
        }
        if version.startswith("1.26"):
            parameters = {"pgbouncer.version": version, **parameters}
        told = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items())
        return _message(b"R", _INT.pack(0)) + told + _message(b"K", struct.pack("!ii", 1, 1)) + _READY

    def _command(self) -> bool:
        kind = self._buffer[:1]
        body = self._take(1)
        if body is None:
            return False
        if kind == b"Q":
            statement = body.rstrip(b"\0").decode("utf-8", "replace")
            try:
                answer = self._console.answer(statement, self._user or "")
            except Refused as refused:
                answer = _error("ERROR", str(refused))
            self._send(answer + _READY)
        elif kind == b"X":
            self._hang_up()
        else:
            self._send(_error("ERROR", "extended query protocol not supported by admin console"))
            self._hang_up("bad packet")
        return True

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _hang_up(self, fatal: str | None = None) -> None:
        if fatal is not None:
            self._send(_error("FATAL", fatal))
        if self._transport is not None:
            self._transport.close()
