"""The client of Patroni's REST API against servers that answer as Patroni does: ways to it, and oddities."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from console.config.schema import Inventory, PostgresNode
from console.errors import NodeError
from console.lab.process import Launcher, server_account
from console.lab.tls import CertificateAuthority
from console.model.switching import AskedFor
from console.postgres.patroni import PatroniApi
from console.transport.base import Endpoint, Route
from tests.servers.operations_kit import Direct

OWN = {"state": "running", "role": "master", "patroni": {"version": "2.1.7", "scope": "demo"}}
CLUSTER = {
    "members": [
        {"name": "one", "role": "leader", "state": "running", "api_url": "http://127.0.0.1:%d/patroni"},
        {"name": "two", "role": "replica", "state": "running", "api_url": "http://127.0.0.9:8008/patroni"},
    ],
    "pause": True,
}


class Words:
    """Passwords: one."""

    async def password(self, source: str | None, **_: Any) -> SecretStr | None:
        return SecretStr("sesame") if source else None


class Through(Direct):
    """A transport whose near end is a Unix socket in a folder, as a tunnel's is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def endpoint(self, route: Route, *, timeout_s: float) -> Endpoint:  # noqa: ARG002
        assert route.host == "db"
        return Endpoint(str(self._folder), 7)


@asynccontextmanager
async def answering(
    answers: dict[str, tuple[str, str] | None], *, tls: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve; an answer None is none at all."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        answer = answers[" ".join(head.decode().split()[:2])]
        if answer is not None:
            status, body = answer
            writer.write(f"HTTP/1.0 {status}\r\nContent-Type: text/html\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(serve, path)
        port = 0
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
    async with server:
        yield port, seen


def api(url: str, transport: Direct | None = None, **fields: Any) -> PatroniApi:
    node = PostgresNode(name="db1", role="primary", tcp="127.0.0.1:5432", patroni=url, **fields)
    inventory = Inventory(fleet="test", environment="development", postgres=(node,))
    return PatroniApi(inventory, transport or Direct(), Words())


def test_an_address_with_a_password_in_it_is_refused() -> None:
    with pytest.raises(ValidationError):
        api("http://api:sesame@db1:8008")


async def test_an_older_one_that_does_not_tell_its_name_is_found_by_its_address() -> None:
    answers: dict[str, tuple[str, str] | None] = {"GET /patroni": ("503 Busy", json.dumps(OWN))}
    async with answering(answers) as (port, _):
        answers["GET /cluster"] = ("200 OK", json.dumps(CLUSTER) % port)
        view = await api(f"http://127.0.0.1:{port}/").view("db1", timeout_s=5)
    assert (view.name, view.scope, view.role, view.leader, view.is_paused) == (
        *("one", "demo", "master", "one"),
        True,
    )


@pytest.mark.parametrize(
    ("answer", "outcome", "text"),
    [
        (("200 OK", 'Successfully switched over to "two"'), AskedFor.DONE, "Successfully"),
        (("412 Precondition Failed", "leader name does not match"), AskedFor.REFUSED, "leader name"),
        (("401 Unauthorized", "no auth header received"), AskedFor.REFUSED, "patroni_user"),
        (("503 Service Unavailable", "Switchover failed"), AskedFor.FAILED, "Switchover failed"),
        (("503 Service Unavailable", "Switchover status unknown"), AskedFor.NOT_KNOWN, "unknown"),
        (("500 Oh", "<html>"), AskedFor.NOT_KNOWN, "<html>"),
    ],
)
async def test_what_it_answers(answer: tuple[str, str], outcome: AskedFor, text: str) -> None:
    async with answering({"POST /switchover": answer}) as (port, seen):
        client = api(f"http://127.0.0.1:{port}", patroni_user="api", patroni_password_from="env:WORD")
        asked = await client.switch_over("db1", "one", "two", timeout_s=5)
    assert asked.outcome is outcome
    assert text in asked.text
    assert b"Authorization: Basic YXBpOnNlc2FtZQ==" in seen[0]


@pytest.mark.parametrize("answer", [None, ("200 OK", "<html>a page</html>")])
async def test_what_is_no_patroni_is_told(answer: tuple[str, str] | None) -> None:
    async with answering({"GET /patroni": answer}) as (port, _):
        with pytest.raises(NodeError, match="is no Patroni"):
            await api(f"http://127.0.0.1:{port}").view("db1", timeout_s=5)
    with pytest.raises(NodeError, match="cannot be asked"):
        await api(f"http://127.0.0.1:{port}").view("db1", timeout_s=5)


async def test_it_goes_through_the_nodes_host(tmp_path: Path) -> None:
    answers = {"GET /patroni": ("200 OK", json.dumps(OWN)), "GET /cluster": ("200 OK", "{}")}
    async with answering(dict(answers), path=tmp_path / ".s.PGSQL.7"):
        view = await api("http://127.0.0.1:8008", Through(tmp_path), host="db").view("db1", timeout_s=5)
    assert (view.state, view.leader, view.name) == ("running", None, None)


async def test_https_is_verified(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path / "run", server_account())
    authority = CertificateAuthority(tmp_path / "tls", launcher)
    made = authority.server_certificate("api")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert_path, made.key_path)
    answers = {"GET /patroni": ("200 OK", json.dumps(OWN)), "GET /cluster": ("200 OK", "{}")}
    async with answering(dict(answers), tls=tls) as (port, _):
        url = f"https://127.0.0.1:{port}"
        view = await api(url, patroni_cafile=tmp_path / "tls" / "ca.crt").view("db1", timeout_s=5)
        assert view.state == "running"
        with pytest.raises(NodeError, match="cannot be asked"):
            await api(url).view("db1", timeout_s=5)
