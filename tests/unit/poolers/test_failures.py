"""libpq's words, sorted into phases."""

from __future__ import annotations

import pytest

from console.errors import Phase
from console.poolers.failures import login_deadline, login_failure, tidy

AT = 'connection to server at "10.0.0.7", port 6432 failed: '


@pytest.mark.parametrize(
    ("reached", "text", "phase"),
    [
        (Phase.CONNECT, f"{AT}Connection refused\n\tIs the server running on that host?\n", Phase.CONNECT),
        (Phase.CONNECT, f"{AT}No route to host\n", Phase.CONNECT),
        (Phase.CONNECT, f"{AT}Connection timed out\n", Phase.CONNECT),
        (Phase.TLS, f"{AT}SSL error: certificate has expired\n", Phase.TLS),
        (Phase.PROTOCOL, f"{AT}FATAL:  SSL required\n", Phase.TLS),
        (Phase.PROTOCOL, f"{AT}FATAL:  not allowed\n", Phase.AUTH),
        (Phase.PROTOCOL, f'{AT}FATAL:  database "pgbouncer" does not exist\n', Phase.PROTOCOL),
        (Phase.PROTOCOL, f"{AT}FATAL:  unsupported startup parameter: geqo\n", Phase.PROTOCOL),
        (Phase.PROTOCOL, f"{AT}FATAL:  pooler is shutting down\n", Phase.CONNECT),
        (Phase.PROTOCOL, f"{AT}FATAL:  something new\n", Phase.AUTH),
        (Phase.AUTH, f"{AT}server closed the connection unexpectedly\n", Phase.AUTH),
        (Phase.PROTOCOL, f"{AT}server closed the connection unexpectedly\n", Phase.PROTOCOL),
    ],
)
def test_a_message_names_its_phase(reached: Phase, text: str, phase: Phase) -> None:
    found = login_failure(reached, text, where="edge-1", user="monitor")
    assert found.phase is phase
    assert found.where == "edge-1"
    assert found.hint
    assert "10.0.0.7" not in found.message


def test_attempts_that_failed_alike_are_told_once() -> None:
    text = f"{AT}SSL error: tls was refused\n{AT}SSL error: tls was refused\n"
    assert tidy(text) == "SSL error: tls was refused"


def test_silence_is_told_as_such() -> None:
    assert tidy("\n") == "the connection failed without a message"


def test_a_deadline_says_what_was_under_way() -> None:
    found = login_deadline(Phase.TLS, where="edge-1", limit_s=2.5)
    assert str(found) == "edge-1: no answer within 2.5 s while agreeing on TLS"
    assert found.limit_s == 2.5
