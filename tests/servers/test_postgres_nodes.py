"""Reading real PostgreSQL servers: what they say of themselves, and how each failure is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from console.config.schema import Inventory, PostgresNode
from console.errors import DeadlineError, LostConnection, NodeError, Phase, UsageError
from console.lab.fleet import Lab
from console.lab.postgres import PostgresServer
from console.lab.secrets import MONITOR, SUPERUSER, Secrets
from console.lab.tls import CertificateAuthority
from console.model.fleet import PostgresReading
from console.postgres.connect import PostgresConnector, PostgresReader, route_of
from console.transport.base import Endpoint, TcpAddress, Transport
from console.transport.fake import FakeTransport
from tests.harness.faults import FaultProxy, refusing_port, silent_port
from tests.harness.servers import Workshop

LIMIT_S = 10.0


class Passwords:
    """Passwords of the lab's roles, or one that is wrong."""

    def __init__(self, secrets: Secrets, *, wrong: bool = False) -> None:
        self._secrets = secrets
        self._wrong = wrong

    async def password(self, source: str | None, *, user: str, **_: object) -> SecretStr:
        assert source is None
        return SecretStr("not the password" if self._wrong else self._secrets.password(user))


def inventory(port: int, *, limit_s: float = 3.0, **keys: object) -> Inventory:
    return Inventory.model_validate(
        {
            "fleet": "test",
            "environment": "development",
            "defaults": {"connect_timeout_s": limit_s, "query_timeout_s": limit_s},
            "postgres": [
                {
                    "name": "pg",
                    "role": "primary",
                    "tcp": f"127.0.0.1:{port}",
                    "user": MONITOR,
                    "sslmode": "disable",
                    **keys,
                }
            ],
        }
    )


def straight(node: PostgresNode, port: int) -> Transport:
    return FakeTransport(endpoints={route_of(node): Endpoint("127.0.0.1", port)})


@asynccontextmanager
async def session(
    server: PostgresServer, *, port: int | None = None, limit_s: float = 3.0, **keys: object
) -> AsyncIterator[PostgresReader]:
    fleet = inventory(port or server.port, limit_s=limit_s, **keys)
    transport = straight(fleet.postgres[0], port or server.port)
    reader = await PostgresConnector(fleet, transport, Passwords(server.secrets)).reader("pg")
    try:
        yield reader
    finally:
        await reader.close()


async def failure(
    secrets: Secrets, port: int, *, wrong: bool = False, limit_s: float = 3.0, **keys: object
) -> NodeError:
    fleet = inventory(port, limit_s=limit_s, **keys)
    connector = PostgresConnector(fleet, straight(fleet.postgres[0], port), Passwords(secrets, wrong=wrong))
    with pytest.raises(NodeError) as caught:
        await connector.reader("pg")
    assert "not the password" not in repr(caught.value)
    return caught.value


async def until(
    read: Callable[[], Awaitable[PostgresReading]], holds: Callable[[PostgresReading], bool]
) -> PostgresReading:
    async with asyncio.timeout(LIMIT_S):
        while True:
            reading = await read()
            if holds(reading):
                return reading
            await asyncio.sleep(0.05)


async def test_a_primary_tells_its_size_and_who_is_connected(postgres: PostgresServer) -> None:
    async with session(postgres) as reader:
        with postgres.connect() as idle, postgres.connect() as busy:
            busy.autocommit = False
            busy.execute("SELECT 1")
            idle.execute("SELECT 1")
            reading = await reader.read(timeout_s=3)
    assert str(reading.version).startswith(f"{postgres.version}.")
    assert reading.in_recovery is False
    assert reading.max_connections == 100
    assert reading.superuser_reserved_connections == 3
    assert reading.reserved_connections == (0 if int(postgres.version.split(".")[0]) >= 16 else None)
    assert reading.replication_lag_s is None
    assert reading.backends_by_state["active"] == 1, "this session itself"
    assert reading.backends_by_state["idle in transaction"] == 1
    assert reading.backends_by_state["idle"] >= 1
    assert reading.backends == sum(reading.backends_by_state.values())
    assert "unknown" not in reading.backends_by_state


async def test_sessions_of_others_are_unknown_and_not_idle_without_the_right_to_see_them(
    postgres: PostgresServer,
) -> None:
    async with session(postgres, user="app", databases=["app"]) as reader:
        with postgres.connect(), postgres.connect():
            reading = await reader.read(timeout_s=3)
    assert reading.backends_by_state["unknown"] >= 2
    assert reading.backends_by_state.get("active") == 1
    assert "idle" not in reading.backends_by_state


