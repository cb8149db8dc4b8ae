"""What lives on an SSH channel: a forwarded connection, and a remote command.

Both are driven by `pump.Pump` in its thread and never block on their local socket or channel. Results are
handed to callbacks, which must return at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import CommandResult, TcpAddress, UnixAddress
from console.transport.pump import READ, WRITE, Pump
from console.transport.wire import (
    ADMINISTRATIVELY_PROHIBITED,
    CONNECT_FAILED,
    PACKET_BYTES,
    WINDOW_BYTES,
    LinkChannel,
)

_CHUNK_BYTES = 262_144
_SHARE = 4
"""Chunks moved each way before other flows of the connection get their turn."""
_KILL_AFTER_S = 0.5
"""From TERM to KILL of a command that is over its time."""
_OUTPUT_GRACE_S = 1.0
"""How long after its exit a command's output is waited for; a daemon it left may hold it open for ever."""


@dataclass(frozen=True, slots=True)
class Target:
    """The far end of a forward, and how to speak of it."""

    address: TcpAddress | UnixAddress
    hop: str
    """The host that dials it."""
    user: str

    def refused(self, reason: int, words: str) -> NodeError:
        """Turn the server's refusal into an error with a hint."""
        where = f"{self.hop} -> {self.address}"
        if reason == ADMINISTRATIVELY_PROHIBITED:
            return NodeError(
                Phase.TUNNEL,
                f"the SSH server does not allow the forward ({words})",
                where=where,
                hint="see AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config,"
                " and the key's options in authorized_keys",
            )
        if isinstance(self.address, UnixAddress):
            return NodeError(
                Phase.TUNNEL,
                f"the SSH server could not connect to the Unix socket ({words})",
                where=where,
                hint=f"check on {self.hop} that the pooler runs, that {self.address.path} exists, that user"
                f" {self.user} may open it, and that sshd allows it (AllowStreamLocalForwarding)",
            )
        said = "the far end could not be reached" if reason == CONNECT_FAILED else f"refused, code {reason}"
        return NodeError(
            Phase.TUNNEL,
            f"{said}: {words}",
            where=where,
            hint=f"check that something listens on {self.address}, as seen from {self.hop}",
        )


def _send(channel: LinkChannel, data: memoryview) -> int:
    """Send what the channel's window takes and return its length; 0 when the window is shut."""
    try:
        return channel.send(bytes(data[:PACKET_BYTES]))
    except OSError:
        # Shut, or closed by the far side this very moment; either way `on_change` follows.
        return 0


