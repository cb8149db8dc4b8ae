"""SET against real PgBouncers of each supported line: what is sent takes effect, or nothing is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import RefusedError, UsageError
from console.guard.verdict import Tier
from console.lab.postgres import PostgresServer
from console.operations.outcome import Outcome
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.verbs_kit import Load, VerbDesk, message_of, setting, shown


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[VerbDesk]:
    made = VerbDesk(make_pgbouncer(pgbouncer_version), postgres, tmp_path / "journal.jsonl")
    async with made.service:
        yield made


async def test_a_setting_takes_effect_and_clients_go_on(desk: VerbDesk) -> None:
    with Load(desk.server) as load, desk.server.connect() as one:
        one.execute("SELECT 1")
        receipt = await desk.do("set", key="max_client_conn", value="4")
        assert receipt.outcome is Outcome.OK, receipt.detail
        assert (receipt.before, receipt.after) == ("max_client_conn = 500", "max_client_conn = 4")
        assert [sent.statement for sent in receipt.exchanges] == ["SET max_client_conn TO '4'"]
        assert receipt.next_steps == ("pooldeck set edge max_client_conn 500",)
        with pytest.raises(psycopg.OperationalError) as refused:
            desk.server.connect()
        assert "no more connections allowed" in message_of(refused.value)
        await load.works_on()
    assert load.errors == []


@pytest.mark.trap("T6")
async def test_it_is_undone_by_the_next_reload_and_the_plan_says_so(desk: VerbDesk) -> None:
    planned = await desk.one("set", key="default_pool_size", value="7")
    assert any(warning.startswith("RELOAD and a restart put") for warning in planned.warnings)
    assert "default_pool_size: 10 → 7" in planned.notes
    await desk.do("set", key="default_pool_size", value="7")
    assert setting(desk.server, "default_pool_size") == "7"
    with desk.server.admin() as console:
        console.execute("RELOAD")
    assert setting(desk.server, "default_pool_size") == "10"


@pytest.mark.parametrize(
    ("key", "value", "reads"),
    [
        ("pool_mode", "Session", "session"),
        ("default_pool_size", "0x10", "16"),
        ("server_idle_timeout", "33.50", "33.5"),
        ("server_reset_query", 'DISCARD ALL; -- it\'s "ours"', 'DISCARD ALL; -- it\'s "ours"'),
        ("admin_users", "pooldeck_admin, réné", "pooldeck_admin, réné"),
        ("server_check_query", "x" * 253, "x" * 253),
        ("ignore_startup_parameters", "", ""),
    ],
)
async def test_values_arrive_as_they_are(desk: VerbDesk, key: str, value: str, reads: str) -> None:
    receipt = await desk.do("set", key=key, value=value)
    assert receipt.outcome is Outcome.OK, receipt.detail
    assert setting(desk.server, key) == reads


@pytest.mark.parametrize(
    ("key", "value"),
    [("default_pool_size", "10"), ("default_pool_size", "0x0a"), ("pool_mode", "transaction")],
)
async def test_the_value_it_has_already_is_no_change(desk: VerbDesk, key: str, value: str) -> None:
    receipt = await desk.do("set", key=key, value=value)
    assert (receipt.outcome, receipt.exchanges) == (Outcome.NO_CHANGE, ())


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("listen_port", "7777", "SET would answer success and do nothing"),
        ("default_pol_size", "7", "did you mean default_pool_size"),
        ("DEFAULT_POOL_SIZE", "7", "did you mean default_pool_size"),
        ("nosuch", "7", "): SHOW CONFIG lists those it has"),
        ("client_encoding", "UTF8", "has no setting client_encoding"),
        ("default_pool_size; SHUTDOWN", "7", "has no setting"),
        ("server_check_query", "select 1\n; SHUTDOWN", "control characters"),
        ("server_check_query", "'" * 200, "at most 253 bytes"),
    ],
)
@pytest.mark.trap("T9")
async def test_what_would_do_nothing_or_something_else_is_not_sent(
    desk: VerbDesk, key: str, value: str, why: str
) -> None:
    planned = await desk.one("set", key=key, value=value)
    assert planned.blocked is not None
    assert why in planned.blocked
    assert planned.statements == ()
    with pytest.raises(RefusedError):
        await desk.do("set", key=key, value=value)


async def test_a_value_that_the_pooler_refuses_changes_nothing(desk: VerbDesk) -> None:
    receipt = await desk.do("set", key="default_pool_size", value="many")
    assert (receipt.outcome, receipt.after) == (Outcome.FAILED, "default_pool_size = 10")
    assert "many is no value that default_pool_size takes" in receipt.detail
    assert "SET failed" in receipt.detail


async def test_a_setting_that_may_hold_a_secret_never_gets_into_a_plan(desk: VerbDesk) -> None:
    with pytest.raises(UsageError, match="may hold a secret") as refused:
        await desk.service.plan("set", "edge", key="auth_ldap_options", value="hunter2")
    assert "hunter2" not in str(refused.value)
    assert desk.records() == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("stats_period", "30", "until a restart"),
        ("max_client_conn", "50000", "limit of open files"),
        ("conffile", "/tmp/other.ini", "the next RELOAD reads that file instead"),
        ("admin_users", "somebody", "pooldeck_admin can no longer log in as admin"),
        ("query_wait_timeout", "0", "waits for ever"),
        ("pool_mode", "session", "a mode of their own keep it"),
        ("default_pool_size", "40", "is there room in max_connections of Postgres?"),
    ],
)
@pytest.mark.trap("T20", "T24", "T25")
async def test_surprises_are_told_before(desk: VerbDesk, key: str, value: str, told: str) -> None:
    planned = await desk.one("set", key=key, value=value)
    assert any(told in warning for warning in planned.warnings), planned.warnings


@pytest.mark.trap("T24")
async def test_a_pool_size_of_nothing_means_another_thing_in_each_version(
    desk: VerbDesk, postgres: PostgresServer
) -> None:
    """Trap T24: unlimited from 1.24 on, not one connection more before."""
    planned = await desk.one("set", key="default_pool_size", value="0")
    unlimited = any("0 is unlimited" in warning for warning in planned.warnings)
    with desk.server.connect() as client, postgres.connect() as session:
        client.execute("SELECT 1")
        receipt = await desk.do("set", key="default_pool_size", value="0")
        assert receipt.outcome is Outcome.OK, receipt.detail
        await desk.do("set", key="query_wait_timeout", value="1")
        for row in shown(desk.server, "SERVERS"):
            session.execute("SELECT pg_terminate_backend(%s)", [row["remote_pid"]])
        await until(lambda: not shown(desk.server, "SERVERS"))
        if unlimited:
            assert client.execute("SELECT 42").fetchone() == (42,)
        else:
            with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
                client.execute("SELECT 42")


async def test_what_no_client_feels_asks_for_less(desk: VerbDesk) -> None:
    assert (await desk.one("set", key="verbose", value="1")).tier is Tier.HARMLESS
    assert (await desk.one("set", key="pool_mode", value="session")).tier is Tier.FELT
