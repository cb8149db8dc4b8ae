"""How a keeper gets to its host and its pooler: the logins PgBouncer knows, TLS, lost ways, a real sshd."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from console.config.schema import Bouncer, Inventory
from console.errors import NodeError, Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR
from console.lab.tls import CertificateAuthority
from console.operations.lease.base import Cover
from console.operations.lease.keeper_order import KeeperOrder, order_for
from console.operations.lease.keepers import KeeperOutcome, Keepers
from console.operations.target import Target
from console.transport.base import TcpAddress
from tests.harness.faults import FaultProxy, refusing_port, silent_port
from tests.harness.servers import MakePgBouncer
from tests.servers.keeper_kit import (
    LIMIT_S,
    Post,
    carried,
    cutting,
    order_for_server,
    over_tcp,
    paused,
    post,
    rows,
    runs,
    serving,
    until_gone,
)
from tests.servers.operations_kit import until
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit", "post"]  # fixtures
ODD_PASSWORD = "pä\u00a0ß\u00ad¼ \u2168"
"""RFC 4013 makes other letters of four of these."""


async def lifted(post: Post, server: PgBouncerServer, **changes: Any) -> None:
    """Arm, pause, fall silent: it is resumed."""
    keeper = await post.arm(server, **changes)
    with server.admin() as console:
        console.execute("PAUSE")
    await keeper.renew(0.1)
    result = await post.result(keeper)
    assert result.outcome is KeeperOutcome.RESUMED, result
    assert not paused(server)


@pytest.mark.parametrize("auth_type", ["trust", "plain", "md5", "scram-sha-256"])
async def test_it_logs_in_as_the_pooler_asks(
    make_pgbouncer: MakePgBouncer, post: Post, auth_type: str
) -> None:
    server = make_pgbouncer(start=False, auth_type=auth_type)
    if auth_type in ("plain", "md5"):
        _know(server, server.secrets.password(ADMIN))
    server.start()
    await lifted(post, server, address=over_tcp(server))


@pytest.mark.parametrize("password", [ODD_PASSWORD, "\u0627\u0031", "a\u0007b"])
async def test_a_password_outside_ascii_is_hashed_as_libpq_does(
    make_pgbouncer: MakePgBouncer, post: Post, postgres: PostgresServer, password: str
) -> None:
    """The last two are forbidden by RFC 4013, and then taken as they are."""
    with postgres.connect() as client:
        verifier = client.pgconn.encrypt_password(password.encode(), ADMIN.encode(), b"scram-sha-256")
    server = make_pgbouncer(start=False)
    _know(server, verifier.decode())
    server.start(timeout_s=LIMIT_S)
    keeper = await post.arm(server, password=password)
    assert (await post.report(keeper)).alive


async def test_a_wrong_password_is_said_and_leaves_nothing(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with pytest.raises(NodeError) as caught:
        await post.arm(server, password="not-the-password")
    assert caught.value.phase is Phase.AUTH
    assert "not-the-password" not in str(caught.value)
    assert await post.left(server) == []


async def test_a_user_who_is_no_admin_is_refused_before_anything_is_paused(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with pytest.raises(NodeError, match="no admin") as caught:
        await post.arm(server, user=MONITOR, password=server.secrets.password(MONITOR))
    assert caught.value.phase is Phase.AUTH


async def test_another_process_than_planned_is_refused(make_pgbouncer: MakePgBouncer, post: Post) -> None:
    server = make_pgbouncer()
    identity = {**order_for_server(server).identity, "pidfile": "/run/another.pid"}
    with pytest.raises(NodeError, match="pidfile differ"):
        await post.arm(server, identity=identity)
    with serving(server), pytest.raises(NodeError, match="restarted"):
        await post.arm(server, carried_bytes=1_000_000)


async def test_what_cannot_be_reached_names_its_phase(
    make_pgbouncer: MakePgBouncer, post: Post, postgres: PostgresServer
) -> None:
    server = make_pgbouncer()
    with refusing_port() as port, pytest.raises(NodeError) as refused:
        await post.arm(server, address=over_tcp(server, port))
    with silent_port() as port, pytest.raises(NodeError) as silent:
        await post.arm(server, address=over_tcp(server, port), connect_timeout_s=0.5, sslmode="disable")
    with silent_port() as port, pytest.raises(NodeError) as silent_tls:
        await post.arm(server, address=over_tcp(server, port), connect_timeout_s=0.5)
    with pytest.raises(NodeError) as other:
        await post.arm(server, address=TcpAddress(postgres.host, postgres.port))
    found = [each.value.phase for each in (refused, silent, silent_tls, other)]
    assert found == [Phase.CONNECT, Phase.PROTOCOL, Phase.PROTOCOL, Phase.AUTH]


async def test_it_speaks_tls_as_the_inventory_says(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    server = _with_tls(make_pgbouncer, pgbouncer_version)
    authority = server.directory / "ca/ca.crt"
    for sslmode in ("allow", "prefer", "require", "verify-ca", "verify-full"):
        order = _order_by_inventory(server, sslmode=sslmode, sslrootcert=authority)
        await lifted(post, server, address=order.address, sslmode=order.sslmode, ca_pem=order.ca_pem)


async def test_a_certificate_that_proves_nothing_is_refused(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = _with_tls(make_pgbouncer, None)
    stranger = CertificateAuthority(server.directory / "other", server.launcher).cert_path
    for sslmode, authority, host in (
        ("verify-ca", stranger, server.host),
        ("require", stranger, server.host),  # libpq: with an authority it verifies
        ("verify-full", server.directory / "ca/ca.crt", "127.1"),
        ("verify-full", Path("system"), server.host),
    ):
        order = _order_by_inventory(server, host, sslmode=sslmode, sslrootcert=authority)
        with pytest.raises(NodeError) as caught:
            await post.arm(server, address=order.address, sslmode=order.sslmode, ca_pem=order.ca_pem)
        assert caught.value.phase is Phase.TLS, sslmode


async def test_a_pooler_without_tls_is_refused_where_tls_is_required(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    with pytest.raises(NodeError, match="offers no TLS") as caught:
        await post.arm(server, address=over_tcp(server), sslmode="require")
    assert caught.value.phase is Phase.TLS


async def test_a_lost_session_is_opened_anew(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server), FaultProxy(server.port) as proxy:
        keeper = await post.arm(server, address=over_tcp(server, proxy.port))
        with server.admin() as console:
            console.execute("PAUSE")
            await keeper.held(carried(console))
        proxy.cut()
        with proxy.refusing():
            await keeper.renew(0.1)
            await post.until(keeper, lambda report: "not to be reached" in (report.trouble or ""))
            assert paused(server)
        assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("statement", ["SET server_login_retry = 0", "RESUME", "SET server_login_retry = 7"])
async def test_a_session_cut_in_the_middle_of_the_lift_is_no_end_of_it(
    make_pgbouncer: MakePgBouncer, post: Post, statement: str, answered: bool
) -> None:
    """Whether a statement took effect is not known then: it is read back, and the settings are put back."""
    server = make_pgbouncer(server_login_retry=7)
    with serving(server):
        async with cutting(server, statement, answered=answered) as address:
            keeper = await post.arm(server, "app", address=address)
            with server.admin() as console:
                console.execute('PAUSE "app"')
                await keeper.held(carried(console, "app"))
            await keeper.renew(0.1)
            result = await post.result(keeper)
    assert result.outcome is KeeperOutcome.RESUMED, result
    assert [each.reply for each in result.exchanges].count(None) == 1
    assert not paused(server, "app")
    with server.admin() as console:
        assert {row["key"]: row["value"] for row in rows(console, "CONFIG")}["server_login_retry"] == "7"


@pytest.fixture
async def far(kit: SshKit) -> AsyncIterator[Post]:
    """A post behind a real sshd and a proxy that can cut the way there."""
    sshd = kit.sshd()
    with FaultProxy(sshd.port) as proxy:
        kit.know_as(sshd, proxy.port)
        async with kit.transport(far=kit.host(sshd, port=proxy.port)) as transport:
            made = Post(Keepers(transport), "far")
            made.way = proxy
            yield made
            await made.end()


async def test_over_ssh_it_outlives_the_connection_and_ends_the_pause(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, far: Post
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server):
        keeper = await far.arm(server)
        with server.admin() as console:
            console.execute("PAUSE")
            await keeper.held(carried(console))
        report = await far.report(keeper)
        assert runs(report.pid)
        assert paused(server)
        assert far.way is not None
        await keeper.renew(1.5)
        with far.way.refusing():
            await until(lambda: not paused(server))
            await until_gone(report.pid)
        assert await far.outcome(keeper) is KeeperOutcome.RESUMED


async def test_over_ssh_a_killed_sshd_does_not_take_it_along(
    make_pgbouncer: MakePgBouncer, kit: SshKit
) -> None:
    server = make_pgbouncer()
    sshd = kit.sshd()
    async with kit.transport(far=kit.host(sshd)) as transport:
        post = Post(Keepers(transport), "far")
        keeper = await post.arm(server)
        with server.admin() as console:
            console.execute("PAUSE")
        pid = (await post.report(keeper)).pid
        await keeper.renew(1.5)
        sshd.kill()
        await until(lambda: not paused(server))
        await until_gone(pid)
        sshd.start()
        assert await post.outcome(keeper) is KeeperOutcome.RESUMED


async def test_over_ssh_release_ends_it(make_pgbouncer: MakePgBouncer, far: Post) -> None:
    server = make_pgbouncer()
    keeper = await far.arm(server)
    with server.admin() as console:
        console.execute("PAUSE")
    result = await keeper.release(timeout_s=LIMIT_S)
    assert result is not None
    assert result.outcome is KeeperOutcome.RELEASED
    assert paused(server)
    assert await keeper.status() is None


def _with_tls(make_pgbouncer: MakePgBouncer, version: str | None) -> PgBouncerServer:
    server = make_pgbouncer(version, start=False)
    authority = CertificateAuthority(server.directory / "ca", server.launcher)
    made = authority.server_certificate("bouncer")
    server.settings |= {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": made.cert_path,
        "client_tls_key_file": made.key_path,
    }
    server.start()
    return server


def _order_by_inventory(server: PgBouncerServer, host: str | None = None, **tls: object) -> KeeperOrder:
    values = {"name": server.name, "tcp": f"{host or server.host}:{server.port}", "admin_user": ADMIN, **tls}
    inventory = Inventory(fleet="test", environment="development", bouncers=(Bouncer.model_validate(values),))
    cover = Cover(Target(server.name), ("RESUME",), str(server.version), {})
    return order_for(inventory, cover, "a1", ttl_s=30)


def _know(server: PgBouncerServer, secret: str) -> None:
    """Have the auth_file hold this for the admin."""
    escaped = secret.replace('"', '""')
    userlist = server.secrets.userlist(name for name in server.users if name != ADMIN)
    prepare = server.prepare

    def prepared() -> None:
        prepare()
        server.launcher.write_file(server.userlist_path, f'{userlist}"{ADMIN}" "{escaped}"\n')

    server.prepare = prepared  # type: ignore[method-assign]