class ForwardFlow:
    """One local connection joined to one far one. Half-closes and aborts pass both ways."""

    def __init__(
        self,
        near: socket.socket,
        target: Target,
        *,
        limit_s: float,
        on_dialled: Callable[[NodeError | None], None],
        on_lost: Callable[[NodeError], None],
    ) -> None:
        """`near` is taken over. `on_dialled` is told once how dialling ended, within `limit_s` seconds."""
        near.setblocking(False)
        self._near = near
        self._target = target
        self._limit_s = limit_s
        self._on_dialled: Callable[[NodeError | None], None] | None = on_dialled
        self._on_lost = on_lost
        self._pump: Pump | None = None
        self._channel: LinkChannel | None = None
        self._up = memoryview(b"")
        self._down = memoryview(b"")
        self._near_ended = False
        self._far_ended = False
        self._late = False
        self.deadline_s: float | None = None
        self.finished = False

    def start(self, pump: Pump) -> None:
        """See `Flow.start`."""
        self._pump = pump
        self.deadline_s = time.monotonic() + self._limit_s
        address = self._target.address
        if isinstance(address, UnixAddress):
            self._channel = pump.transport.open_unix(address.path, self._changed)
        else:
            self._channel = pump.transport.open_tcp(address.host, address.port, self._changed)

    def step(self, ready: int) -> None:
        """See `Flow.step`."""
        channel = self._channel
        if channel is None or self.finished or channel.cut:
            return
        if self._late:
            if channel.opened or channel.ended or channel.refusal is not None:
                channel.close()
                self._release(abort=True)
        elif channel.refusal is not None:
            self._tell(self._target.refused(*channel.refusal))
            self._release(abort=True)
        elif not channel.opened:
            self._wait_for_opening()
        else:
            self.deadline_s = None
            self._tell(None)
            self._move(channel, ready)

    def lose(self, error: NodeError) -> None:
        """See `Flow.lose`."""
        if self.finished:
            return
        if self._on_dialled is not None:
            self._tell(error)
        elif not self._late:
            self._on_lost(error)
        self._release(abort=True)

    def _changed(self) -> None:
        if self._pump is not None:
            self._pump.changed(self)

    def _tell(self, error: NodeError | None) -> None:
        tell, self._on_dialled = self._on_dialled, None
        if tell is not None:
            tell(error)

    def _wait_for_opening(self) -> None:
        if self.deadline_s is None or time.monotonic() < self.deadline_s:
            return
        # SSH cannot take an open request back: the flow stays until the server answers, then closes.
        self._late = True
        self.deadline_s = None
        where = f"{self._target.hop} -> {self._target.address}"
        self._tell(
            DeadlineError(
                Phase.TUNNEL,
                f"no answer within {self._limit_s:g} s",
                limit_s=self._limit_s,
                where=where,
                hint=f"a firewall between {self._target.hop} and the address may drop the packets",
            )
        )
        self._close_near(abort=True)

    def _move(self, channel: LinkChannel, ready: int) -> None:
        try:
            self._move_down(channel)
            if ready & READ or self._up:
                self._move_up(channel)
        except OSError:
            # Only the near side raises it: it was reset, so the far side is cut off as well.
            channel.close()
            self._release(abort=True)
            return
        if self._far_ended and not self._down and (self._near_ended or channel.ended):
            channel.close()
            self._release(abort=False)
        elif self._pump is not None:
            reading = READ if not self._near_ended and not self._up else 0
            self._pump.watch(self._near, self, reading | (WRITE if self._down else 0))

    def _move_up(self, channel: LinkChannel) -> None:
        for _ in range(_SHARE):
            if not self._up:
                if self._near_ended:
                    return
                try:
                    data = self._near.recv(_CHUNK_BYTES)
                except BlockingIOError:
                    return
                if not data:
                    self._near_ended = True
                    channel.shutdown_write()
                    return
                self._up = memoryview(data)
            while self._up:
                if channel.ended or channel.eof_sent:
                    self._up, self._near_ended = memoryview(b""), True
                    return
                sent = _send(channel, self._up)
                if not sent:
                    return
                self._up = self._up[sent:]

    def _move_down(self, channel: LinkChannel) -> None:
        for _ in range(_SHARE):
            if not self._down:
                if channel.recv_ready():
                    self._down = memoryview(channel.recv(WINDOW_BYTES))
                elif channel.eof_received or channel.ended:
                    self._end_down()
                    return
                else:
                    return
            try:
                self._down = self._down[self._near.send(self._down) :]
            except BlockingIOError:
                return
        self._changed()

    def _end_down(self) -> None:
        if not self._far_ended:
            self._far_ended = True
            with contextlib.suppress(OSError):  # the near side may have hung up already
                self._near.shutdown(socket.SHUT_WR)

    def _release(self, *, abort: bool) -> None:
        self.finished = True
        self._close_near(abort=abort)
        self._up = self._down = memoryview(b"")

    def _close_near(self, *, abort: bool) -> None:
        if self._near.fileno() < 0:
            return
        if self._pump is not None:
            self._pump.watch(self._near, self, 0)
        if abort and self._near.family != socket.AF_UNIX:
            # A reset, so that the driver cannot take a broken answer for a whole one.
            with contextlib.suppress(OSError):
                self._near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._near.close()


