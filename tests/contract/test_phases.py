"""Every way a login fails names its phase, within its limit, and says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.errors import DeadlineError, NodeError, Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import ADMIN, MONITOR
from console.lab.tls import CertificateAuthority
from console.poolers.admin import AdminReader, Login
from console.transport.base import Endpoint
from tests.contract.conftest import LIMIT_S, login_to
from tests.harness.faults import refusing_port, silent_port, stopped
from tests.harness.servers import MakePgBouncer, Workshop

SHORT_S = 0.4
SLACK_S = 1.5
Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def login(port: int, *, user: str = MONITOR, password: str | None = "x", **tls: str) -> Login:
    secret = None if password is None else SecretStr(password)
    return Login("node", Endpoint("127.0.0.1", port), user, secret, tls or {"sslmode": "disable"})


async def failure(wanted: Login, timeout_s: float = LIMIT_S) -> NodeError:
    """Try to log in, and return why that failed; it must fail, in time, and with a hint."""
    started = time.monotonic()
    with pytest.raises(NodeError) as caught:
        await AdminReader.connect(wanted, timeout_s=timeout_s)
    assert time.monotonic() - started < timeout_s + SLACK_S
    assert caught.value.where == wanted.node
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


@contextlib.asynccontextmanager
async def impostor(*, says: bytes, after_hearing: bool = True, hangs_up: bool) -> AsyncIterator[int]:
    """A TCP server that is no pooler: says something, then hangs up or goes silent."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if after_hearing:
            await reader.read(1)
        writer.write(says)
        if hangs_up:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()


async def test_nobody_listens() -> None:
    with refusing_port() as port:
        found = await failure(login(port))
    assert found.phase is Phase.CONNECT
    assert found.message == "Connection refused"


async def test_no_socket_there(tmp_path: Path) -> None:
    found = await failure(Login("node", Endpoint(str(tmp_path), 6432), MONITOR, None))
    assert found.phase is Phase.CONNECT
    assert "unix_socket_dir" in (found.hint or "")


async def test_a_name_nobody_knows() -> None:
    found = await failure(Login("node", Endpoint("no-such-host.invalid", 6432), MONITOR, None), 3.0)
    assert found.phase is Phase.CONNECT


@pytest.mark.parametrize(("sslmode", "phase"), [("disable", Phase.PROTOCOL), ("require", Phase.TLS)])
async def test_it_accepts_and_says_nothing(sslmode: str, phase: Phase) -> None:
    with silent_port() as port:
        found = await failure(login(port, sslmode=sslmode), SHORT_S)
    assert isinstance(found, DeadlineError)
    assert (found.phase, found.limit_s) == (phase, SHORT_S)


async def test_a_pooler_that_hangs(make_pgbouncer: MakePgBouncer) -> None:
    server = make_pgbouncer()
    with stopped(server):
        found = await failure(login_to(server), SHORT_S)
    assert isinstance(found, DeadlineError)
    assert found.phase is Phase.PROTOCOL


async def test_it_hangs_in_the_middle_of_the_login() -> None:
    """It asks for a SCRAM proof and then goes silent, as with a stuck auth_query."""
    asks = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"
    async with impostor(says=asks, hangs_up=False) as port:
        found = await failure(login(port), SHORT_S)
    assert isinstance(found, DeadlineError)
    assert found.phase is Phase.AUTH


async def test_a_wrong_password(bouncer: PgBouncerServer) -> None:
    found = await failure(login(bouncer.port, password="hunter2"))
    assert found.phase is Phase.AUTH
    assert MONITOR in (found.hint or "")


async def test_no_password(bouncer: PgBouncerServer) -> None:
    found = await failure(login(bouncer.port, password=None))
    assert found.phase is Phase.AUTH
    assert "password_from" in (found.hint or "")


async def test_a_user_that_may_not_see_the_console(bouncer: PgBouncerServer) -> None:
    found = await failure(login_to(bouncer, "app"))
    assert found.phase is Phase.AUTH
    assert "not allowed" in found.message
    assert "stats_users" in (found.hint or "")


