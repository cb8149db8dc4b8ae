"""The keeper's client against servers that break the protocol; those that keep it are in tests/servers."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from console.operations.lease.keeper_wire import Refused, Session, Trouble, clock, saslprep

READY = b"Z\0\0\0\5I"
OK = b"R\0\0\0\x08\0\0\0\0" + READY


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def error(text: str) -> bytes:
    return message(b"E", b"SERROR\0C08P01\0M" + text.encode() + b"\0\0")


class Server:
    """The far end of a session: says what a test tells it to, one speech for each message it gets."""

    def __init__(self, speeches: Sequence[bytes | Callable[[bytes], bytes]]) -> None:
        near, self._far = socket.socketpair()
        self.session = Session(near, clock() + 5)
        self._speeches = speeches
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._far:
            for speech in self._speeches:
                heard = self._far.recv(65_536)
                if not heard:
                    return
                self._far.sendall(speech if isinstance(speech, bytes) else speech(heard))

    def end(self) -> None:
        self.session.close()
        self._thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., Session]]:
    made: list[Server] = []

    def make(*speeches: bytes | Callable[[bytes], bytes]) -> Session:
        made.append(Server(speeches))
        return made[-1].session

    yield make
    for server in made:
        server.end()


def phase_of(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Trouble) as caught:
        call()
    return caught.value.phase, str(caught.value)


SASL = message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0")


def challenge(heard: bytes) -> bytes:
    nonce = heard.partition(b"r=")[2]
    salt = base64.b64encode(b"salt" * 4)
    return message(b"R", struct.pack("!I", 11) + b"r=" + nonce + b"more,s=" + salt + b",i=4096")


def test_a_server_that_does_not_know_the_password_itself_is_found_out(
    serve: Callable[..., Session],
) -> None:
    """Whoever took the pooler's address cannot have the keeper believe it."""
    forged = message(b"R", struct.pack("!I", 12) + b"v=" + base64.b64encode(bytes(32))) + OK
    session = serve(SASL, challenge, forged)
    phase, text = phase_of(lambda: session.start("admin", "word"))
    assert phase == "auth"
    assert "not what it seems" in text


@pytest.mark.parametrize(
    ("speech", "phase"),
    [
        (message(b"R", struct.pack("!I", 11) + b"r=another,s=AAAA,i=1"), "auth"),
        (message(b"R", struct.pack("!I", 11) + b"nonsense"), "auth"),
        (message(b"R", struct.pack("!I", 12) + b"v="), "auth"),
        (error("password authentication failed"), "auth"),
    ],
)
def test_a_challenge_that_is_none_ends_the_login(
    serve: Callable[..., Session], speech: bytes, phase: str
) -> None:
    session = serve(SASL, speech)
    assert phase_of(lambda: session.start("admin", "word"))[0] == phase


@pytest.mark.parametrize(
    ("speech", "phase", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol", "does not speak"),
        (b"", "protocol", "closed the connection"),
        (error("unsupported startup parameter: x"), "protocol", "unsupported startup parameter: x"),
        (message(b"R", struct.pack("!I", 7)), "auth", "number 7"),
        (message(b"R", struct.pack("!I", 3)), "auth", "there is none"),
        (message(b"R", b"\0"), "auth", "not understood"),
    ],
)
def test_a_login_that_goes_wrong_names_its_phase(
    serve: Callable[..., Session], speech: bytes, phase: str, text: str
) -> None:
    session = serve(speech)
    found = phase_of(lambda: session.start("admin", None))
    assert found[0] == phase
    assert text in found[1]


def test_an_error_leaves_the_session_usable_and_null_is_none(serve: Callable[..., Session]) -> None:
    columns = message(b"T", b"\0\2" + b"".join(name + b"\0" + bytes(18) for name in (b"key", b"value")))
    row = message(b"D", b"\0\2" + struct.pack("!I", 1) + b"a" + struct.pack("!i", -1))
    session = serve(
        OK, error("no such database: x") + READY, columns + row + message(b"C", b"SHOW\0") + READY
    )
    session.start("admin", None)
    with pytest.raises(Refused, match="no such database: x"):
        session.query("PAUSE x", 5)
    answer = session.query("SHOW CONFIG", 5)
    assert (answer.tag, answer.rows) == ("SHOW", [{"key": "a", "value": None}])


@pytest.mark.parametrize(
    ("speech", "text"),
    [
        (error("server shutting down"), "server shutting down"),
        (message(b"D", b"\0\7"), "not understood"),
        (b"C\0\0\0\3", "does not speak"),
        (b"C\xff\xff\xff\xff", "does not speak"),
        (message(b"C", b"SHOW\0"), "closed the connection"),
    ],
)
def test_an_answer_that_breaks_off_closes_the_session(
    serve: Callable[..., Session], speech: bytes, text: str
) -> None:
    session = serve(OK, speech)
    session.start("admin", None)
    phase, said = phase_of(lambda: session.query("RESUME", 5))
    assert phase == "protocol"
    assert text in said
    assert phase_of(lambda: session.query("RESUME", 5))[0] == "protocol"


def test_no_answer_is_waited_for_longer_than_its_limit(serve: Callable[..., Session]) -> None:
    session = serve(OK, b"Z", lambda _: b"")
    session.start("admin", None)
    assert "in time" in phase_of(lambda: session.query("SHOW STATE", 0.1))[1]


def test_more_than_the_answer_about_tls_is_never_taken_for_encrypted(serve: Callable[..., Session]) -> None:
    where = {"sslmode": "require", "ca_pem": None, "host": "localhost"}
    session = serve(b"S" + OK)
    assert phase_of(lambda: session.encrypt(where))[0] == "tls"


@pytest.mark.parametrize(
    ("password", "hashed"),
    [
        ("plain", "plain"),
        ("a\u00a0b", "a b"),
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("\u00aa", "a"),
        ("a\u0627", "a\u0627"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627b\u0628", "\u0627b\u0628"),
        ("\u00e9\u0007", "\u00e9\u0007"),
        ("\u00ad", "\u00ad"),
    ],
)
def test_passwords_are_prepared_as_by_rfc_4013_or_left_alone(password: str, hashed: str) -> None:
    assert saslprep(password) == hashed.encode()
