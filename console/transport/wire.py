"""Paramiko as Pooldeck needs it: every workaround for paramiko 4.0, in this one file.

What paramiko 4.0 lacks, and what is done about it here:

* `open_channel("direct-streamlocal@openssh.com")` sends the open message without the socket's path. The
  message is built here: path, an empty string, a zero (PROTOCOL of OpenSSH, section 2.4).
* `open_channel` blocks, and keeps one `saved_exception` for all channels, without the server's words.
  `LinkTransport.begin_open` returns at once; each `LinkChannel` carries its own answer.
* A channel tells nobody that its send window opened. `LinkChannel.on_change` is called for every message.
* Keepalives ask for no answer, so a dead link is never noticed. `LinkPacketizer` asks for one and keeps the
  time of the last packet read.
* The handshake timer is a thread that outlives a failed attempt; our deadlines make it needless.
* During a rekey the reader thread may wait 30 s for itself to finish it: its messages are kept till then.
* The reader thread answers a channel's CLOSE while another may be about to send on that channel; what then
  arrives after the CLOSE makes OpenSSH end the whole connection. Here the reader only notes the CLOSE.
* The reason in a DISCONNECT message, and a command's exit signal, are only logged.

This module must not decide anything: no retries, no host names, no inventory.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_NEWKEYS,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

WINDOW_BYTES = 1 << 20
"""What the far end may send before we have read it: bounds the memory of one channel."""
PACKET_BYTES = 32_768
ADMINISTRATIVELY_PROHIBITED = 1
"""Reason codes of SSH_MSG_CHANNEL_OPEN_FAILURE: RFC 4254, section 5.1."""
CONNECT_FAILED = 2
_NO_ANSWER_YET = -1


def quiet_paramiko_log() -> None:
    """Keep paramiko's own log off stderr; what it would say reaches the user as our errors.

    A level the program set itself stays in force, so `--log-file` may still ask for it.
    """
    log = logging.getLogger("paramiko")
    if not any(isinstance(handler, logging.NullHandler) for handler in log.handlers):
        log.addHandler(logging.NullHandler())
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)


class LinkPacketizer(Packetizer):
    """Knows when a packet last came, and asks for one when none does."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.last_read_s = time.monotonic()
        """Monotonic: when a packet was last read."""
        self.first_line: str | None = None
        """What the other side said first: its SSH version, if it is an SSH server."""
        self._probe_after_s: float | None = None
        self._last_probe_s = 0.0
        self._send_probe: Callable[[], None] = lambda: None

    def probe_when_quiet(self, after_s: float, send_probe: Callable[[], None]) -> None:
        """Call `send_probe`, in the reader's thread, whenever nothing was read for `after_s` seconds."""
        self._send_probe = send_probe
        self._probe_after_s = after_s

    def read_message(self) -> tuple[int, Message]:
        """Read one packet; see paramiko."""
        result = super().read_message()
        self.last_read_s = time.monotonic()
        return result

    def readline(self, timeout: float) -> str:
        """Read one line before the first packet; see paramiko."""
        line = super().readline(timeout)
        if self.first_line is None:
            self.first_line = line
        return line

    def start_handshake(self, timeout: float) -> None:
        """Start no timer: the caller's deadline closes the transport."""

    def _check_keepalive(self) -> None:
        if self._probe_after_s is None or self.need_rekey():
            return
        now = time.monotonic()
        if now - max(self.last_read_s, self._last_probe_s) >= self._probe_after_s:
            self._last_probe_s = now
            self._send_probe()


