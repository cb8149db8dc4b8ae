"""Cancel and terminate on a real server: only the backend and the transaction that were planned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from console.config.schema import Bouncer, Host, Inventory, PostgresNode
from console.errors import RefusedError, UsageError
from console.guard.verdict import Allow, Tier
from console.lab.postgres import PostgresServer
from console.lab.secrets import MONITOR, REPLICATOR
from console.operations.outcome import Outcome
from console.operations.render import plan_text
from console.postgres.connect import PostgresConnector
from console.postgres.sessions import PostgresNodes
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import Direct, LabPasswords, until
from tests.servers.verbs_kit import Sleeper, VerbDesk, backends_asleep, shown, without_signals


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(make_pgbouncer("1.26"), postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


@pytest.fixture
def client(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A client of the node itself."""
    with postgres.connect("app", user="app", application_name="direct") as made:
        yield made


async def _asleep(postgres: PostgresServer) -> int:
    await until(lambda: len(backends_asleep(postgres)) == 1)
    (pid,) = backends_asleep(postgres)
    return pid


def _is_there(postgres: PostgresServer, pid: int) -> bool:
    with postgres.connect() as session:
        row = session.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    return row == (1,)


# -- cancel -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["1.18", "1.24", "1.26"])
async def test_cancel_ends_the_query_and_the_client_behind_a_pooler_stays(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, line: str
) -> None:
    server = make_pgbouncer(line)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        sleeper = Sleeper(server, "long-query")
        pid = await _asleep(postgres)
        planned = await desk.one("cancel", "primary", pids=(pid,))
        assert planned.present == "1 backend: 1 active"
        assert any(
            "app on app, long-query, from 127.0.0.1, where edge runs" in note for note in planned.notes
        )
        receipt = await desk.do("cancel", "primary", pids=(pid,))
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert receipt.detail == "1 backend cancelled"
        assert tuple(sent.statement for sent in receipt.exchanges) == planned.statements
        assert planned.statements[0].startswith("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE")
        await until(lambda: sleeper.error is not None)
        assert sleeper.error == "canceling statement due to user request"
        assert sleeper.client.execute("SELECT 42").fetchone() == (42,)
        await sleeper.ended()
    assert [record["kind"] for record in desk.records()] == ["intent", "outcome"]


async def test_the_statement_of_the_plan_can_be_pasted(desk: VerbDesk, postgres: PostgresServer) -> None:
    sleeper = Sleeper(desk.server, "long-query")
    pid = await _asleep(postgres)
    planned = await desk.one("cancel", "primary", pids=(pid,))
    with postgres.connect() as session:
        assert session.execute(planned.statements[0].encode()).fetchone() == (True,)
    await until(lambda: sleeper.error is not None)
    await sleeper.ended()


async def test_the_query_of_the_next_client_is_never_cancelled(
    desk: VerbDesk, postgres: PostgresServer
) -> None:
    """Behind a pooler the same backend serves another transaction by then."""
    with desk.server.connect() as first, desk.server.connect() as second:
        first.execute("BEGIN")
        first.execute("SELECT 1")
        (row,) = [row for row in shown(desk.server, "SERVERS") if row["database"] == "app"]
        sleeping = asyncio.create_task(asyncio.to_thread(first.execute, "SELECT pg_sleep(60)"))
        pid = await _asleep(postgres)
        assert pid == row["remote_pid"]
        plan = await desk.service.plan("cancel", "primary", pids=(pid,))
        first.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await sleeping
        first.execute("ROLLBACK")
        second.execute("BEGIN")
        second.execute("SELECT 1")
        assert {r["remote_pid"] for r in shown(desk.server, "SERVERS") if r["database"] == "app"} == {pid}
        receipt = await desk.finish(desk.submit(plan))
        assert (receipt.outcome, receipt.exchanges) == (Outcome.SKIPPED, ())
        assert f"transaction of backend {pid}" in receipt.detail
        assert second.execute("SELECT 42").fetchone() == (42,)


