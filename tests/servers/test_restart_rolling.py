"""A rolling restart of real so_reuseport peers over a real sshd, with clients that come and go, and stay."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psycopg
import pytest

from console.lab.bouncer import PgBouncerServer
from console.operations.outcome import EventKind, Outcome
from console.operations.restart import rolling
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import LIMIT_S, until
from tests.servers.process_kit import on_host
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.test_restart import no_relay_is_left
from tests.servers.verbs_kit import message_of

__all__ = ["kit", "no_relay_is_left"]  # fixtures
GROUP = "edge"
WAITING = ["1.24", "1.26"]


class Visitors:
    """Clients of the peers' port that connect for each transaction, and try again when that fails."""

    def __init__(self, server: PgBouncerServer, count: int = 3) -> None:
        self.done = 0
        self.retried = 0
        """Logins that were refused or reset, and tried again."""
        self.failed: list[str] = []
        """Transactions that failed once they had begun."""
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT_S)

    async def work_on(self, count: int = 30) -> None:
        """Wait until so many more transactions are done."""
        wanted = self.done + count
        await until(lambda: self.done >= wanted)

    def _work(self) -> None:
        while not self._stop.wait(0.01):
            try:
                client = self._server.connect()
            except psycopg.Error:
                self.retried += 1
                continue
            try:
                with client, client.transaction():
                    client.execute("SELECT pg_sleep(0.01)")
                self.done += 1
            except psycopg.Error as error:
                self.failed.append(message_of(error))


def peers(make_pgbouncer: MakePgBouncer, version: str, count: int = 2) -> Mapping[str, PgBouncerServer]:
    """Start members of one so_reuseport group, each with its own Unix socket."""
    first = make_pgbouncer(version, so_reuseport=1)
    others = [make_pgbouncer(version, port=first.port, so_reuseport=1) for _ in range(count - 1)]
    return {f"edge-{number}": server for number, server in enumerate([first, *others], start=1)}


def by_socket(server: PgBouncerServer, name: str = "shop") -> psycopg.Connection[tuple[object, ...]]:
    """A client of exactly this member."""
    return server.connect(host=str(server.socket_dir), application_name=name)


