"""PostgreSQL's protocol 3.0, as much of it as an admin console needs: a part of the keeper's program.

It is sent to a pooler's host and runs there, under any Python from 3.6 on, with the standard library alone:
nothing newer may be used, nothing of ours imported. It logs in and asks; what to ask is `keeper_script`'s.

Sources: PostgreSQL's manual, "Frontend/Backend Protocol"; RFC 5802 and 7677 (SCRAM-SHA-256); libpq, for what
the TLS modes mean and for passwords outside ASCII; pgbouncer-admin.md, 5, for the startup parameters.
"""
# What ruff would have instead is newer than 3.6:
# ruff: noqa: B905, UP006, UP035, UP041, UP045

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys
import time
import unicodedata
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

MAX_MESSAGE_BYTES = 1 << 26
"""No answer to what a keeper asks comes near; more means that this is not a PostgreSQL server."""
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_PROTOCOL_3_0 = 196608
_TLS_ATTEMPTS = {"disable": (False,), "allow": (False, True), "prefer": (True, False)}
"""In libpq's order; every other mode takes TLS or nothing."""
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", 7 if sys.platform.startswith("linux") else None)
"""The `time` module knows its name from 3.7 on."""


class Trouble(Exception):
    """The pooler could not be reached, or its answer could not be had; the session is of no more use."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase
        """A word of `console.errors.Phase`."""


class Refused(Exception):
    """The pooler answered with an ERROR; the session stays usable."""


class Answer(NamedTuple):
    """What came back for one statement."""

    tag: str
    rows: List[Dict[str, Optional[str]]]
    """By column name; None is SQL's NULL."""


def clock() -> float:
    """Return seconds that no change of the wall clock moves; on Linux a suspended machine's count too."""
    if _BOOT_CLOCK is not None:
        try:
            return time.clock_gettime(_BOOT_CLOCK)
        except OSError:
            pass  # an old kernel: then without the time it was suspended
    return time.monotonic()


def log_in(where: Mapping[str, Any], password: Optional[str], timeout_s: float) -> "Session":
    """Connect to an admin console and log in.

    Args:
        where: `directory` and `port` of a Unix socket, or `host`, `port`, `sslmode` and `ca_pem` (None: the
            authorities that this machine trusts); and `user`.
        password: None when there is none: trust, or a peer's.
        timeout_s: for all of it.

    Raises:
        Trouble: phase connect, tls, auth or protocol.
    """
    end = clock() + timeout_s
    mode = "disable" if "directory" in where else where["sslmode"]
    attempts = _TLS_ATTEMPTS.get(mode, (True,))
    for tls in attempts:
        session = Session(_connect(where, end), end)
        try:
            if tls:
                session.encrypt(where)
            session.start(where["user"], password)
        except Trouble:
            session.close()
            if tls == attempts[-1] or (tls and session.answered_plain):
                raise
        except BaseException:
            session.close()
            raise
        else:
            return session
    raise AssertionError("the last attempt returns or raises")