async def test_an_idle_transaction_is_not_ended_by_a_cancel_and_that_is_said(
    desk: VerbDesk, client: psycopg.Connection[Any]
) -> None:
    client.execute("BEGIN")
    pid = client.info.backend_pid
    plan = await desk.service.plan("cancel", "primary", pids=(pid,))
    (planned,) = plan.targets
    assert planned.statements == ()
    assert any(f"pooldeck terminate primary {pid}" in warning for warning in planned.warnings)
    assert desk.service.judge(plan) == Allow(plan.tier)
    receipt = await desk.finish(desk.submit(plan))
    assert receipt.outcome is Outcome.NO_CHANGE
    assert receipt.detail == "nothing runs there; what is idle in a transaction is ended by terminate only"
    assert receipt.next_steps == (f"pooldeck terminate primary {pid}",), (
        "nobody was asked, so no plan was shown"
    )
    client.execute("COMMIT")


# -- terminate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["1.18", "1.24", "1.26"])
async def test_terminate_ends_the_backend_and_cuts_who_holds_it(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, line: str
) -> None:
    server = make_pgbouncer(line)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl")
    async with desk.service:
        with server.connect() as other:
            sleeper = Sleeper(server, "long-query")
            pid = await _asleep(postgres)
            plan = await desk.service.plan("terminate", "primary", pids=(pid,))
            assert plan.tier is Tier.CUT
            receipt = await desk.finish(desk.submit(plan))
            assert (receipt.outcome, receipt.after) == (Outcome.OK, "gone"), receipt.detail
            assert receipt.verified == (f"backend {pid} is gone",)
            assert await sleeper.ended() == "terminating connection due to administrator command"
            assert not _is_there(postgres, pid)
            assert other.execute("SELECT 42").fetchone() == (42,)


async def test_an_idle_server_connection_is_replaced_and_no_client_sees_it(
    desk: VerbDesk, postgres: PostgresServer
) -> None:
    with desk.server.connect() as through:
        through.execute("SELECT 1")
        (row,) = [row for row in shown(desk.server, "SERVERS") if row["database"] == "app"]
        receipt = await desk.do("terminate", "primary", pids=(row["remote_pid"],))
        assert receipt.outcome is Outcome.OK, receipt.detail
        await until(lambda: not shown(desk.server, "SERVERS"))
        assert through.execute("SELECT 42").fetchone() == (42,)


async def test_a_backend_that_is_gone_is_no_change_at_plan_time_and_a_refusal_later(
    desk: VerbDesk, postgres: PostgresServer
) -> None:
    with postgres.connect("app", user="app") as brief:
        pid = brief.info.backend_pid
        plan = await desk.service.plan("terminate", "primary", pids=(pid,))
    await until(lambda: not _is_there(postgres, pid))
    late = await desk.finish(desk.submit(plan))
    assert (late.outcome, late.exchanges) == (Outcome.SKIPPED, ())
    assert "→ gone" in late.detail
    receipt = await desk.do("terminate", "primary", pids=(pid,))
    assert (receipt.outcome, receipt.detail) == (Outcome.NO_CHANGE, "no such backend is there")


async def test_who_blocks_whom_is_told(desk: VerbDesk, postgres: PostgresServer) -> None:
    # A connection that is ended cannot be left by `with`, which would commit.
    with closing(postgres.connect("app")) as blocker, postgres.connect("app") as blocked:
        blocker.execute("BEGIN")
        blocker.execute("SELECT pg_advisory_xact_lock(4711)")
        waiting = asyncio.create_task(asyncio.to_thread(blocked.execute, "SELECT pg_advisory_lock(4711)"))
        pids = (blocker.info.backend_pid, blocked.info.backend_pid)
        await until(lambda: _waits_for_lock(postgres, pids[1]))
        planned = await desk.one("terminate", "primary", pids=pids)
        assert f"backend {pids[0]} keeps 1 other waiting: {pids[1]}" in planned.notes
        assert any(f"backend {pids[1]} waits for a lock of {pids[0]}" in note for note in planned.notes)
        receipt = await desk.do("terminate", "primary", pids=(pids[0],))
        assert receipt.outcome is Outcome.OK, receipt.detail
        await waiting


