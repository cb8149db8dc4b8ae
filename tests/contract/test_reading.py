"""What a real PgBouncer says, as the values the rest of Pooldeck sees."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import pq

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR
from console.model.version import Version
from console.poolers.dialects import dialect_for
from console.poolers.pgbouncer import HIDDEN
from tests.contract.conftest import LIMIT_S, OpenReader, OpenWriter
from tests.harness.servers import MakePgBouncer

DIALECT = dialect_for("pgbouncer")
ODD_NAME = 'we"ird-db.x'


async def test_a_client_in_a_transaction_shows_in_pools_servers_clients_and_lists(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer)
    with bouncer.connect("tiny", application_name="payroll") as client, client.transaction():
        pid = client.execute("SELECT pg_backend_pid()").fetchone()
        pools = DIALECT.parse_pools(await reader.show("POOLS", timeout_s=LIMIT_S))
        servers = DIALECT.parse_servers(await reader.show("SERVERS", timeout_s=LIMIT_S))
        clients = DIALECT.parse_clients(await reader.show("CLIENTS", timeout_s=LIMIT_S))
        lists = DIALECT.parse_lists(await reader.show("LISTS", timeout_s=LIMIT_S))
    (pool,) = [pool for pool in pools if pool.database == "tiny"]
    assert (pool.user, pool.cl_active, pool.sv_active, pool.servers) == ("app", 1, 1, 1)
    assert (pool.cl_waiting, pool.maxwait_us, pool.pool_mode) == (0, 0, "transaction")
    (server,) = [server for server in servers if server.database == "tiny"]
    assert pid is not None
    assert (server.remote_pid, server.state, server.close_needed) == (pid[0], "active", False)
    (own,) = [client for client in clients if client.database == "tiny"]
    assert (own.link, own.idle, own.application_name) == (server.ptr, False, "payroll")
    assert lists["used_clients"] == 2
    assert lists["used_servers"] == 1


async def test_a_waiting_client_shows_with_its_growing_wait(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    """`tiny` takes two: the third client waits; seconds and microseconds are one number."""
    reader = await open_reader(bouncer)
    with contextlib.ExitStack() as stack:
        one, two, third = (stack.enter_context(contextlib.closing(bouncer.connect("tiny"))) for _ in range(3))
        one.execute("BEGIN")
        two.execute("BEGIN")
        third.pgconn.send_query(b"SELECT 1")
        third.pgconn.flush()
        seen: list[int] = []
        async with asyncio.timeout(LIMIT_S):
            while len(set(seen)) < 3:
                table = await reader.show("POOLS", timeout_s=LIMIT_S)
                (pool,) = [pool for pool in DIALECT.parse_pools(table) if pool.database == "tiny"]
                if pool.cl_waiting:
                    (raw,) = [row for row in table.rows if row[0] == "tiny"]
                    whole, part = (
                        int(raw[table.names.index(name)] or "") for name in ("maxwait", "maxwait_us")
                    )
                    assert pool.maxwait_us == whole * 1_000_000 + part
                    seen.append(pool.maxwait_us)
    assert seen == sorted(seen)


async def test_databases_tell_size_mode_and_flags(
    bouncer: PgBouncerServer, open_reader: OpenReader, open_writer: OpenWriter
) -> None:
    reader = await open_reader(bouncer)
    writer = await open_writer(bouncer)
    assert await writer.execute('DISABLE "app_session"', LIMIT_S) == "DISABLE"
    databases = {
        database.name: database
        for database in DIALECT.parse_databases(await reader.show("DATABASES", timeout_s=LIMIT_S))
    }
    assert databases["tiny"].pool_size == 2
    assert databases["tiny"].pool_mode == "transaction"
    assert databases["app_session"].disabled
    assert not databases["app"].disabled
    assert databases["pgbouncer"].host is None
    assert databases["app"].reserve_pool_size == 0


async def test_stats_count_what_ran(bouncer: PgBouncerServer, open_reader: OpenReader) -> None:
    reader = await open_reader(bouncer)
    with bouncer.connect("app") as client:
        for _ in range(3):
            client.execute("SELECT 1")
    stats = {row.database: row for row in DIALECT.parse_stats(await reader.show("STATS", timeout_s=LIMIT_S))}
    assert stats["app"].total_query_count >= 3
    assert stats["app"].total_sent_bytes > 0
    assert stats["app"].extra["avg_query_count"] is not None


async def test_config_says_what_can_be_changed_and_hides_what_may_be_secret(
    bouncer: PgBouncerServer, pgbouncer_version: str, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer)
    config = DIALECT.parse_config(await reader.show("CONFIG", timeout_s=LIMIT_S))
    assert config["max_client_conn"].value == "500"
    assert config["max_client_conn"].default == "100"
    assert config["max_client_conn"].changeable is True
    assert config["listen_port"].changeable is False
    assert ("transaction_timeout" in config) == (pgbouncer_version >= "1.25")


async def test_an_ldap_bind_password_is_not_shown(
    make_pgbouncer: MakePgBouncer, open_reader: OpenReader
) -> None:
    """PgBouncer 1.26 shows `auth_ldap_options` to stats users; we do not."""
    secret = "ldapbindpasswd=hunter2"
    server = make_pgbouncer("1.26", auth_ldap_options=secret)
    reader = await open_reader(server)
    table = await reader.show("CONFIG", timeout_s=LIMIT_S)
    assert any(secret in (row[1] or "") for row in table.rows)
    config = DIALECT.parse_config(table)
    assert config["auth_ldap_options"].value == HIDDEN
    assert secret not in repr(config)


@pytest.mark.parametrize(
    ("version", "second"), [("1.24", None), ("1.26", None)], ids=["prints the row before", "mended"]
)
async def test_a_pool_size_printed_for_the_wrong_user_is_not_taken_for_true(
    version: str, second: int | None, make_pgbouncer: MakePgBouncer, open_reader: OpenReader
) -> None:
    """Up to 1.25.2 a user without a pool_size is printed with the previous row's (issue #1489)."""
    # [users] has to come last, after every key of [pgbouncer].
    users = "0\n[users]\nu1 = pool_size=7\nu2 = pool_mode=session\nu3 = pool_size=9\n"
    server = make_pgbouncer(version, verbose=users)
    reader = await open_reader(server)
    exact = Version.parse(reader.version_text)
    table = await reader.show("USERS", timeout_s=LIMIT_S)
    rows = {user.name: user for user in DIALECT.parse_users(table, exact)}
    assert rows["u1"].pool_size == 7
    assert rows["u2"].pool_size is second
    assert rows["u3"].pool_size == 9
    assert rows["u2"].extra.get("pool_size") == ("7" if version == "1.24" else None)