class Session:
    """One login at an admin console. Any Trouble leaves it closed."""

    def __init__(self, link: socket.socket, end: float) -> None:
        self.parameters: Dict[str, str] = {}
        """What the server reported at login."""
        self.answered_plain = False
        """It was asked for TLS, has none, and the mode takes that."""
        self._link = link
        self._end = end
        self._data = b""
        self._last_words = ""

    def encrypt(self, where: Mapping[str, Any]) -> None:
        """Ask for TLS and shake hands as libpq's `sslmode` says; verification is by the name in `where`."""
        mode = where["sslmode"]
        self._send_raw(_SSL_REQUEST)
        # One byte and no more: what might follow it would be read as if it came encrypted (CVE-2021-23222).
        answer = self._receive(1, most=1)
        if answer == b"N" and mode in ("allow", "prefer"):
            self.answered_plain = True
            return
        if answer != b"S":
            raise Trouble("tls", "the pooler offers no TLS")
        try:
            context = _tls_context(mode, where["ca_pem"])
            self._link.settimeout(self._remaining_s())
            self._link = context.wrap_socket(self._link, server_hostname=where["host"])
        except (OSError, ValueError) as error:  # a CertificateError is a ValueError before 3.7
            raise Trouble("tls", f"no TLS with the pooler: {error}") from error

    def start(self, user: str, password: Optional[str]) -> None:
        """Log in to the database `pgbouncer`; no parameter is sent that some version refuses."""
        texts = ["user", user, "database", "pgbouncer", "client_encoding", "UTF8"]
        texts += ["application_name", "pooldeck_keeper"]
        body = struct.pack("!I", _PROTOCOL_3_0) + b"".join(text.encode() + b"\0" for text in texts) + b"\0"
        self._send_raw(struct.pack("!I", len(body) + 4) + body)
        try:
            self._finish_login(user, password)
        except (struct.error, ValueError, LookupError) as error:
            raise Trouble("auth", f"the pooler's login was not understood: {error}") from error

    def _finish_login(self, user: str, password: Optional[str]) -> None:
        phase = "protocol"
        while True:
            kind, body = self._message()
            if kind == b"R":
                phase = "auth"
                self._authenticate(body, user, password)
            elif kind == b"S":
                name, value = body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif kind == b"E":
                raise Trouble(phase, _message_of(body))
            elif kind == b"Z":
                return

    def query(self, statement: str, timeout_s: float) -> Answer:
        """Send one statement and return its answer.

        Raises:
            Refused: an ERROR came back. Trouble: no answer; whether it took effect is not known.
        """
        self._end = clock() + timeout_s
        try:
            return self._query(statement)
        except (struct.error, ValueError, LookupError) as error:
            self.close()
            raise Trouble("protocol", f"the answer to {statement} was not understood: {error}") from error
        except Trouble:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._link.fileno()

    def close(self) -> None:
        """Hang up; safe to call twice."""
        with contextlib.suppress(OSError):  # it was broken: that is why it is closed
            self._link.close()

    def _query(self, statement: str) -> Answer:
        self._send(b"Q", statement.encode() + b"\0")
        tag = ""
        names: List[str] = []
        rows: List[Dict[str, Optional[str]]] = []
        refusal: Optional[str] = None
        while True:
            kind, body = self._message()
            if kind == b"T":
                names = _names(body)
            elif kind == b"D":
                rows.append(dict(zip(names, _cells(body))))
            elif kind == b"C":
                tag = body.rstrip(b"\0").decode()
            elif kind == b"E":
                refusal = self._last_words = _message_of(body)
            elif kind == b"Z":
                break
        if refusal is not None:
            raise Refused(refusal)
        return Answer(tag, rows)

    def _authenticate(self, body: bytes, user: str, password: Optional[str]) -> None:
        method = struct.unpack_from("!I", body)[0]
        if method in (0, 12):
            return
        if method not in (3, 5, 10) or (method == 10 and b"SCRAM-SHA-256" not in body[4:].split(b"\0")):
            raise Trouble("auth", f"the pooler wants a login of a kind that a keeper lacks (number {method})")
        if password is None:
            raise Trouble("auth", "the pooler asks for a password, and there is none")
        secret = password.encode()
        if method == 3:
            self._send(b"p", secret + b"\0")
        elif method == 5:
            inner = hashlib.md5(secret + user.encode()).hexdigest().encode()
            self._send(b"p", b"md5" + hashlib.md5(inner + body[4:8]).hexdigest().encode() + b"\0")
        else:
            self._scram(password)

    def _scram(self, password: str) -> None:
        nonce = base64.b64encode(os.urandom(18))
        bare = b"n=,r=" + nonce
        first = b"n,," + bare
        self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        challenge = self._sasl(11)
        fields = _scram_fields(challenge)
        if not fields.get(b"r", b"").startswith(nonce):
            raise Trouble("auth", "the pooler's SCRAM challenge is not an answer to ours")
        final = b"c=biws,r=" + fields[b"r"]
        salt, rounds = base64.b64decode(fields[b"s"]), int(fields[b"i"])
        salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, rounds)
        signed = b",".join((bare, challenge, final))
        key = _hmac(salted, b"Client Key")
        proof = bytes(a ^ b for a, b in zip(key, _hmac(hashlib.sha256(key).digest(), signed)))
        self._send(b"p", final + b",p=" + base64.b64encode(proof))
        verifier = base64.b64decode(_scram_fields(self._sasl(12)).get(b"v", b""))
        if not hmac.compare_digest(verifier, _hmac(_hmac(salted, b"Server Key"), signed)):
            raise Trouble("auth", "the pooler does not know the password itself: it is not what it seems")

    def _sasl(self, wanted: int) -> bytes:
        kind, body = self._message()
        if kind == b"E":
            raise Trouble("auth", _message_of(body))
        if kind != b"R" or struct.unpack_from("!I", body)[0] != wanted:
            raise Trouble("auth", "the pooler broke the login off")
        return body[4:]

    def _remaining_s(self) -> float:
        remaining_s = self._end - clock()
        if remaining_s <= 0:
            raise Trouble("protocol", "no complete answer in time")
        return remaining_s

    def _send(self, kind: bytes, body: bytes) -> None:
        self._send_raw(kind + struct.pack("!I", len(body) + 4) + body)

    def _send_raw(self, data: bytes) -> None:
        try:
            self._link.settimeout(self._remaining_s())
            self._link.sendall(data)
        except OSError as error:
            raise Trouble("protocol", f"the connection broke: {error}") from error

    def _message(self) -> Tuple[bytes, bytes]:
        head = self._receive(5)
        length = struct.unpack("!I", head[1:])[0] - 4
        if not 0 <= length <= MAX_MESSAGE_BYTES:
            raise Trouble("protocol", "what answered does not speak PostgreSQL's protocol")
        return head[:1], self._receive(length)

    def _receive(self, count: int, most: int = 65536) -> bytes:
        while len(self._data) < count:
            try:
                self._link.settimeout(self._remaining_s())
                more = self._link.recv(most)
            except socket.timeout:
                continue  # `_remaining_s` says so
            except OSError as error:
                raise Trouble("protocol", f"the connection broke: {error}") from error
            if not more:
                raise Trouble("protocol", self._last_words or "the pooler closed the connection")
            self._data += more
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def saslprep(password: str) -> bytes:
    """Return a password as SCRAM hashes it: by RFC 4013, or as it is where that forbids it, like libpq."""
    raw = password.encode()
    if raw.isascii() if hasattr(raw, "isascii") else all(byte < 128 for byte in raw):
        return raw
    import stringprep as tables  # only such a password needs it

    mapped = (" " if tables.in_table_c12(one) else one for one in password if not tables.in_table_b1(one))
    text = unicodedata.normalize("NFKC", "".join(mapped))
    forbidden = (
        tables.in_table_a1,
        tables.in_table_c12,
        tables.in_table_c21_c22,
        tables.in_table_c3,
        tables.in_table_c4,
        tables.in_table_c5,
        tables.in_table_c6,
        tables.in_table_c7,
        tables.in_table_c8,
        tables.in_table_c9,
    )
    if not text or any(table(one) for table in forbidden for one in text):
        return raw
    if any(tables.in_table_d1(one) for one in text):
        ends_right = tables.in_table_d1(text[0]) and tables.in_table_d1(text[-1])
        if not ends_right or any(tables.in_table_d2(one) for one in text):
            return raw
    return text.encode()


