"""One role of a real PostgreSQL stands in for another, and is taken out with no more than it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from console.config.scram import scram_verifier
from console.errors import NodeError, Phase
from console.lab.postgres import PostgresServer
from console.lab.secrets import SUPERUSER
from console.postgres.connect import PostgresConnector
from console.postgres.role_pairs import PostgresRolePairs
from tests.servers.operations_kit import Direct
from tests.servers.test_postgres_nodes import Passwords, inventory

A, B = "pair_a", "pair_b"
SECRET = SecretStr("Kx7-second-Role-2w")
VERIFIER = scram_verifier(SECRET.get_secret_value())
LIMIT_S = 10.0


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[PostgresServer]:
    with postgres.connect("app") as connection:
        connection.execute(f"CREATE ROLE {A} LOGIN CREATEDB")
        try:
            yield postgres
        finally:
            for role in (B, A):
                if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                    connection.execute(f"DROP OWNED BY {role}")
                    connection.execute(f"DROP ROLE {role}")


def pairs_of(server: PostgresServer) -> PostgresRolePairs:
    nodes = inventory(server.port, user=SUPERUSER, databases=["app"])
    return PostgresRolePairs(PostgresConnector(nodes, Direct(), Passwords(server.secrets)))


async def stand_down(pairs: PostgresRolePairs, **more: Any) -> str | None:
    was: dict[str, Any] = {"existed": False, "could_log_in": False, "stored": "", "granted": (A,)}
    return await pairs.stand_down("pg", B, verifier=VERIFIER, **{**was, **more}, timeout_s=LIMIT_S)


async def test_it_is_made_tried_and_dropped(roles: PostgresServer) -> None:
    pairs = pairs_of(roles)
    assert await pairs.stand_in("pg", A, B, VERIFIER, existed=False, timeout_s=LIMIT_S)
    assert await pairs.try_login("pg", B, SECRET, ["app"], timeout_s=LIMIT_S) is None
    with pytest.raises(NodeError) as refused:
        await pairs.try_login("pg", B, SecretStr("no"), ["app"], timeout_s=LIMIT_S)
    assert refused.value.phase is Phase.AUTH
    reading = await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)
    assert (reading.exists, reading.is_member, reading.grants(A), reading.lacking) == (True, True, (), ())
    back = await pairs.read_pair("pg", B, A, timeout_s=LIMIT_S)
    assert (back.is_above, back.grants(B)) == (True, ())
    # Done again, as a run does that goes on.
    assert await pairs.stand_in("pg", A, B, VERIFIER, existed=None, timeout_s=LIMIT_S)
    assert await stand_down(pairs) is None
    assert await stand_down(pairs) is None
    assert not (await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)).exists


async def test_a_role_that_somebody_else_made_is_left_alone(roles: PostgresServer) -> None:
    pairs = pairs_of(roles)
    with roles.connect() as connection:
        connection.execute(f"CREATE ROLE {B} PASSWORD 'theirs'")
    with pytest.raises(NodeError, match="somebody has made pair_b meanwhile"):
        await pairs.stand_in("pg", A, B, VERIFIER, existed=False, timeout_s=LIMIT_S)
    assert "has another secret" in (await stand_down(pairs) or "")
    assert (await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)).exists


async def test_one_that_was_there_gets_back_what_it_had(roles: PostgresServer) -> None:
    pairs = pairs_of(roles)
    with roles.connect() as connection:
        connection.execute(f"CREATE ROLE {B} NOINHERIT PASSWORD 'theirs'")
    before = await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)
    assert before.lacking == ("CREATEDB", "INHERIT")
    await pairs.stand_in("pg", A, B, VERIFIER, existed=True, timeout_s=LIMIT_S)
    assert (await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)).can_log_in
    for _ in range(2):
        assert await stand_down(pairs, existed=True, stored=before.stored) is None
        assert await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S) == before


async def test_one_that_owns_objects_stays_without_login(roles: PostgresServer) -> None:
    pairs = pairs_of(roles)
    await pairs.stand_in("pg", A, B, VERIFIER, existed=False, timeout_s=LIMIT_S)
    with roles.connect("app") as connection:
        connection.execute(f"CREATE SCHEMA of_pair_b AUTHORIZATION {B}")
    assert "owns objects" in (await stand_down(pairs) or "")
    left = await pairs.read_pair("pg", A, B, timeout_s=LIMIT_S)
    assert (left.exists, left.can_log_in, left.stored) == (True, False, "")