async def test_a_client_name_that_is_no_text_does_not_break_the_table(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    """Clients may call themselves any bytes; one of them must not blind the console."""
    conninfo = f"host=127.0.0.1 port={bouncer.port} user=app dbname=app sslmode=disable application_name="
    password = f" password={bouncer.secrets.password('app')}"
    client = pq.PGconn.connect(conninfo.encode() + b"caf\xe9" + password.encode())
    assert client.status == pq.ConnStatus.OK
    reader = await open_reader(bouncer)
    clients = DIALECT.parse_clients(await reader.show("CLIENTS", timeout_s=LIMIT_S))
    client.finish()
    assert "caf\\xe9" in [client.application_name for client in clients]


@pytest.fixture
def odd_bouncer(
    pgbouncer_version: str, make_pgbouncer: MakePgBouncer, postgres: PostgresServer
) -> Iterator[tuple[PgBouncerServer, psycopg.Connection[tuple[object, ...]]]]:
    """A pooler whose `*` let a database of an odd name in, and a client in it."""
    target = f"host={postgres.host} port={postgres.port} dbname=app"
    server = make_pgbouncer(pgbouncer_version, databases={"*": target, "app": target})
    with server.connect(ODD_NAME) as client:
        client.execute("SELECT 1")
        yield server, client


async def test_an_odd_database_name_is_paused_and_resumed_by_its_name(
    odd_bouncer: tuple[PgBouncerServer, psycopg.Connection[tuple[object, ...]]],
    open_reader: OpenReader,
    open_writer: OpenWriter,
) -> None:
    server, _ = odd_bouncer
    reader, writer = await open_reader(server), await open_writer(server)

    async def paused() -> set[str]:
        databases = DIALECT.parse_databases(await reader.show("DATABASES", timeout_s=LIMIT_S))
        return {database.name for database in databases if database.paused}

    assert await writer.execute(DIALECT.pause(ODD_NAME), LIMIT_S) == "PAUSE"
    assert await paused() == {ODD_NAME}
    assert await writer.execute(DIALECT.resume(ODD_NAME), LIMIT_S) == "RESUME"
    assert await paused() == set()


async def test_a_global_pause_shows_in_state_and_not_in_databases(
    bouncer: PgBouncerServer, pgbouncer_version: str, open_reader: OpenReader, open_writer: OpenWriter
) -> None:
    reader, writer = await open_reader(bouncer, ADMIN), await open_writer(bouncer)
    assert await writer.execute(DIALECT.pause(None), LIMIT_S) == "PAUSE"
    databases = DIALECT.parse_databases(await reader.show("DATABASES", timeout_s=LIMIT_S))
    assert not any(database.paused for database in databases)
    if pgbouncer_version >= "1.19":
        assert DIALECT.parse_state(await reader.show("STATE", timeout_s=LIMIT_S)).paused is True
    assert await writer.execute(DIALECT.resume(None), LIMIT_S) == "RESUME"
    if pgbouncer_version >= "1.19":
        assert DIALECT.parse_state(await reader.show("STATE", timeout_s=LIMIT_S)).paused is False


async def test_reload_says_so(bouncer: PgBouncerServer, open_writer: OpenWriter) -> None:
    writer = await open_writer(bouncer)
    assert await writer.execute(DIALECT.reload(), LIMIT_S) == "RELOAD"


async def test_both_roles_read_the_same(bouncer: PgBouncerServer, open_reader: OpenReader) -> None:
    """Polling needs no admin: a stats user sees every SHOW we read, row for row."""
    monitor, admin = await open_reader(bouncer, MONITOR), await open_reader(bouncer, ADMIN)
    for what in ("VERSION", "DATABASES", "CONFIG", "USERS"):
        seen = await monitor.show(what, timeout_s=LIMIT_S)
        assert seen == replace(await admin.show(what, timeout_s=LIMIT_S), answer_us=seen.answer_us)