def _connect(where: Mapping[str, Any], end: float) -> socket.socket:
    timeout_s = max(0.01, end - clock())
    try:
        if "directory" not in where:
            return socket.create_connection((where["host"], where["port"]), timeout_s)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout_s)
        try:
            link.connect("{directory}/.s.PGSQL.{port}".format(**where))
        except OSError:
            link.close()
            raise
    except OSError as error:
        raise Trouble("connect", f"the pooler is not to be reached from its host: {error}") from error
    return link


def _tls_context(mode: str, ca_pem: Optional[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if hasattr(ssl, "TLSVersion"):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    context.check_hostname = mode == "verify-full"
    if mode not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    elif ca_pem is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca_pem)
    return context


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _scram_fields(text: bytes) -> Dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in text.split(b",")}


def _message_of(body: bytes) -> str:
    fields = {part[:1]: part[1:] for part in body.split(b"\0") if part}
    return fields.get(b"M", b"an error without a message").decode("utf-8", "replace")


def _names(body: bytes) -> List[str]:
    names: List[str] = []
    place = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(b"\0", place)
        names.append(body[place:end].decode())
        place = end + 19
    return names


def _cells(body: bytes) -> List[Optional[str]]:
    cells: List[Optional[str]] = []
    place = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        length = struct.unpack_from("!i", body, place)[0]
        place += 4
        if length < 0:
            cells.append(None)
            continue
        cells.append(body[place : place + length].decode("utf-8", "replace"))
        place += length
    return cells