async def test_a_user_nobody_knows(bouncer: PgBouncerServer) -> None:
    found = await failure(login(bouncer.port, user="nobody"))
    assert found.phase is Phase.AUTH


async def test_postgres_instead_of_a_pooler(postgres: PostgresServer) -> None:
    secret = SecretStr(postgres.secrets.password(MONITOR))
    wanted = Login("node", Endpoint(postgres.host, postgres.port), MONITOR, secret, {"sslmode": "disable"})
    found = await failure(wanted)
    assert found.phase is Phase.PROTOCOL
    assert "PostgreSQL" in (found.hint or "")


async def test_postgres_with_a_database_called_pgbouncer(postgres: PostgresServer) -> None:
    with postgres.connect() as session:
        session.execute("CREATE DATABASE pgbouncer")
        try:
            secret = SecretStr(postgres.secrets.password(MONITOR))
            endpoint = Endpoint(postgres.host, postgres.port)
            found = await failure(Login("node", endpoint, MONITOR, secret, {"sslmode": "disable"}))
        finally:
            session.execute("DROP DATABASE pgbouncer WITH (FORCE)")
    assert found.phase is Phase.PROTOCOL
    assert found.message.startswith("is PostgreSQL 1")
    assert found.message.endswith("not a pooler")


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
async def test_a_web_server(sslmode: str) -> None:
    async with impostor(says=b"HTTP/1.1 400 Bad Request\r\n\r\n", hangs_up=True) as port:
        found = await failure(login(port, sslmode=sslmode))
    assert found.phase is Phase.PROTOCOL


