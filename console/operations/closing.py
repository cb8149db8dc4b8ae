"""Whether a pooler shuts down: it accepts PAUSE then, and refuses the RESUME that must follow (T12, T14).

No SHOW tells. But its TCP port is closed first, and an operation logs in anew: so only one that let us in
over its Unix socket is in doubt, as 1.25 and later do while they shut down. When nothing listens on its TCP
port any more, it shuts down; where processes share that port (so_reuseport) nobody can tell. Seen on 1.24
and 1.26.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.operations.outcome import NOTHING
from console.operations.spec import Look
from console.poolers.base import Capability
from console.poolers.door import refuses, tcp_door
from console.transport.base import Route


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
    address = tcp_door(look.observation.config)
    if look.target.database is not None or address is None or transport is None:
        return Door()  # the pause of a database is ended by its RESUME even then
    in_doubt = look.dialect.has(look.observation.version, Capability.CONSOLE_DURING_SHUTDOWN)
    if not in_doubt or not isinstance(bouncer, Bouncer) or bouncer.unix is None:
        return Door()
    refused = await refuses(transport, Route(bouncer.host, address, tls=False), look.timeout_s)
    return Door(str(address) if refused else None)
