"""Whether anything listens at a pooler's address: a knock that no pooler logs, and no login.

From SHUTDOWN on a pooler listens on TCP no more, while its sessions go on (1.23 and later; seen on 1.24 and
1.26).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from console.errors import NodeError
from console.model.rows import Setting
from console.transport.base import Endpoint, Route, TcpAddress, Transport, UnixAddress

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""Every pooler answers it with one byte, whatever its TLS settings, and logs nothing."""
_ANY_ADDRESS: Mapping[str, str] = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def tcp_door(config: Mapping[str, Setting]) -> TcpAddress | None:
    """Return where a process of these settings, and no other, listens on TCP; None: nowhere, or not known."""
    values = {
        key: setting.value or ""
        for key in ("listen_addr", "listen_port", "so_reuseport")
        if (setting := config.get(key)) is not None
    }
    first = values.get("listen_addr", "").split(",")[0].strip()
    port = values.get("listen_port", "")
    if not first or not port.isdecimal() or values.get("so_reuseport") != "0":
        return None
    return TcpAddress(_ANY_ADDRESS.get(first, first), int(port))


async def refuses(transport: Transport, route: Route, timeout_s: float) -> bool:
    """Say whether nothing listens there; False also when that cannot be told."""
    try:
        async with asyncio.timeout(timeout_s):
            endpoint = await transport.endpoint(route, timeout_s=timeout_s)
            try:
                answered = await _answers(endpoint)
            except ConnectionRefusedError:
                return True
            except OSError:
                answered = False
            return not answered and _was_refused(transport.failure_of(endpoint))
    except (NodeError, TimeoutError):
        return False


async def _answers(endpoint: Endpoint) -> bool:
    if endpoint.host.startswith("/"):
        path = UnixAddress(endpoint.host, endpoint.port).path
        reader, writer = await asyncio.open_unix_connection(path)
    else:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(SSL_REQUEST)
        return bool(await reader.read(1))
    finally:
        writer.close()


def _was_refused(failure: NodeError | None) -> bool:
    """Say whether a tunnel's far end was refused; other failures are the tunnel's own."""
    return failure is not None and "Connection refused" in failure.message
