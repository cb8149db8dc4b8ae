"""A rolling restart from the console, which watches the fleet: its own sessions do not keep a member."""

from __future__ import annotations

from console.fleet.collector import FleetCollector
from console.fleet.store import FleetStore
from console.poolers.connect import PoolerConnector
from console.postgres.connect import PostgresConnector
from console.tui.app import PooldeckApp
from console.tui.log_buffer import LogBuffer
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LabPasswords
from tests.servers.process_kit import on_host
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.test_restart import no_relay_is_left
from tests.servers.test_restart_rolling import GROUP, peers
from tests.tui.driving import burst, text_of, until

__all__ = ["kit", "no_relay_is_left"]  # fixtures


async def test_the_consoles_own_session_does_not_keep_a_member_from_ending(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    servers = peers(make_pgbouncer, "1.24")
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        store = FleetStore()
        passwords = LabPasswords(desk.server.secrets)
        nodes = PostgresConnector(desk.inventory, desk.transport, passwords)
        bouncers = PoolerConnector(desk.inventory, desk.transport, passwords)
        app = PooldeckApp(
            store,
            desk.inventory,
            desk.service,
            clock=desk.clock,
            log=LogBuffer(),
            collector=FleetCollector(desk.inventory, bouncers, nodes, store, desk.clock),
        )
        before = servers["edge-1"].pid_path.read_text()
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "2 of 2 answer" in text_of(app))
            await burst(
                pilot, "colon", *"restart edge-1 method=rolling stragglers=give-up timeout=5", "enter"
            )
            await until(pilot, lambda: "Type edge-1 to go on" in text_of(app))
            await burst(pilot, *"edge-1", "enter")
            await until(pilot, lambda: "OK  edge-1" in text_of(app), within_s=60)
            await until(pilot, lambda: "2 of 2 answer" in text_of(app))
        assert servers["edge-1"].pid_path.read_text() != before
