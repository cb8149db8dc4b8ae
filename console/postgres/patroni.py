"""Patroni's REST API: how a cluster is, and a switchover asked for.

Source: Patroni's manual, "Patroni REST API", and patroni/api.py of 4.1 (`do_POST_failover`: what it answers
with which status). A node's API is reached as the node is: straight, or through its host. The password goes
into a header, and into nothing that is shown or kept. HTTP/1.0, one request a connection: its end is the
end of the answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from console.config.credentials import Passwords
from console.config.schema import Inventory, PostgresNode
from console.errors import DeadlineError, NodeError, Phase, PooldeckError, UsageError
from console.model.switching import Asked, AskedFor, PatroniMember, PatroniView
from console.transport.base import Endpoint, Route, TcpAddress, Transport, UnixAddress

_LIMIT_BYTES: Final = 1_048_576
_SHOWN: Final = 200
_DONE: Final = 200
_NO_LOGIN: Final = 401
_REFUSED: Final = frozenset({400, 403, 404, 405, 409, 411, 412, 422, 501})
"""Answered before anything was begun."""
_FAILED: Final = 503
"""It was begun, or could not be noted."""
_NOT_KNOWN: Final = "status unknown"
"""So ends the text of a 503 when Patroni has waited long enough and the switchover is still to come."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Its first line, for people."""
        lines = self.body.decode("utf-8", "replace").strip().splitlines()
        return lines[0][:_SHOWN] if lines else f"status {self.status}"


class PatroniApi:
    """The REST APIs of an inventory's nodes. Satisfies operations' PatroniNodes."""

    def __init__(self, inventory: Inventory, transport: Transport, credentials: Passwords) -> None:
        self._nodes = {node.name: node for node in inventory.postgres}
        self._connect_limit_s = inventory.defaults.connect_timeout_s
        self._transport = transport
        self._credentials = credentials

    async def view(self, node: str, *, timeout_s: float) -> PatroniView:
        """See `PatroniNodes.view`."""
        entry = self._node(node)
        # A node that does not run well is told with another status, and the same words.
        own = _object(await self._ask(entry, "GET", "/patroni", None, timeout_s), node)
        cluster = _object(await self._ask(entry, "GET", "/cluster", None, timeout_s), node)
        about = own.get("patroni")
        about = about if isinstance(about, dict) else {}
        members = tuple(_members(cluster.get("members")))
        return PatroniView(
            name=_text(about.get("name")) or _by_address(members, entry),
            scope=_text(about.get("scope")),
            version=_text(about.get("version")),
            role=_text(own.get("role")) or "not known",
            state=_text(own.get("state")) or "not known",
            members=members,
            is_paused=cluster.get("pause") is True,
            is_scheduled="scheduled_switchover" in cluster,
        )

    async def switch_over(self, node: str, leader: str, candidate: str, *, timeout_s: float) -> Asked:
        """See `PatroniNodes.switch_over`."""
        wish = {"leader": leader, "candidate": candidate}
        answer = await self._ask(self._node(node), "POST", "/switchover", wish, timeout_s)
        if answer.status == _NO_LOGIN:
            return Asked(AskedFor.REFUSED, "it wants the right login (patroni_user, patroni_password_from)")
        if answer.status == _DONE:
            return Asked(AskedFor.DONE, answer.text)
        if answer.status in _REFUSED:
            return Asked(AskedFor.REFUSED, answer.text)
        is_open = _NOT_KNOWN in answer.text or answer.status != _FAILED
        return Asked(AskedFor.NOT_KNOWN if is_open else AskedFor.FAILED, answer.text)

    # -- inside -------------------------------------------------------------------------------

    def _node(self, name: str) -> PostgresNode:
        node = self._nodes.get(name)
        if node is None or node.patroni_address is None:
            raise UsageError(f"the inventory names no Patroni for {name}", hint="patroni in [[postgres]]")
        return node

    async def _ask(
        self, node: PostgresNode, method: str, path: str, wish: Mapping[str, str] | None, timeout_s: float
    ) -> _Answer:
        assert node.patroni_address is not None, "looked up by it"
        scheme, host, port = node.patroni_address
        login = await self._login(node) if wish is not None else None
        route = Route(node.host, TcpAddress(host, port), tls=scheme == "https")
        limit_s = node.connect_timeout_s or self._connect_limit_s
        endpoint = await self._transport.endpoint(route, timeout_s=limit_s)
        body = b"" if wish is None else json.dumps(wish).encode()
        head = [f"{method} {path} HTTP/1.0", f"Host: {host}:{port}", "Connection: close"]
        if wish is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if login is not None:
            head.append(f"Authorization: Basic {login}")
        request = "\r\n".join([*head, "", ""]).encode() + body
        try:
            async with asyncio.timeout(timeout_s):
                tls = await asyncio.to_thread(_tls, node) if scheme == "https" else None
                return _parsed(await _exchange(endpoint, host, tls, request), node.name)
        except TimeoutError:
            text = f"Patroni gave no answer within {timeout_s:g} s"
            raise DeadlineError(Phase.PROTOCOL, text, limit_s=timeout_s, where=node.name) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            told = self._transport.failure_of(endpoint) if node.host is not None else None
            if told is not None:
                raise told from None
            reason = getattr(error, "strerror", None) or type(error).__name__
            text = f"Patroni at {node.patroni} cannot be asked: {reason}"
            raise NodeError(Phase.CONNECT, text, where=node.name) from None

    async def _login(self, node: PostgresNode) -> str | None:
        if node.patroni_user is None or node.patroni_address is None:
            return None
        _, host, port = node.patroni_address
        password = await self._credentials.password(
            node.patroni_password_from,
            user=node.patroni_user,
            node=node.name,
            host=host,
            port=port,
            database="patroni",
            timeout_s=node.connect_timeout_s or self._connect_limit_s,
        )
        if password is None:
            raise PooldeckError(
                f"there is no password of {node.patroni_user} for Patroni",
                where=node.name,
                hint="patroni_password_from in [[postgres]]",
            )
        words = f"{node.patroni_user}:{password.get_secret_value()}"
        return base64.b64encode(words.encode()).decode("ascii")


