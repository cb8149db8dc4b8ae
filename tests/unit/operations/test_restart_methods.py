"""Which method a restart takes, from what was found. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console.model.rows import Client
from console.model.version import Version
from console.operations.process.supervision import Kind
from console.operations.restart.methods import Choice, Method, Situation, choose, version_fits
from console.operations.restart.stragglers import now_of, of_applications, straggler_lines

V118, V122, V124, V125, V126 = (Version(1, minor) for minor in (18, 22, 24, 25, 26))
ALONE = Situation(
    version=V124,
    next_version=V124,
    kind=Kind.COMMAND,
    paused=False,
    peers={},
    session_servers=0,
    tls=0,
    prepared=0,
)
PEERS = {"edge-1b": True, "edge-1c": False}


def at(**changes: Any) -> Situation:
    return replace(ALONE, **changes)


def auto(**changes: Any) -> Choice:
    return choose(Method.AUTO, at(**changes))


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({"peers": PEERS}, Method.ROLLING),
        ({"peers": PEERS, "version": V126, "next_version": V126}, Method.ROLLING),
        ({"peers": PEERS, "kind": Kind.SYSTEMD}, Method.ROLLING),
        ({"peers": PEERS, "version": V122, "next_version": V122}, Method.TAKEOVER),
        ({"peers": {"edge-1b": False}}, Method.TAKEOVER),
        ({}, Method.TAKEOVER),
        ({"version": V118}, Method.TAKEOVER),
        ({"version": V126}, Method.DRAIN),
        ({"next_version": V126}, Method.DRAIN),
        ({"tls": 3}, Method.DRAIN),
        ({"prepared": 2}, Method.DRAIN),
        ({"has_socket": False}, Method.DRAIN),
        ({"kind": Kind.SYSTEMD}, Method.DRAIN),
        ({"kind": Kind.DOCKER}, Method.DRAIN),
        ({"tls": 3, "session_servers": 2}, Method.PLAIN),
        ({"kind": Kind.SWARM}, Method.PLAIN),
        ({"kind": Kind.SWARM, "paused": True}, Method.PLAIN),
    ],
)
def test_auto_takes_the_gentlest_that_fits_and_says_why(changes: dict[str, Any], method: Method) -> None:
    found = auto(**changes)
    assert (found.method, found.refused) == (method, None)
    assert found.because
    gentler = [Method.ROLLING, Method.TAKEOVER, Method.DRAIN, Method.PLAIN]
    for passed_over in gentler[: gentler.index(method)]:
        assert f"not {passed_over}: " in found.because


@pytest.mark.parametrize(
    ("wanted", "changes", "words"),
    [
        (Method.AUTO, {"paused": True}, "resume it first"),
        (Method.ROLLING, {"version": V122, "peers": PEERS}, "cannot wait for its clients"),
        (Method.ROLLING, {}, "no peer_group"),
        (Method.ROLLING, {"peers": {"edge-1b": False}}, "none of its peers serves: edge-1b"),
        (Method.ROLLING, {"peers": PEERS, "paused": True}, "T14"),
        (Method.TAKEOVER, {"version": V126}, "has no -R"),
        (Method.TAKEOVER, {"version": V125, "next_version": V126}, "the next start takes 1.26.0"),
        (Method.TAKEOVER, {"tls": 1}, "TLS"),
        (Method.TAKEOVER, {"paused": True}, "paused"),
        (Method.TAKEOVER, {"kind": Kind.SYSTEMD}, "systemd would see its process end"),
        (Method.TAKEOVER, {"has_socket": False}, "unix_socket_dir"),
        (Method.DRAIN, {"paused": True}, "somebody else"),
        (Method.DRAIN, {"kind": Kind.SWARM}, "Swarm"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    wanted: Method, changes: dict[str, Any], words: str
) -> None:
    found = choose(wanted, at(**changes))
    assert found.refused is not None
    assert words in found.refused


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        (Method.TAKEOVER, {"prepared": 2}),
        (Method.DRAIN, {"session_servers": 2}),
        (Method.PLAIN, {"paused": True}),
        (Method.TAKEOVER, {"tls": None, "prepared": None}),
    ],
)
def test_what_is_only_unwise_can_be_asked_for(wanted: Method, changes: dict[str, Any]) -> None:
    assert choose(wanted, at(**changes)) == Choice(wanted, "asked for", None)


def test_a_version_without_its_last_number_means_any_of_the_line() -> None:
    assert version_fits(Version(1, 26, 1), "")
    assert version_fits(Version(1, 26, 1), "1.26")
    assert version_fits(Version(1, 26, 1), "1.26.1")
    assert not version_fits(Version(1, 26, 1), "1.26.0")
    assert not version_fits(Version(1, 24, 1), "1.26")


def client(**changes: Any) -> Client:
    row: dict[str, Any] = {
        "user": "app",
        "database": "app",
        "state": "active",
        "addr": "10.0.0.7",
        "port": 4711,
        "local_addr": "",
        "local_port": 0,
        "connect_time": "2026-11-21 14:00:00 CET",
        "request_time": "2026-11-21 14:09:57 CET",
        "ptr": "0x1",
        "link": "",
        "remote_pid": 0,
        "tls": "",
        "application_name": "shop-web",
    }
    return Client(**{**row, **changes})


def test_stragglers_are_told_by_application_address_and_age() -> None:
    """Ages are counted from the latest request, our own question: zones have no meaning for it."""
    rows = (
        client(),
        client(link="0x2", application_name=None, connect_time="2026-11-21 13:00:00 CET"),
        client(database="pgbouncer", request_time="2026-11-21 14:10:00 CET"),
    )
    left = of_applications(rows)
    assert straggler_lines(left, now_of(rows)) == (
        "(no name) app@10.0.0.7:4711 on app: connected 1h 10m, in a transaction or session, last "
        "request 3.0 s ago",
        "shop-web app@10.0.0.7:4711 on app: connected 10m 00s, idle, last request 3.0 s ago",
    )
    many = straggler_lines([client()] * 25, None)
    assert many[-1] == "and 5 more"
    assert "connected n/a" in many[0]