class LinkChannel(paramiko.Channel):
    """A channel that tells when something about it changed, and how its opening was answered."""

    def __init__(self, chanid: int, on_change: Callable[[], None]) -> None:
        super().__init__(chanid)
        self.on_change = on_change
        self.opened = False
        self.refusal: tuple[int, str] | None = None
        """Reason code and the server's words when it would not open the channel."""
        self.request_refused = False
        """True when the server would not run the command."""
        self.far_closed = False
        self.cut = False
        """True when the whole connection ended; `ended` then does not mean that the far end closed."""
        self.exit_signal: str | None = None
        self.settimeout(0.0)

    def __del__(self) -> None:
        """Send nothing: paramiko's would, from whatever thread collects garbage."""

    @property
    def ended(self) -> bool:
        """True when either side closed it; what had arrived before can still be read."""
        return self.closed or self.far_closed

    @property
    def exit_code(self) -> int | None:
        """The command's exit status; None while it has none."""
        return None if self.exit_status == _NO_ANSWER_YET else self.exit_status

    def request_exec(self, command: str) -> None:
        """Ask for `command` to be run, without waiting for the answer."""
        self._request("exec", lambda m: m.add_string(command), want_reply=True)

    def send_signal(self, name: str) -> None:
        """Ask the server to signal the command (RFC 4254, 6.9); `name` is without SIG."""
        self._request("signal", lambda m: m.add_string(name), want_reply=False)

    def _request(self, kind: str, fill: Callable[[Message], object], *, want_reply: bool) -> None:
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self.remote_chanid)
        message.add_string(kind)
        message.add_boolean(want_reply)
        fill(message)
        if self.transport is not None:
            send_user_message(self.transport, message)

    def _unlink(self) -> None:
        self.cut = True
        super()._unlink()  # type: ignore[misc]  # not in the stubs
        self.on_change()

    def _note_close(self) -> None:
        with self.lock:
            self.far_closed = True
            self.eof_received = True
            self.in_buffer.close()
            self.in_stderr_buffer.close()

    def _see_request(self, message: Message) -> None:
        if message.get_text() == "exit-signal":
            message.get_boolean()
            self.exit_signal = message.get_text()
        message.rewind()
        message.get_int()


def send_user_message(transport: paramiko.Transport, message: Message) -> None:
    """Send a message that is not part of a key exchange; paramiko has no public way."""
    transport._send_user_message(message)  # type: ignore[attr-defined]


def _told(kind: int, handler: Callable[[Any, Message], None]) -> Callable[[Any, Message], None]:
    def handle(channel: Any, message: Message) -> None:
        if not isinstance(channel, LinkChannel):
            handler(channel, message)
            return
        if kind == MSG_CHANNEL_CLOSE:
            channel._note_close()
        elif kind == MSG_CHANNEL_FAILURE:
            channel.request_refused = True
        else:
            if kind == MSG_CHANNEL_REQUEST:
                channel._see_request(message)
            handler(channel, message)
        channel.on_change()

    return handle


