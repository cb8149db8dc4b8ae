"""Who an operation would hit, on real PgBouncers and PostgreSQL: what the plan shows is what was made."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from console.config.schema import Inventory
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR, Secrets
from console.lab.tls import CertificateAuthority
from console.operations import radius as radius_module
from console.operations.observe import observe
from console.operations.radius import Groups, Held, Radius, radius_lines, read_radius
from console.operations.radius_join import HIDDEN
from console.operations.radius_warnings import idle_in_transaction, waiting_warnings
from console.operations.target import Target
from console.poolers.connect import PoolerConnector
from console.poolers.dialects import dialect_for
from console.postgres.activity import (
    BackendGap,
    PostgresActivity,
    PostgresBackends,
)
from console.postgres.connect import PostgresConnector
from tests.harness.faults import refusing_port, silent_port
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.operations_kit import Direct, LabPasswords, until

LIMIT_S = 10.0
LOCK = 4711
Client = psycopg.Connection[tuple[Any, ...]]


def inventory(bouncer: PgBouncerServer, *, way: str = "tcp", **nodes: dict[str, Any]) -> Inventory:
    """One bouncer called `edge`, reached by `way` (tcp, tls or unix), and Postgres nodes by name."""
    tcp = {"tcp": f"{bouncer.host}:{bouncer.port}", "sslmode": "require" if way == "tls" else "disable"}
    unix = {"unix": str(bouncer.socket_dir), "port": bouncer.port}
    return Inventory.model_validate(
        {
            "fleet": "test",
            "environment": "development",
            "defaults": {"connect_timeout_s": LIMIT_S, "query_timeout_s": LIMIT_S},
            "bouncers": [
                {
                    "name": "edge",
                    "monitor_user": MONITOR,
                    "admin_user": ADMIN,
                    **(unix if way == "unix" else tcp),
                }
            ],
            "postgres": [
                {"name": name, "role": "primary", "user": MONITOR, "sslmode": "disable", **keys}
                for name, keys in nodes.items()
            ],
        }
    )


def activity_on(fleet: Inventory, secrets: Secrets) -> PostgresActivity:
    return PostgresActivity(PostgresConnector(fleet, Direct(), LabPasswords(secrets)))


def at(postgres: PostgresServer, **keys: Any) -> dict[str, Any]:
    return {"tcp": f"{postgres.host}:{postgres.port}", **keys}


async def read(
    bouncer: PgBouncerServer,
    database: str | None = None,
    *,
    limit_s: float = LIMIT_S,
    node_limit_s: float = LIMIT_S,
    way: str = "tcp",
    **nodes: dict[str, Any],
) -> Radius:
    """Observe a bouncer and read who is hit, as a plan does."""
    fleet = inventory(bouncer, way=way, **nodes)
    dialect = dialect_for("pgbouncer")
    backends = PostgresBackends(
        activity_on(fleet, bouncer.secrets), [node.name for node in fleet.postgres], limit_s=node_limit_s
    )
    reader = await PoolerConnector(fleet, Direct(), LabPasswords(bouncer.secrets)).reader("edge")
    try:
        seen = await observe(reader, dialect, "edge", timeout_s=LIMIT_S, prober=None)
        target = Target("edge", database)
        return await read_radius(reader, dialect, seen, target, backends=backends, timeout_s=limit_s)
    finally:
        await reader.close()


@contextlib.contextmanager
def clients(bouncer: PgBouncerServer, *wanted: tuple[str, str, str]) -> Iterator[list[Client]]:
    """Hold a client for each (application_name, database, user); each has run a query."""
    with contextlib.ExitStack() as stack:
        made = []
        for name, database, user in wanted:
            client = stack.enter_context(
                contextlib.closing(bouncer.connect(database, user=user, application_name=name))
            )
            client.execute("SELECT 1")
            made.append(client)
        yield made


@asynccontextmanager
async def lock_wait(postgres: PostgresServer, holder: Client, waiter: Client) -> AsyncIterator[None]:
    """Let `holder` sit idle in a transaction with a lock that `waiter` waits for in its own."""
    holder.execute("BEGIN")
    holder.execute(f"SELECT pg_advisory_xact_lock({LOCK})")

    def wait() -> None:
        waiter.execute("BEGIN")
        waiter.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        waiter.execute("COMMIT")

    waiting = asyncio.create_task(asyncio.to_thread(wait))
    try:
        await until(lambda: postgres.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
        yield
    finally:
        holder.execute("COMMIT")
        await asyncio.wait_for(waiting, LIMIT_S)


def counts(groups: Groups | None) -> dict[str, int]:
    assert groups is not None
    assert not groups.more
    return {group.name: group.clients for group in groups.top}


def held_by(radius: Radius, name: str) -> Held:
    (found,) = [
        held for held in radius.held or () if held.client is not None and held.client.application_name == name
    ]
    return found


@pytest.fixture
def bouncer(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


async def test_a_plan_shows_exactly_what_was_made(bouncer: PgBouncerServer, postgres: PostgresServer) -> None:
    wanted = [
        ("billing", "app", "app"),
        ("web", "app", "app"),
        ("web", "app", "worker"),
        ("", "app", "worker"),
        ("batch", "tiny", "app"),
        ("report", "app_session", "reports"),
    ]
    with clients(bouncer, *wanted) as made, bouncer.admin() as dba:
        dba.execute("SHOW VERSION")
        async with lock_wait(postgres, made[0], made[1]):
            whole = await read(bouncer, main=at(postgres))
            one = await read(bouncer, "app", main=at(postgres))

    assert counts(whole.clients.by_database) == {"app": 4, "tiny": 1, "app_session": 1}
    assert counts(whole.clients.by_user) == {"app": 3, "worker": 2, "reports": 1}
    assert counts(whole.clients.by_application) == {"web": 2, "billing": 1, "": 1, "batch": 1, "report": 1}
    assert counts(whole.clients.by_address) == {"127.0.0.1": 6}
    assert (whole.clients.total, whole.clients.holding, whole.clients.waiting) == (6, 3, 0)
    assert whole.unread == ()
    assert whole.gaps == ()

    assert (one.clients.total, one.clients.holding) == (4, 2)
    assert [held.client.application_name for held in one.held or () if held.client] == ["billing", "web"]
    assert all(held.agrees for held in one.held or ())
    longest = one.longest
    assert longest is not None
    assert longest.backend is not None
    assert longest is held_by(one, "billing")
    assert longest.idle_in_transaction
    assert longest.backend.node == "main"
    blocked = held_by(one, "web").backend
    assert blocked is not None
    assert (blocked.wait_event_type, blocked.wait_event) == ("Lock", "advisory")
    (blocker,) = blocked.blocked_by or ()
    assert (blocker.pid, blocker.application_name) == (longest.pid, "billing")
    assert blocker.state == "idle in transaction"


async def test_its_lines_tell_it_in_a_few_words(bouncer: PgBouncerServer, postgres: PostgresServer) -> None:
    with clients(bouncer, ("billing", "app", "app"), ("web", "app", "worker")) as made:
        async with lock_wait(postgres, made[0], made[1]):
            found = await read(bouncer, "app", main=at(postgres))
            while not idle_in_transaction(found):
                found = await read(bouncer, "app", main=at(postgres))
    holder = found.longest
    assert holder is not None
    text = "\n".join(radius_lines(found))
    text = re.sub(r"\d+(\.\d+)? (µs|ms|s)\b", "TIME", text).replace(f"pid {holder.pid}", "pid PID")
    text = re.sub(r"127.0.0.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d UTC", "WHEN", text)
    assert text.splitlines() == [
        "clients: 2 connected, 2 hold a server, 0 wait",
        "by user: app 1, worker 1",
        "by application: billing 1, web 1",
        "by address: 127.0.0.1 2",
        "servers held by a client: 2, the oldest request WHEN",
        "longest transaction: TIME, idle in transaction for TIME",
        "  billing (app@127.0.0.1:PORT, app)",
        "  pid PID on main as app, its query began TIME ago",
    ]
    warned = waiting_warnings(found, budget_s=0.0, query_wait_timeout_s=120)
    assert warned[0].startswith("2 transactions are older than")
    assert warned[1].startswith("idle in transaction")
    assert "billing (app@127.0.0.1:" in warned[1]
    assert "web" not in warned[1]
    assert len(warned) == 2


async def test_clients_that_wait_for_a_paused_database_are_counted_with_their_wait(
    bouncer: PgBouncerServer, postgres: PostgresServer
) -> None:
    with clients(bouncer, ("web", "app", "app"), ("idle", "app", "app")) as made, bouncer.admin() as console:
        console.execute('PAUSE "app"')
        waiting = asyncio.create_task(asyncio.to_thread(made[0].execute, "SELECT 1"))
        try:
            await until(lambda: _waiting(console) == 1)
            found = await read(bouncer, "app", main=at(postgres))
        finally:
            console.execute('RESUME "app"')
            await asyncio.wait_for(waiting, LIMIT_S)
    assert (found.clients.total, found.clients.holding, found.clients.waiting) == (2, 0, 1)
    assert found.clients.longest_wait_us > 0
    assert found.held == ()


def _waiting(console: Client) -> int:
    cursor = console.execute("SHOW POOLS")
    column = [item.name for item in cursor.description or ()].index("cl_waiting")
    return sum(row[column] for row in cursor.fetchall())


@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
async def test_everybody_else_at_the_console_is_named(
    make_pgbouncer: MakePgBouncer, workshop: Workshop, pgbouncer_version: str, way: str
) -> None:
    certificate = CertificateAuthority(workshop.place("ca"), workshop.launcher).server_certificate("edge")
    bouncer = make_pgbouncer(
        pgbouncer_version,
        client_tls_sslmode="allow",
        client_tls_cert_file=certificate.cert_path,
        client_tls_key_file=certificate.key_path,
    )
    host = str(bouncer.socket_dir) if way == "unix" else bouncer.host
    with (
        bouncer.connect("pgbouncer", user=ADMIN, host=host, application_name="psql") as dba,
        bouncer.connect("pgbouncer", user=MONITOR, host=host, application_name="exporter"),
        bouncer.connect("pgbouncer", user=MONITOR, host=host, application_name="pooldeck"),
    ):
        dba.execute("SHOW VERSION")
        found = await read(bouncer, way=way)
    assert found.own_console_known
    names = sorted((one.user, one.application_name, one.admin) for one in found.consoles or ())
    assert names == [(ADMIN, "psql", True), (MONITOR, "exporter", False), (MONITOR, "pooldeck", False)]
    (warning,) = found.warnings
    assert f"{ADMIN}@" in warning
    assert "exporter" not in warning


async def test_above_the_limit_only_pools_are_counted_and_that_is_said(
    bouncer: PgBouncerServer, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radius_module, "CLIENTS_LIMIT", 2)
    with clients(bouncer, ("a", "app", "app"), ("b", "app", "app"), ("c", "tiny", "worker")) as made:
        made[0].execute("BEGIN")
        made[0].execute("SELECT 1")
        found = await read(bouncer, main=at(postgres))
    assert found.clients.counted_by_pool
    assert counts(found.clients.by_database) == {"app": 2, "tiny": 1}
    assert (found.clients.by_application, found.clients.by_address, found.consoles) == (None, None, None)
    assert found.clients.holding == 1
    assert found.longest is not None, "the backend is known without its client"
    assert found.longest.client is None
    assert "above 2" in found.unread[0]


async def test_a_server_reached_by_a_unix_socket_is_found_too(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer
) -> None:
    socket = f"host={postgres.socket_dir} port={postgres.port} dbname=app pool_mode=transaction"
    bouncer = make_pgbouncer(
        pgbouncer_version,
        databases={"shop": socket},
        application_name_add_host=1,
    )
    with clients(bouncer, ("billing", "shop", "app"), ("billing", "shop", "app")) as made:
        made[0].execute("BEGIN")
        made[0].execute("SELECT 1")
        found = await read(bouncer, "shop", main=at(postgres))
    assert counts(found.clients.by_application) == {"billing": 2}, "without the address that was added"
    assert found.gaps == ()
    assert found.longest is not None
    assert found.longest.idle_in_transaction


async def test_behind_another_pooler_no_backend_is_guessed(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, postgres: PostgresServer
) -> None:
    near = make_pgbouncer(pgbouncer_version, name="near")
    far = make_pgbouncer(
        pgbouncer_version,
        name="far",
        databases={"app": f"host={near.host} port={near.port} dbname=app pool_mode=transaction"},
    )
    with clients(far, ("billing", "app", "app")) as made:
        made[0].execute("BEGIN")
        made[0].execute("SELECT 1")
        found = await read(far, main=at(postgres))
    assert held_by(found, "billing").backend is None
    assert found.longest is None
    assert "another pooler" in found.gaps[0].why
    assert not any("none is open" in line for line in radius_lines(found))


@pytest.fixture
async def held(make_pgbouncer: MakePgBouncer) -> AsyncIterator[PgBouncerServer]:
    """A bouncer of this machine with one client, `billing`, in a transaction."""
    bouncer = make_pgbouncer()
    with clients(bouncer, ("billing", "app", "worker")) as made:
        made[0].execute("BEGIN")
        made[0].execute("SELECT 1")
        yield bouncer


async def test_a_node_that_is_down_is_told_and_the_others_are_read(
    held: PgBouncerServer, postgres: PostgresServer
) -> None:
    with refusing_port() as port:
        found = await read(held, main=at(postgres), gone={"tcp": f"127.0.0.1:{port}"})
    assert [gap.node for gap in found.gaps] == ["gone"]
    assert "refused" in found.gaps[0].why.lower()
    assert found.longest is not None


async def test_a_node_that_never_answers_costs_its_own_limit(
    held: PgBouncerServer, postgres: PostgresServer
) -> None:
    with silent_port() as port:
        found = await read(held, main=at(postgres), mute={"tcp": f"127.0.0.1:{port}"}, node_limit_s=1.0)
        late = await read(held, mute={"tcp": f"127.0.0.1:{port}"}, limit_s=1.0)
    assert found.gaps == (BackendGap("mute", "no answer within 1 s"),)
    assert found.longest is not None
    assert late.gaps == (BackendGap("", "no time was left to ask the Postgres nodes"),)
    assert late.clients.total == 1


async def test_a_role_without_the_right_to_see_is_the_reason_given(
    held: PgBouncerServer, postgres: PostgresServer
) -> None:
    found = await read(held, main=at(postgres, user="app", databases=["app"]))
    assert held_by(found, "billing").backend is None
    assert found.gaps == (BackendGap("main", HIDDEN),)


async def test_without_a_node_in_the_inventory_the_reason_is_said(held: PgBouncerServer) -> None:
    found = await read(held)
    assert found.gaps == (BackendGap("", "the inventory names no Postgres node"),)