def _waits_for_lock(postgres: PostgresServer, pid: int) -> bool:
    with postgres.connect() as session:
        row = session.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    return row == ("Lock",)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def monitor(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    """A desk that is at the node with the lab's own role, no superuser."""
    made = VerbDesk(make_pgbouncer(), postgres, tmp_path / "journal.jsonl", node_user=MONITOR)
    async with made.service:
        yield made


async def test_the_role_of_the_lab_may_cancel_and_terminate(
    monitor: VerbDesk, client: psycopg.Connection[Any], postgres: PostgresServer
) -> None:
    sleeper = Sleeper(monitor.server, "long-query")
    receipt = await monitor.do("cancel", "primary", pids=(await _asleep(postgres),))
    assert receipt.outcome is Outcome.OK, receipt.detail
    await sleeper.ended()
    receipt = await monitor.do("terminate", "primary", pids=(client.info.backend_pid,))
    assert receipt.outcome is Outcome.OK, receipt.detail


async def test_a_role_that_may_not_signal_is_told_which_grant_is_missing(
    monitor: VerbDesk, postgres: PostgresServer, client: psycopg.Connection[Any]
) -> None:
    pid = client.info.backend_pid
    with without_signals(postgres):
        (planned,) = (await monitor.service.plan("terminate", "primary", pids=(pid,))).targets
        assert planned.blocked == (
            f"backend {pid}: {MONITOR} may not signal it; a superuser has to run, on the primary: "
            f"GRANT pg_signal_backend TO {MONITOR}"
        )
        assert planned.statements == ()
        with pytest.raises(RefusedError):
            await monitor.do("terminate", "primary", pids=(pid,))
        assert client.execute("SELECT 42").fetchone() == (42,)
        idle = await monitor.one("cancel", "primary", pids=(pid,))
        assert (idle.blocked, idle.changes) == (None, False), "nothing would be signalled"


async def test_a_member_of_the_backends_role_may_signal_it(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, client: psycopg.Connection[Any]
) -> None:
    """The lab's `worker` is a member of `app`: it sees and signals its backends without a predefined role."""
    desk = VerbDesk(make_pgbouncer(), postgres, tmp_path / "journal.jsonl", node_user="worker")
    async with desk.service:
        receipt = await desk.do("terminate", "primary", pids=(client.info.backend_pid,))
        assert receipt.outcome is Outcome.OK, receipt.detail


async def test_only_a_superuser_signals_a_superusers_backend(
    monitor: VerbDesk, postgres: PostgresServer
) -> None:
    with postgres.connect() as session:
        pid = session.info.backend_pid
        planned = await monitor.one("terminate", "primary", pids=(pid,))
        assert planned.blocked is not None
        assert planned.blocked.startswith(f"backend {pid}: postgres is a superuser, so only a superuser may")
        assert session.execute("SELECT 42").fetchone() == (42,)


async def test_what_is_refused_after_the_plan_is_told_with_what_is_missing(
    monitor: VerbDesk, postgres: PostgresServer, client: psycopg.Connection[Any]
) -> None:
    plan = await monitor.service.plan("terminate", "primary", pids=(client.info.backend_pid,))
    with without_signals(postgres):
        receipt = await monitor.finish(monitor.submit(plan))
    assert receipt.outcome is Outcome.FAILED
    assert "the server refused" in receipt.detail
    assert any("pg_signal_backend" in step for step in receipt.next_steps)


async def test_a_walsender_is_told_without_what_it_has_not(
    monitor: VerbDesk, postgres: PostgresServer
) -> None:
    with postgres.connect("", user=REPLICATOR, replication="true", application_name="standby") as stream:
        pid = stream.info.backend_pid
        plan = await monitor.service.plan("terminate", "primary", pids=(pid,))
        (planned,) = plan.targets
        assert (
            f"backend {pid}: replicator on no database, standby, from 127.0.0.1, where edge runs"
            in planned.notes
        )
        assert planned.warnings == (
            f"backend {pid} is no client's: it is a walsender, and a standby or a consumer of changes is cut "
            "off",
        )
        told = json.dumps(plan.as_dict(), ensure_ascii=False) + plan_text(plan)
        assert "None" not in told
        receipt = await monitor.finish(monitor.submit(plan))
        assert (receipt.outcome, receipt.after) == (Outcome.OK, "gone"), receipt.detail


async def test_a_role_that_may_not_see_backends_signals_none(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path
) -> None:
    desk = VerbDesk(make_pgbouncer(), postgres, tmp_path / "journal.jsonl", node_user="reports")
    async with desk.service:
        with postgres.connect("app", user="worker") as client:
            planned = await desk.one("terminate", "primary", pids=(client.info.backend_pid,))
            assert planned.blocked is not None
            assert planned.blocked.endswith("GRANT pg_monitor, pg_signal_backend TO reports")
            with pytest.raises(RefusedError):
                await desk.do("terminate", "primary", pids=(client.info.backend_pid,))
            assert client.execute("SELECT 42").fetchone() == (42,)


async def test_what_is_no_client_is_named_for_what_it_is(desk: VerbDesk, postgres: PostgresServer) -> None:
    with postgres.connect() as session:
        row = session.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        ).fetchone()
    assert row is not None
    planned = await desk.one("terminate", "primary", pids=(row[0],))
    assert f"backend {row[0]} is no client's: it is a checkpointer" in planned.warnings
    assert f"backend {row[0]}: no role on no database" in planned.notes
    assert planned.blocked is not None, "the functions answer false for it, superuser or not"
    assert "a checkpointer is part of the server itself" in planned.blocked


