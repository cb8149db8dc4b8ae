"""Names are looked up beside the loop: a name server that hangs costs one node its deadline and no more."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from console.errors import NodeError, Phase
from console.poolers.admin import AdminReader, Login
from console.transport.base import Endpoint
from console.transport.resolve import addresses, is_address


@pytest.fixture
def hung_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A getaddrinfo that does not return before the test's end; gives the names it was asked for."""
    asked: list[str] = []
    over = threading.Event()

    def hang(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    over.set()


async def test_a_hung_name_server_ends_in_the_connect_phase_in_time(hung_name_server: list[str]) -> None:
    login = Login("node", Endpoint("slow.example", 6432), "u", None)
    results = await asyncio.gather(
        *(AdminReader.connect(login, timeout_s=0.2) for _ in range(3)), return_exceptions=True
    )
    assert [getattr(result, "phase", None) for result in results] == [Phase.CONNECT] * 3
    assert hung_name_server == ["slow.example"]


async def test_every_address_of_a_name_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 0)) for address in ("::1", "127.0.0.1", "::1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert await addresses("two.example", where="node") == ("::1", "127.0.0.1")


async def test_an_unknown_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NodeError, match="cannot be resolved: Name or service not known") as caught:
        await addresses("none.example", where="node")
    assert caught.value.phase is Phase.CONNECT


@pytest.mark.parametrize(
    ("host", "yes"), [("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("db1", False)]
)
def test_addresses_are_not_looked_up(host: str, yes: bool) -> None:
    assert is_address(host) is yes