@pytest.mark.parametrize("says", [b"\xff\x00garbage" * 20, b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n"])
async def test_garbage(says: bytes) -> None:
    async with impostor(says=says, hangs_up=True) as port:
        found = await failure(login(port))
    assert found.phase is Phase.PROTOCOL


@pytest.mark.parametrize(("sslmode", "phase"), [("disable", Phase.PROTOCOL), ("require", Phase.TLS)])
async def test_it_hangs_up_at_once(sslmode: str, phase: Phase) -> None:
    async with impostor(says=b"", hangs_up=True) as port:
        found = await failure(login(port, sslmode=sslmode))
    assert found.phase is phase


@pytest.fixture
def authority(workshop: Workshop) -> CertificateAuthority:
    return CertificateAuthority(workshop.place("ca"), workshop.launcher)


@pytest.fixture
def make_tls_bouncer(
    make_pgbouncer: MakePgBouncer, authority: CertificateAuthority
) -> Callable[..., PgBouncerServer]:
    def make(version: str | None = None, **certificate: object) -> PgBouncerServer:
        made = authority.server_certificate("bouncer", **certificate)  # type: ignore[arg-type]
        return make_pgbouncer(
            version,
            client_tls_sslmode="require",
            client_tls_cert_file=made.cert_path,
            client_tls_key_file=made.key_path,
        )

    return make


async def test_tls_is_spoken_and_verified(
    pgbouncer_version: str,
    make_tls_bouncer: Callable[..., PgBouncerServer],
    authority: CertificateAuthority,
) -> None:
    server = make_tls_bouncer(pgbouncer_version)
    wanted = login_to(server, unix=False, sslmode="verify-full", sslrootcert=str(authority.cert_path))
    reader = await AdminReader.connect(wanted, timeout_s=LIMIT_S)
    for _ in range(5):
        assert len((await reader.show("CONFIG", timeout_s=LIMIT_S)).rows) > 80
    await reader.close()


async def test_a_name_is_verified_while_another_address_is_dialled(
    make_tls_bouncer: Callable[..., PgBouncerServer], authority: CertificateAuthority
) -> None:
    """As through a tunnel: the near end is 127.0.0.1, the certificate carries the far name."""
    server = make_tls_bouncer(addresses=(), dns_names=("pooler.example",))
    tls = {"sslmode": "verify-full", "sslrootcert": str(authority.cert_path)}
    secret = SecretStr(server.secrets.password(MONITOR))
    near = Endpoint("pooler.example", server.port, hostaddr="127.0.0.1")
    reader = await AdminReader.connect(Login("node", near, MONITOR, secret, tls), timeout_s=LIMIT_S)
    await reader.close()
    other = Endpoint("other.example", server.port, hostaddr="127.0.0.1")
    found = await failure(Login("node", other, MONITOR, secret, tls))
    assert found.phase is Phase.TLS
    assert "other.example" in found.message


async def test_an_expired_certificate(
    make_tls_bouncer: Callable[..., PgBouncerServer], authority: CertificateAuthority
) -> None:
    server = make_tls_bouncer(valid_for_s=-3600.0)
    wanted = login_to(server, unix=False, sslmode="verify-full", sslrootcert=str(authority.cert_path))
    found = await failure(wanted)
    assert found.phase is Phase.TLS
    assert "expired" in found.message
    assert "renew" in (found.hint or "")


async def test_a_certificate_of_nobody_we_know(
    make_tls_bouncer: Callable[..., PgBouncerServer], workshop: Workshop
) -> None:
    server = make_tls_bouncer()
    stranger = CertificateAuthority(workshop.place("stranger"), workshop.launcher)
    wanted = login_to(server, unix=False, sslmode="verify-ca", sslrootcert=str(stranger.cert_path))
    found = await failure(wanted)
    assert found.phase is Phase.TLS
    assert "sslrootcert" in (found.hint or "")


async def test_no_root_certificate_to_verify_with(
    make_tls_bouncer: Callable[..., PgBouncerServer], tmp_path: Path
) -> None:
    server = make_tls_bouncer()
    wanted = login_to(server, unix=False, sslmode="verify-full", sslrootcert=str(tmp_path / "none.crt"))
    found = await failure(wanted)
    assert found.phase is Phase.TLS


async def test_a_pooler_that_wants_tls(make_tls_bouncer: Callable[..., PgBouncerServer]) -> None:
    server = make_tls_bouncer()
    found = await failure(login_to(server, unix=False, sslmode="disable"))
    assert found.phase is Phase.TLS
    assert 'sslmode = "require"' in (found.hint or "")


async def test_a_pooler_without_tls(bouncer: PgBouncerServer) -> None:
    found = await failure(login_to(bouncer, unix=False, sslmode="require"))
    assert found.phase is Phase.TLS
    assert "client_tls_sslmode" in (found.hint or "")


async def test_no_failure_shows_the_password(make_pgbouncer: MakePgBouncer) -> None:
    """Neither the message nor a traceback with every local variable in it."""
    server = make_pgbouncer()
    password = "correct-horse-battery"
    for wanted in (
        login(server.port, password=password),
        login(server.port, user="nobody", password=password),
        login(server.port, password=password, sslmode="require"),
    ):
        with pytest.raises(NodeError) as caught:
            await AdminReader.connect(wanted, timeout_s=LIMIT_S)
        assert password not in f"{caught.value!r} {caught.value.hint}"
        ours = [
            frame.f_locals
            for frame, _ in traceback.walk_tb(caught.value.__traceback__)
            if "/console/poolers/" in frame.f_code.co_filename
        ]
        assert ours
        assert password not in repr(ours)


async def test_the_environment_of_libpq_does_not_leak_in(
    make_pgbouncer: MakePgBouncer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """$PGOPTIONS would be refused by the console; $PGPASSFILE would bring another password."""
    server = make_pgbouncer()
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5")
    monkeypatch.setenv("PGDATABASE", "app")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "read-only")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:*:{server.secrets.password(ADMIN)}\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    reader = await AdminReader.connect(login_to(server), timeout_s=LIMIT_S)
    await reader.close()
    found = await failure(login(server.port, user=ADMIN, password=None))
    assert found.phase is Phase.AUTH