@pytest.fixture(autouse=True)
def no_long_wait_for_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these clients do not come back."""
    monkeypatch.setattr(rolling, "BACK_LIMIT_S", 0.3)


@pytest.mark.parametrize("version", WAITING)
async def test_all_members_are_restarted_and_no_transaction_fails(
    kit: SshKit, make_pgbouncer: MakePgBouncer, version: str
) -> None:
    servers = peers(make_pgbouncer, version)
    old = {name: server.pid for name, server in servers.items()}
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        with Visitors(servers["edge-1"]) as visitors:
            await visitors.work_on()
            plan = await desk.service.plan("restart", "all", timeout_s=15)
            assert [len(wave) for wave in plan.waves] == [1, 1]
            assert all(item.notes[0].startswith("method: rolling") for item in plan.targets)
            told = "is told that the pooler is shutting down" in plan.targets[0].notes[1]
            assert told is (version == "1.26")
            receipts = (await desk.submit(plan).receipt()).targets
            await visitors.work_on()
        assert [receipt.outcome for receipt in receipts] == [Outcome.OK] * 2, [
            (receipt.detail, receipt.log) for receipt in receipts
        ]
        assert visitors.failed == []
        for name, server in servers.items():
            assert server.adopt()
            assert server.pid != old[name]


@pytest.mark.parametrize("version", WAITING)
async def test_who_stays_keeps_it_and_is_told_and_its_host_starts_it_after_the_last(
    kit: SshKit, make_pgbouncer: MakePgBouncer, version: str
) -> None:
    servers = peers(make_pgbouncer, version)
    one = servers["edge-1"]
    old = one.pid
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        with by_socket(one) as client:
            client.execute("SELECT 1")
            receipt = await desk.do("restart", "edge-1", method="rolling", timeout_s=0.6)
            assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "shutting down")
            assert "with 1 client connected: that cannot be revoked; its host starts it" in receipt.detail
            (straggler,) = receipt.still_active
            assert straggler.startswith("shop app@unix")
            assert "idle" in straggler
            assert client.execute("SELECT 42").fetchone() == (42,)
            report = await desk.report("edge-1")
            assert report.look.process is not None
            assert any(one.under_way for one in report.look.earlier)
        await until(lambda: one.adopt() and one.pid != old)
        await until(lambda: one.ready())
        report = await desk.report("edge-1")
        assert str(report.running_version) == str(one.version)
        (left,) = report.look.earlier
        assert not left.under_way
        await desk.transport.run("host", ["rm", "-r", left.folder], timeout_s=LIMIT_S)


@pytest.mark.parametrize(("version", "stragglers"), [("1.24", "ask"), ("1.26", "kill-idle")])
async def test_idle_ones_are_cut_at_the_deadline_and_others_finish(
    kit: SshKit, make_pgbouncer: MakePgBouncer, version: str, stragglers: str
) -> None:
    servers = peers(make_pgbouncer, version)
    one = servers["edge-1"]
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        idle, busy = by_socket(one, "idle"), by_socket(one, "busy")
        with idle, busy:
            idle.execute("SELECT 1")
            busy.execute("BEGIN")
            busy.execute("SELECT 1")
            run = await desk.start("restart", "edge-1", method="rolling", stragglers=stragglers, timeout_s=2)
            assert any("KILL_CLIENT" in statement for statement in run.plan.targets[0].statements)
            kinds = []
            async for event in run.events():
                kinds.append(event.kind)
                if event.kind is EventKind.ASKING and event.data["choices"]:
                    assert [key for key, _ in event.data["choices"]] == ["wait", "kill-idle", "give-up"]
                    assert any(line.startswith("idle ") for line in event.data["about"])
                    run.answer("edge-1", "kill-idle")
                if event.kind is EventKind.ANSWERED and "KILL_CLIENT" in event.text:
                    break
            assert EventKind.ENDING in kinds, "whoever watches the fleet gives its own session up"
            with pytest.raises(psycopg.OperationalError, match="admin forced disconnect"):
                idle.execute("SELECT 1")
            assert busy.execute("SELECT 42").fetchone() == (42,)
            busy.execute("COMMIT")
            busy.close()
            receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert "1 client cut; started 0." in receipt.detail
        assert any(sent.statement.startswith("KILL_CLIENT ") for sent in receipt.exchanges)


async def test_waiting_on_goes_beyond_the_deadline_until_told_to_stop(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    servers = peers(make_pgbouncer, "1.24")
    one = servers["edge-1"]
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        with by_socket(one) as client:
            client.execute("SELECT 1")
            run = await desk.start("restart", "edge-1", method="rolling", stragglers="wait", timeout_s=0.2)
            seen = 0
            async for event in run.events():
                seen += event.kind is EventKind.WAITING
                if seen == 3:
                    break
            assert not run.done
        receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.OK, receipt.detail


async def test_without_a_peer_that_serves_nothing_is_begun(
    kit: SshKit, make_pgbouncer: MakePgBouncer
) -> None:
    servers = peers(make_pgbouncer, "1.24")
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        plan = await desk.service.plan("restart", "edge-1", method="rolling")
        servers["edge-2"].kill()
        planned = (await desk.service.plan("restart", "edge-1", method="rolling")).targets[0]
        assert planned.blocked == "none of its peers serves: edge-2"
        auto = (await desk.service.plan("restart", "edge-1")).targets[0]
        assert auto.notes[0].startswith("method: takeover"), "the next best"
        run = desk.submit(plan)
        receipt = await desk.finish(run)
        assert receipt.outcome is Outcome.SKIPPED
        assert "obstacle: none → none of its peers serves: edge-2" in receipt.detail
        assert servers["edge-1"].running


async def test_a_peer_without_room_is_not_given_more(kit: SshKit, make_pgbouncer: MakePgBouncer) -> None:
    servers = peers(make_pgbouncer, "1.24")
    async with on_host(kit, servers, peer_group=GROUP) as desk:
        with Visitors(servers["edge-1"]) as visitors:
            await visitors.work_on(5)
            receipt = await desk.do("restart", "edge-1", method="rolling", max_cpu_percent=0.01)
        assert receipt.outcome is Outcome.FAILED
        assert "its peer edge-2 uses " in receipt.detail
        assert "nothing was sent" in receipt.detail
