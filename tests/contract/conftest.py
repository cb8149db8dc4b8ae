"""A real PgBouncer of each supported version, and sessions on its admin console."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import SecretStr

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from console.poolers.admin import AdminReader, AdminWriter, Login
from console.transport.base import Endpoint
from tests.harness.servers import MakePgBouncer

LIMIT_S = 5.0
OpenReader = Callable[..., Awaitable[AdminReader]]
OpenWriter = Callable[..., Awaitable[AdminWriter]]


def login_to(server: PgBouncerServer, user: str = MONITOR, *, unix: bool = True, **tls: str) -> Login:
    """What a session needs for `server`; over its Unix socket unless told otherwise."""
    endpoint = Endpoint(str(server.socket_dir) if unix else server.host, server.port)
    return Login(server.name, endpoint, user, SecretStr(server.secrets.password(user)), tls)


@pytest.fixture
def bouncer(pgbouncer_version: str, make_pgbouncer: MakePgBouncer) -> PgBouncerServer:
    return make_pgbouncer(pgbouncer_version)


@pytest.fixture
async def open_reader() -> AsyncIterator[OpenReader]:
    opened: list[AdminReader] = []

    async def open_one(server: PgBouncerServer, user: str = MONITOR, **how: object) -> AdminReader:
        reader = await AdminReader.connect(login_to(server, user, **how), timeout_s=LIMIT_S)  # type: ignore[arg-type]
        opened.append(reader)
        return reader

    yield open_one
    for reader in opened:
        await reader.close()


@pytest.fixture
async def open_writer() -> AsyncIterator[OpenWriter]:
    opened: list[AdminWriter] = []

    async def open_one(server: PgBouncerServer, user: str = ADMIN) -> AdminWriter:
        writer = await AdminWriter.connect(login_to(server, user), timeout_s=LIMIT_S)
        opened.append(writer)
        return writer

    yield open_one
    for writer in opened:
        await writer.close()
