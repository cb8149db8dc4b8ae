"""What operations reach the fleet with: one bundle that drivers make and the service hands down.

It opens nothing by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from console.operations.sessions import Connector
from console.operations.shield import Shields

if TYPE_CHECKING:
    from console.operations.lease.base import Leases
    from console.operations.lease.locks import BouncerLocks
    from console.operations.nodes import Nodes
    from console.operations.past import Past
    from console.operations.radius import BackendSource
    from console.operations.role_pairs import RolePairs
    from console.operations.roles import Logins, Roles, Wallet
    from console.operations.rotate.run_file import RunFiles
    from console.operations.switchover.nodes import ClientSide, SwitchNodes
    from console.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Reach:
    """The ways out of this process."""

    connector: Connector
    """Admin consoles."""
    transport: Transport | None = None
    """Commands on hosts over SSH; None: no host can be asked, and plans say so."""
    nodes: Nodes | None = None
    """Postgres nodes, to act on; None: no verb can."""
    backends: BackendSource | None = None
    """Who runs what on Postgres nodes; None: it is not known, and plans say so."""
    roles: Roles | None = None
    """Roles of Postgres nodes and their passwords; None: none can be changed."""
    pairs: RolePairs | None = None
    """Two roles of Postgres nodes, side by side; None: none can be."""
    logins: Logins | None = None
    """Logins as a client; None: none can be tried, so no secret is changed."""
    wallet: Wallet | None = None
    """Where secrets come from; None: this driver has none."""
    run_files: RunFiles | None = None
    """What rotations leave while they run; None: none can be carried out."""
    past: Past | None = None
    """What earlier runs left; None: it is not looked at."""
    switching: SwitchNodes | None = None
    """Postgres nodes, to move clients from one to another; None: no verb can."""
    clients: ClientSide | None = None
    """Logins through poolers as clients make them; None: none can be tried."""
    locks: BouncerLocks | None = None
    """Against other consoles of this machine; None: only runs of this process keep apart."""
    leases: Leases | None = None
    """Guardians; None: nothing that needs one can be carried out."""
    shields: Shields = field(default_factory=Shields)
    """What spares clients trap T4, a bouncer's shared by all who resume databases of it."""
