"""The guardian and its keeper where the pooler's host is reached over SSH: two nets, one truth on record."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from console.clock import SystemClock
from console.config.schema import Host, Inventory
from console.lab.sshd import SshServer
from console.operations.lease.keepers import KeeperOutcome, KeeperReport, Keepers
from console.operations.lease.store import LeasePhase
from console.transport.ssh import SshTransport
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer
from tests.servers.guardian_kit import LIMIT_S, QUICK, Console, Scene, bouncer_entry
from tests.servers.operations_kit import until
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit"]
SHORT = replace(QUICK, keeper_s=4.0)


@pytest_asyncio.fixture
async def scene(make_pgbouncer: MakePgBouncer) -> AsyncIterator[Scene]:
    made = Scene()
    made.servers["edge"] = make_pgbouncer("1.26")
    yield made
    await made.end()


@pytest.fixture
def sshd(kit: SshKit) -> SshServer:
    return kit.sshd()


def _inventory(scene: Scene, host: Host) -> Inventory:
    entry = bouncer_entry(scene.servers["edge"], host="far", connect_timeout_s=5.0)
    return Inventory(fleet="test", environment="development", hosts={"far": host}, bouncers=(entry,))


async def _keepers(kit: SshKit, host: Host, console: Console) -> tuple[KeeperReport, ...]:
    """Return those of this console's lease, and remove what the ended ones left."""
    transport = SshTransport({"far": host}, clock=SystemClock(), runtime_dir=kit.runtime)
    try:
        keepers = Keepers(transport)
        found = await keepers.collect("far", timeout_s=LIMIT_S)
        mine = tuple(report for report in found if report.lease_id == console.lease_id)
        await keepers.discard("far", [report.key for report in mine], timeout_s=LIMIT_S)
        return mine
    finally:
        await transport.close()


async def _held(scene: Scene, inventory: Inventory) -> Console:
    console = await scene.console(inventory)
    armed = await console.arm("edge", limits=SHORT)
    assert (armed["uncovered"], armed["notes"]) == ({}, [])
    await console.hold("edge")
    await scene.until_phase(LeasePhase.HELD)
    return console


async def test_the_guardian_resumes_and_its_keeper_is_let_go(
    scene: Scene, kit: SshKit, sshd: SshServer
) -> None:
    host = kit.host(sshd)
    console = await _held(scene, _inventory(scene, host))
    (keeper,) = await _keepers(kit, host, console)
    assert (keeper.alive, keeper.bouncer, keeper.result) == (True, "edge", None)
    await console.kill()
    await scene.until_running()
    await console.guardian_over()
    assert scene.outcome()["by"] == "guardian"
    assert await _keepers(kit, host, console) == ()


async def test_when_the_guardian_dies_too_the_keeper_resumes(
    scene: Scene, kit: SshKit, sshd: SshServer
) -> None:
    host = kit.host(sshd)
    console = await _held(scene, _inventory(scene, host))
    os.kill(console.guardian, signal.SIGKILL)
    await console.kill()
    await scene.until_running()
    (lease,) = scene.leases
    assert lease.orphan
    assert [place[0] for place in lease.keepers] == ["far"]
    (keeper,) = await _keepers(kit, host, console)
    assert keeper.key == lease.keepers[0][1]
    assert keeper.result is not None
    assert keeper.result.outcome is KeeperOutcome.RESUMED


async def test_when_the_guardian_cannot_get_through_the_keeper_does_and_the_journal_says_so(
    scene: Scene, kit: SshKit, sshd: SshServer
) -> None:
    with FaultProxy(sshd.port) as proxy:
        kit.know_as(sshd, proxy.port)
        console = await _held(scene, _inventory(scene, kit.host(sshd, port=proxy.port)))
        with proxy.refusing():
            await console.kill()
            await until(lambda: "not lifted yet" in scene.guardian_log, LIMIT_S)
            await scene.until_running()
        await console.guardian_over(60.0)
    first, second = [one for one in scene.records if one["kind"] == "outcome"]
    assert (first["by"], first["outcome"]) == ("guardian", "no change")
    assert (second["by"], second["outcome"]) == ("keeper on far", "ok")
    sent = [one["statement"] for one in second["exchanges"]]
    assert sent == ["SET server_login_retry = 0", "RESUME", "SET server_login_retry = 15"]


async def test_a_host_without_a_keeper_is_a_note_and_no_more(
    scene: Scene, kit: SshKit, sshd: SshServer
) -> None:
    """Here nobody may run commands, only tunnels."""
    host = kit.host(kit.sshd("tunnels", ForceCommand="/bin/false"))
    console = await scene.console(_inventory(scene, host))
    armed = await console.arm("edge", limits=SHORT)
    assert armed["uncovered"] == {}
    assert armed["notes"][0].startswith("edge: no keeper on far: ")
    await console.hold("edge")
    await console.kill()
    await scene.until_running()
    await console.guardian_over()
