"""The guardian's end of the line to its run.

Not asyncio's streams: those drop what was already received as soon as a write fails, and the last word of a
run that dies may be that a statement is on its way. Here hearing goes on to the end, whatever is not taken.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from console.operations.lease.protocol import Lines, Message, encode

_CHUNK_BYTES = 65_536


class Line:
    """One end of a socket pair."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._lines = Lines()
        self._deaf = False
        """The other end takes nothing any more."""

    async def heard(self) -> AsyncIterator[Message]:
        """Yield what the run says, until it is gone.

        Raises:
            ProtocolError: it says what is no message.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._link, _CHUNK_BYTES)
            except OSError:
                return  # a reset is an end like any other
            if not data:
                return
            for message in self._lines.feed(data):
                yield message

    def say(self, message: Message) -> None:
        """Tell the run something, if it still listens; nothing waits for it."""
        if self._deaf or self._link.fileno() < 0:
            return
        data = encode(message)
        try:
            self._deaf = self._link.send(data) < len(data)
        except OSError:
            # Gone, or its buffer is full: half a message would spoil all that follow.
            self._deaf = True

    def close(self) -> None:
        """Hang up."""
        self._link.close()
