"""A server that speaks just enough of the protocol to misbehave at a chosen moment.

What no real one does on demand: a COMMIT that is carried out and not answered, a reset in the middle of a
login, an answer after an exact time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

READY = b"Z\x00\x00\x00\x05I"
LOGGED_IN = b"R\x00\x00\x00\x08\x00\x00\x00\x00" + READY


@dataclass
class Script:
    """What goes wrong, each taken once.

    Attributes:
        resets: connections that are reset instead of a login; `refusals`: FATAL answers to a login.
        commits: what is done with a COMMIT: `drop` it and the connection, keep `silent`; `leave` closes the
            connection after the answer; a number holds the answer back for as many seconds.
    """

    resets: int = 0
    refusals: int = 0
    commits: Iterator[str | float] = field(default_factory=lambda: iter(()))


class FakeServer:
    """Listens on loopback while the context lasts."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        if self._script.resets:
            self._script.resets -= 1
            _reset(writer)
            return
        if self._script.refusals:
            self._script.refusals -= 1
            writer.write(_error("FATAL", "57P03", "the database system is starting up"))
            return
        writer.write(LOGGED_IN)
        while True:
            kind, length = struct.unpack("!cI", await reader.readexactly(5))
            statement = (await reader.readexactly(length - 4)).rstrip(b"\x00")
            if kind != b"Q":
                return
            fault = next(self._script.commits, None) if statement == b"COMMIT" else None
            if fault == "drop":
                return
            if fault == "silent":
                continue
            if isinstance(fault, float):
                await asyncio.sleep(fault)
            tag = statement.split(b" ")[0] + b"\x00"
            writer.write(b"C" + struct.pack("!I", 4 + len(tag)) + tag + READY)
            if fault == "leave":
                writer.write(_error("FATAL", "57P01", "terminating connection"))
                return


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _error(severity: str, state: str, message: str) -> bytes:
    fields = b"".join(
        code + text.encode() + b"\x00" for code, text in ((b"S", severity), (b"C", state), (b"M", message))
    )
    return b"E" + struct.pack("!I", 4 + len(fields) + 1) + fields + b"\x00"