@pytest.mark.parametrize("wrong", [("0",), ("-1",), ("x",), (str(2**31),), ()])
async def test_what_is_no_pid_is_refused(desk: VerbDesk, wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        await desk.service.plan("cancel", "primary", pids=wrong)


async def test_a_bouncer_is_no_postgres_node_and_the_other_way_round(desk: VerbDesk) -> None:
    with pytest.raises(UsageError, match="edge is a bouncer, and cancel acts on Postgres nodes"):
        await desk.service.plan("cancel", "edge", pids=("1",))
    with pytest.raises(UsageError, match="primary is a Postgres node, and pause acts on bouncers"):
        await desk.service.plan("pause", "primary")


async def test_the_poolers_at_an_address_are_found_by_the_inventory(postgres: PostgresServer) -> None:
    def node(name: str, **keys: Any) -> PostgresNode:
        return PostgresNode(name=name, role="primary", **keys)

    inventory = Inventory(
        fleet="test",
        environment="development",
        hosts={"a": Host(hostname="192.0.2.1"), "b": Host(hostname="192.0.2.2")},
        bouncers=(
            Bouncer(name="on-a", host="a", unix="/run/pgbouncer", port=6432),
            Bouncer(name="on-a-too", host="a", tcp="127.0.0.1:6433"),
            Bouncer(name="behind-a", host="a", tcp="192.0.2.7:6432"),
            Bouncer(name="straight", tcp="192.0.2.9:6432"),
            Bouncer(name="here", tcp="127.0.0.1:6432"),
        ),
        postgres=(node("on-a", host="a", tcp="127.0.0.1:5432"), node("far", tcp="192.0.2.50:5432")),
    )
    nodes = PostgresNodes(PostgresConnector(inventory, Direct(), LabPasswords(postgres.secrets)), inventory)
    assert await nodes.poolers_at("far", "192.0.2.1") == ("on-a", "on-a-too")
    assert await nodes.poolers_at("far", "192.0.2.7") == ("behind-a",)
    assert await nodes.poolers_at("far", "192.0.2.9") == ("straight",)
    assert await nodes.poolers_at("far", None) == ()
    assert await nodes.poolers_at("far", "127.0.0.1") == ()
    assert await nodes.poolers_at("on-a", None) == ("on-a", "on-a-too", "behind-a")