async def test_a_session_can_write_nothing_and_says_who_it_is(postgres: PostgresServer) -> None:
    async with session(postgres, user=SUPERUSER) as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader._connection.execute("CREATE TABLE pooldeck_was_here ()")
        seen = postgres.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pooldeck'")
        limit = await reader._connection.fetchval("SELECT current_setting('statement_timeout')")
    assert seen == 1
    assert limit == "3s"


async def test_a_replica_s_lag_is_nothing_when_all_is_replayed_and_grows_while_it_is_not(lab: Lab) -> None:
    async with session(lab.replica) as replica, session(lab.primary) as primary:
        reading = await until(lambda: replica.read(timeout_s=3), lambda one: one.replication_lag_s == 0.0)
        assert reading.in_recovery is True
        assert len((await primary.read(timeout_s=3)).replicas) == 1
        with replay_paused(lab.replica):
            with lab.primary.connect("app") as writer:
                writer.execute("SELECT pg_logical_emit_message(false, 'test', 'a message')")
                writer.execute("CREATE TABLE IF NOT EXISTS lag_probe ()")
                writer.execute("DROP TABLE lag_probe")
            late = await until(lambda: replica.read(timeout_s=3), lambda one: bool(one.replication_lag_s))
            await until(
                lambda: replica.read(timeout_s=3),
                lambda one: (one.replication_lag_s or 0) > (late.replication_lag_s or 0),
            )
        await until(lambda: replica.read(timeout_s=3), lambda one: one.replication_lag_s == 0.0)


@contextlib.contextmanager
def replay_paused(replica: PostgresServer) -> Iterator[None]:
    replica.value("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        replica.value("SELECT pg_wal_replay_resume()")


async def test_a_wrong_password_is_auth(postgres: PostgresServer) -> None:
    found = await failure(postgres.secrets, postgres.port, wrong=True)
    assert found.phase is Phase.AUTH
    assert "password authentication failed" in found.message
    assert found.where == "pg"


async def test_a_database_that_is_not_there_is_told(postgres: PostgresServer) -> None:
    found = await failure(postgres.secrets, postgres.port, databases=["nowhere"])
    assert '"nowhere" does not exist' in found.message
    assert found.hint is not None


async def test_a_port_without_a_server_is_connect(postgres: PostgresServer) -> None:
    with refusing_port() as port:
        found = await failure(postgres.secrets, port)
    assert found.phase is Phase.CONNECT
    assert "refused" in found.message.lower()


async def test_a_server_that_never_answers_is_given_up_within_the_limit(postgres: PostgresServer) -> None:
    started_s = asyncio.get_running_loop().time()
    with silent_port() as port:
        found = await failure(postgres.secrets, port, limit_s=0.3)
    assert isinstance(found, DeadlineError)
    assert found.limit_s == 0.3
    assert asyncio.get_running_loop().time() - started_s < 2


async def test_something_that_is_no_postgres_is_told_as_such(postgres: PostgresServer) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with stranger:
        found = await failure(postgres.secrets, stranger.sockets[0].getsockname()[1], limit_s=1.0)
    assert found.phase is Phase.PROTOCOL
    assert found.hint is not None


async def test_a_server_without_tls_is_told_as_tls(postgres: PostgresServer) -> None:
    found = await failure(postgres.secrets, postgres.port, sslmode="require")
    assert found.phase is Phase.TLS


async def test_a_connection_that_is_cut_while_asking_is_lost(postgres: PostgresServer) -> None:
    with FaultProxy(postgres.port) as proxy:
        async with session(postgres, port=proxy.port) as reader:
            await reader.read(timeout_s=3)
            proxy.cut_after = 20
            with pytest.raises(LostConnection):
                await reader.read(timeout_s=3)


async def test_a_question_without_an_answer_has_an_end_and_so_has_closing(postgres: PostgresServer) -> None:
    with FaultProxy(postgres.port) as proxy:
        async with session(postgres, port=proxy.port) as reader:
            await reader.read(timeout_s=3)
            proxy.black_hole = True
            started_s = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineError) as caught:
                await reader.read(timeout_s=0.3)
        took_s = asyncio.get_running_loop().time() - started_s
    assert caught.value.phase is Phase.PROTOCOL
    assert took_s < 3


async def test_a_tunnel_s_own_reason_wins_over_a_closed_socket(postgres: PostgresServer) -> None:
    with refusing_port() as port:
        fleet = Inventory.model_validate(
            {
                **inventory(port).model_dump(exclude_defaults=True),
                "hosts": {"bastion": {}},
                "postgres": [
                    {"name": "pg", "role": "primary", "tcp": f"db:{port}", "host": "bastion", "user": MONITOR}
                ],
            }
        )
        near = Endpoint("127.0.0.1", port)
        reason = NodeError(Phase.TUNNEL, "bastion cannot reach db", where="pg")
        transport = FakeTransport(endpoints={route_of(fleet.postgres[0]): near}, failures={near: reason})
        connector = PostgresConnector(fleet, transport, Passwords(postgres.secrets))
        with pytest.raises(NodeError, match="bastion cannot reach db"):
            await connector.reader("pg")