class CommandFlow:
    """One remote command: its input sent, its output kept up to a bound, its end awaited."""

    def __init__(
        self,
        command: str,
        *,
        stdin: bytes,
        max_output_bytes: int,
        where: str,
        on_end: Callable[[CommandResult | NodeError], None],
    ) -> None:
        """`max_output_bytes` is for stdout and for stderr each."""
        self._command = command
        self._stdin = memoryview(stdin)
        self._bound = max_output_bytes
        self._where = where
        self._on_end = on_end
        self._pump: Pump | None = None
        self._channel: LinkChannel | None = None
        self._asked = False
        self._stdin_ended = False
        self._cancelled = False
        self._out = bytearray()
        self._err = bytearray()
        self._truncated = False
        self.deadline_s: float | None = None
        self.finished = False

    def start(self, pump: Pump) -> None:
        """See `Flow.start`."""
        self._pump = pump
        if self._cancelled:
            self.finished = True
            return
        self._channel = pump.transport.open_command(lambda: pump.changed(self))

    def cancel(self) -> None:
        """End the command on the far side: TERM, KILL, close. In the pump's thread only."""
        channel = self._channel
        self._cancelled = True
        if channel is None or self.finished or not self._asked or channel.ended:
            if channel is not None and channel.opened:
                self.finished = True
                channel.close()
                if self._pump is not None:
                    self._pump.changed(self)
            return
        channel.send_signal("TERM")
        self.deadline_s = time.monotonic() + _KILL_AFTER_S

    def step(self, ready: int) -> None:  # noqa: ARG002  # a command has no local socket
        """See `Flow.step`."""
        channel = self._channel
        if channel is None or self.finished or channel.cut:
            return
        if channel.refusal is not None:
            self._end(self._refused(channel.refusal[1]))
        elif channel.opened and not self._asked:
            self._begin(channel)
        elif self._asked:
            self._send(channel)
            self._read(channel)
            self._judge(channel)

    def lose(self, error: NodeError) -> None:
        """See `Flow.lose`."""
        self._end(error)

    def _begin(self, channel: LinkChannel) -> None:
        if self._cancelled:
            self.finished = True
            channel.close()
            return
        self._asked = True
        channel.request_exec(self._command)

    def _send(self, channel: LinkChannel) -> None:
        if not channel.event_ready or self._stdin_ended or self._cancelled:
            return
        while self._stdin and not channel.ended:
            sent = _send(channel, self._stdin)
            if not sent:
                return
            self._stdin = self._stdin[sent:]
        if not self._stdin or channel.ended:
            self._stdin_ended = True
            channel.shutdown_write()

    def _read(self, channel: LinkChannel) -> None:
        while channel.recv_ready():
            self._keep(self._out, channel.recv(WINDOW_BYTES))
        while channel.recv_stderr_ready():
            self._keep(self._err, channel.recv_stderr(WINDOW_BYTES))

    def _keep(self, into: bytearray, data: bytes) -> None:
        room = max(0, self._bound - len(into))
        into += data[:room]
        self._truncated = self._truncated or len(data) > room

    def _judge(self, channel: LinkChannel) -> None:
        exited = channel.exit_code is not None or channel.exit_signal is not None
        late = self.deadline_s is not None and time.monotonic() >= self.deadline_s
        if channel.request_refused:
            channel.close()
            self._end(self._refused("it refused the request"))
            return
        # Only a channel that is closed gives its place among the server's sessions (MaxSessions) back.
        if not channel.ended and not (exited and late):
            if self._cancelled and late:
                channel.send_signal("KILL")
                channel.close()
                self.finished = True
            elif exited and self.deadline_s is None:
                self.deadline_s = time.monotonic() + _OUTPUT_GRACE_S
            return
        self._read(channel)
        if not channel.event_ready:
            self._end(self._refused("the server would not run a command"))
            return
        result = CommandResult(
            exit_status=channel.exit_code,
            stdout=bytes(self._out),
            stderr=bytes(self._err),
            truncated=self._truncated,
            signal=channel.exit_signal,
        )
        channel.close()
        self._end(result)

    def _refused(self, words: str) -> NodeError:
        return NodeError(
            Phase.SSH,
            f"the SSH server would not run a command ({words})",
            where=self._where,
            hint="the key may be limited to forwards (command= or restrict in authorized_keys)",
        )

    def _end(self, outcome: CommandResult | NodeError) -> None:
        if not self.finished:
            self.finished = True
            if not self._cancelled:
                self._on_end(outcome)