async def _exchange(endpoint: Endpoint, name: str, tls: ssl.SSLContext | None, request: bytes) -> bytes:
    if endpoint.host.startswith("/"):
        path = UnixAddress(endpoint.host, endpoint.port).path
        reader, writer = await asyncio.open_unix_connection(path)
    else:
        reader, writer = await asyncio.open_connection(
            endpoint.hostaddr or endpoint.host,
            endpoint.port,
            ssl=tls,
            server_hostname=name if tls is not None else None,
        )
    try:
        writer.write(request)
        await writer.drain()
        found = b""
        while len(found) <= _LIMIT_BYTES and (part := await reader.read(65_536)):
            found += part
        return found
    finally:
        writer.close()


def _tls(node: PostgresNode) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=node.patroni_cafile)
    except (OSError, ssl.SSLError):
        raise PooldeckError(
            f"patroni_cafile cannot be used: {node.patroni_cafile}", where=node.name
        ) from None


def _parsed(raw: bytes, where: str) -> _Answer:
    head, gap, body = raw.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if not gap or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NodeError(Phase.PROTOCOL, "what answers there is no Patroni: it speaks no HTTP", where=where)
    return _Answer(int(words[1]), body)


def _object(answer: _Answer, where: str) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        text = f"what answers there is no Patroni: {answer.status} without a JSON object"
        raise NodeError(Phase.PROTOCOL, text, where=where)
    return found


def _members(listed: object) -> list[PatroniMember]:
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            found.append(
                PatroniMember(
                    one["name"],
                    _text(one.get("role")) or "not known",
                    _text(one.get("state")) or "not known",
                    _address(one.get("api_url")),
                )
            )
    return found


def _address(url: object) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return (parts.hostname, parts.port) if parts is not None and parts.hostname and parts.port else None
    except ValueError:
        return None


def _by_address(members: tuple[PatroniMember, ...], node: PostgresNode) -> str | None:
    """Return the member whose API is the one that was asked: older Patronis do not tell their own name."""
    assert node.patroni_address is not None, "looked up by it"
    found = [one.name for one in members if one.api == node.patroni_address[1:]]
    return found[0] if len(found) == 1 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