async def test_a_node_that_is_not_in_the_inventory_is_told(postgres: PostgresServer) -> None:
    fleet = inventory(postgres.port)
    connector = PostgresConnector(fleet, FakeTransport(), Passwords(postgres.secrets))
    with pytest.raises(UsageError, match="'other'"):
        await connector.reader("other")


@pytest.fixture(scope="module")
def tls_postgres(workshop: Workshop) -> Iterator[tuple[PostgresServer, CertificateAuthority]]:
    """A PostgreSQL that speaks TLS, with a certificate for db.example only."""
    authority = CertificateAuthority(workshop.place("ca"), workshop.launcher)
    certificate = authority.server_certificate("db", addresses=(), dns_names=("db.example",))
    server = PostgresServer(
        "tls",
        workshop.place("tlspg"),
        workshop.launcher,
        workshop.secrets,
        settings={
            "ssl": "on",
            "ssl_cert_file": str(certificate.cert_path),
            "ssl_key_file": str(certificate.key_path),
        },
    )
    server.start()
    yield server, authority
    server.stop()


async def tls_reading(
    server: PostgresServer, endpoint: Endpoint, sslmode: str, root: Path | None
) -> PostgresReading:
    keys: dict[str, Any] = {"sslmode": sslmode}
    if root is not None:
        keys["sslrootcert"] = str(root)
    fleet = inventory(server.port, **keys)
    transport = FakeTransport(endpoints={route_of(fleet.postgres[0]): endpoint})
    reader = await PostgresConnector(fleet, transport, Passwords(server.secrets)).reader("pg")
    try:
        encrypted = server.value(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name = 'pooldeck'"
        )
        assert encrypted is (sslmode not in ("disable", "allow")), "allow begins without TLS"
        return await reader.read(timeout_s=3)
    finally:
        await reader.close()


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require", "verify-ca"])
async def test_tls_modes_that_do_not_look_at_the_name(
    tls_postgres: tuple[PostgresServer, CertificateAuthority], sslmode: str
) -> None:
    server, authority = tls_postgres
    root = authority.cert_path if sslmode.startswith("verify") else None
    endpoint = Endpoint("127.0.0.1", server.port)
    assert (await tls_reading(server, endpoint, sslmode, root)).in_recovery is False


async def test_the_name_is_verified_and_not_the_tunnel_s_near_end(
    tls_postgres: tuple[PostgresServer, CertificateAuthority],
) -> None:
    server, authority = tls_postgres
    through = Endpoint("db.example", server.port, hostaddr="127.0.0.1")
    assert (await tls_reading(server, through, "verify-full", authority.cert_path)).in_recovery is False
    for wrong in (Endpoint("127.0.0.1", server.port), Endpoint("evil.example", server.port, "127.0.0.1")):
        with pytest.raises(NodeError) as caught:
            await tls_reading(server, wrong, "verify-full", authority.cert_path)
        assert caught.value.phase is Phase.TLS
        assert "doesn't match" in caught.value.message or "not valid for" in caught.value.message


async def test_an_authority_that_did_not_sign_is_refused(
    tls_postgres: tuple[PostgresServer, CertificateAuthority], workshop: Workshop, tmp_path: Path
) -> None:
    server, _ = tls_postgres
    stranger = CertificateAuthority(workshop.place("ca2"), workshop.launcher)
    for mode in ("verify-ca", "require"):
        with pytest.raises(NodeError) as caught:
            await tls_reading(server, Endpoint("127.0.0.1", server.port), mode, stranger.cert_path)
        assert caught.value.phase is Phase.TLS
    with pytest.raises(NodeError, match="cannot be used") as caught:
        await tls_reading(server, Endpoint("127.0.0.1", server.port), "verify-ca", tmp_path / "missing.crt")
    assert caught.value.phase is Phase.TLS


def test_a_socket_and_a_host_make_the_right_route() -> None:
    local = PostgresNode(name="a", role="primary", unix=Path("/run/pg"), port=5433)
    assert str(route_of(local).address) == "/run/pg/.s.PGSQL.5433"
    far = PostgresNode(name="b", role="replica", tcp="db:5432", host="bastion", sslmode="verify-full")
    assert route_of(far).address == TcpAddress("db", 5432)
    assert (route_of(far).host, route_of(far).tls) == ("bastion", True)