class LinkTransport(paramiko.Transport):
    """One SSH connection, whose channels are opened without waiting."""

    _active_check_timeout = 0.5
    _channel_handler_table = {  # noqa: RUF012  # paramiko's own attribute
        kind: _told(kind, handler)
        for kind, handler in paramiko.Transport._channel_handler_table.items()  # type: ignore[attr-defined]
    }

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(
            sock,
            default_window_size=WINDOW_BYTES,
            default_max_packet_size=PACKET_BYTES,
            packetizer_class=LinkPacketizer,
        )
        self.packetizer: LinkPacketizer
        self.disconnect_reason: str | None = None
        """What the server said when it hung up."""
        self.on_end: Callable[[], None] = lambda: None
        self.on_probe_answer: Callable[[], None] = lambda: None
        self._kept: list[Message] = []
        self._raw_socket = sock
        table: dict[int, Callable[[Message], None]] = self._handler_table  # type: ignore[attr-defined]
        table[MSG_CHANNEL_OPEN_SUCCESS] = self._open_succeeded
        table[MSG_CHANNEL_OPEN_FAILURE] = self._open_failed
        table[MSG_NEWKEYS] = self._new_keys
        table[MSG_REQUEST_SUCCESS] = table[MSG_REQUEST_FAILURE] = self._probe_answered

    def prefer_host_keys(self, algorithms: tuple[str, ...]) -> None:
        """Ask the server for a host key of one of `algorithms` first; before the start only."""
        options = self.get_security_options()
        ours = tuple(options.key_types)
        first = tuple(name for name in algorithms if name in ours)
        options.key_types = first + tuple(name for name in ours if name not in first)

    def run(self) -> None:
        """Read until the connection ends, then tell."""
        try:
            super().run()
        finally:
            self.on_end()

    def hang_up(self) -> None:
        """End the connection from any thread without waiting; blocked senders and the reader wake."""
        with contextlib.suppress(OSError):  # it may be down already, which is what is wanted
            self._raw_socket.shutdown(socket.SHUT_RDWR)
        self.close()
        self.packetizer.close()

    def probe_when_quiet(self, after_s: float) -> None:
        """Ask the server for any answer whenever it was silent for `after_s` seconds."""
        self.packetizer.probe_when_quiet(after_s, self.probe)

    def probe(self) -> None:
        """Send OpenSSH's keepalive, which every server answers, if only with a refusal."""
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        send_user_message(self, message)

    def open_tcp(self, host: str, port: int, on_change: Callable[[], None]) -> LinkChannel:
        """Begin a `direct-tcpip` channel (RFC 4254, 7.2)."""
        payload = Message()
        payload.add_string(host)
        payload.add_int(port)
        payload.add_string("127.0.0.1")
        payload.add_int(0)
        return self._begin_open("direct-tcpip", payload, on_change)

    def open_unix(self, path: str, on_change: Callable[[], None]) -> LinkChannel:
        """Begin a `direct-streamlocal@openssh.com` channel to the socket `path`."""
        payload = Message()
        payload.add_string(path)
        payload.add_string("")
        payload.add_int(0)
        return self._begin_open("direct-streamlocal@openssh.com", payload, on_change)

    def open_command(self, on_change: Callable[[], None]) -> LinkChannel:
        """Begin a `session` channel."""
        return self._begin_open("session", Message(), on_change)

    def _begin_open(self, kind: str, payload: Message, on_change: Callable[[], None]) -> LinkChannel:
        with self.lock:
            number: int = self._next_channel()  # type: ignore[attr-defined]
            channel = LinkChannel(number, on_change)
            self._channels.put(number, channel)  # type: ignore[attr-defined]
            self.channels_seen[number] = True
            channel._set_transport(self)  # type: ignore[attr-defined]
            channel._set_window(WINDOW_BYTES, PACKET_BYTES)  # type: ignore[attr-defined]
        message = Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string(kind)
        message.add_int(number)
        message.add_int(WINDOW_BYTES)
        message.add_int(PACKET_BYTES)
        message.add_bytes(payload.asbytes())
        send_user_message(self, message)
        return channel

    def _open_succeeded(self, message: Message) -> None:
        channel = self._channels.get(message.get_int())  # type: ignore[attr-defined]
        message.rewind()
        super()._parse_channel_open_success(message)  # type: ignore[misc]
        if isinstance(channel, LinkChannel):
            channel.opened = True
            channel.on_change()

    def _open_failed(self, message: Message) -> None:
        number = message.get_int()
        reason, words = message.get_int(), message.get_text()
        channel = self._channels.get(number)  # type: ignore[attr-defined]
        self._channels.delete(number)  # type: ignore[attr-defined]
        if isinstance(channel, LinkChannel):
            channel.refusal = (reason, words)
            channel.on_change()

    def _probe_answered(self, message: Message) -> None:  # noqa: ARG002  # paramiko's signature
        self.on_probe_answer()

    def _new_keys(self, message: Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        kept, self._kept = self._kept, []
        for waiting in kept:
            self._send_user_message(waiting)

    def _parse_disconnect(self, message: Message) -> None:
        message.get_int()
        self.disconnect_reason = message.get_text()

    def _send_user_message(self, data: Message) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._kept.append(data)
            return
        super()._send_user_message(data)  # type: ignore[misc]
