"""Whether a pooler shuts down: it accepts PAUSE then, and refuses the RESUME that must follow (T12, T14).

No SHOW tells. But its TCP port is closed first, and an operation logs in anew: so only one that let us in
over its Unix socket is in doubt, as 1.25 and later do while they shut down. When nothing listens on its TCP
port any more, it shuts down; where processes share that port (so_reuseport) nobody can tell. Seen on 1.24
and 1.26.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.errors import NodeError
from console.model.rows import Setting
from console.operations.outcome import NOTHING
from console.operations.spec import Look
from console.poolers.base import Capability
from console.transport.base import Endpoint, Route, TcpAddress, Transport, UnixAddress

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""Every pooler answers it with one byte, whatever its TLS settings, and logs nothing."""
_ANY_ADDRESS: Mapping[str, str] = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Door:
    """The TCP port of a pooler that was reached over its Unix socket."""

    closed_at: str | None = None
    """Where nothing listens any more; None: it does, or that is not known."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Whether it is shut: a plan made before does not go on."""
        return {"shutting down": "yes"} if self.closed_at else NOTHING


async def look_at_door(look: Look) -> Door:
    """Find out whether a pooler shuts down."""
    bouncer, transport = look.node, look.reach.transport
    address = _tcp_address(look.observation.config)
    if look.target.database is not None or address is None or transport is None:
        return Door()  # the pause of a database is ended by its RESUME even then
    in_doubt = look.dialect.has(look.observation.version, Capability.CONSOLE_DURING_SHUTDOWN)
    if not in_doubt or not isinstance(bouncer, Bouncer) or bouncer.unix is None:
        return Door()
    refused = await _refuses(transport, Route(bouncer.host, address, tls=False), look.timeout_s)
    return Door(str(address) if refused else None)


def _tcp_address(config: Mapping[str, Setting]) -> TcpAddress | None:
    """Return where this process, and no other, listens on TCP; None: nowhere, or that is not known."""
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


async def _refuses(transport: Transport, route: Route, timeout_s: float) -> bool:
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
