"""How a pooler knows a role decides the runbook: every layout, and those that cannot work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console.config.schema import Bouncer, Inventory, PostgresNode
from console.config.scram import SecretKind
from console.model.rows import Database
from console.operations.rotate.layout import Check, Known, Line, Method, Place, ServerSecret, places_of
from console.operations.rotate.nodes import behind

PLAIN = Line("app", None, has_password=False, auth_user=None)
KNOWN = Known(
    role="web",
    auth_type="scram-sha-256",
    entry=SecretKind.SCRAM,
    lines={"app": PLAIN},
    star=None,
    hba_methods=frozenset(),
    console_users=frozenset({"admin"}),
    auth_file="/etc/users",
)
ROW = Database("app", "pg-1", 5432, "app", None, 10, "transaction", 0, 0, paused=False, disabled=False)


def place(known: Known = KNOWN, row: Database = ROW, **line: Any) -> Place | None:
    lines = {"app": replace(PLAIN, **line)}
    found = places_of(replace(known, lines=lines), (replace(row, force_user=line.get("force_user")),))
    return found[0] if found else None


def entry(kind: SecretKind | None, **more: Any) -> Known:
    return replace(KNOWN, entry=kind, **more)


@pytest.mark.parametrize(
    ("known", "line", "method", "check", "secret"),
    [
        (KNOWN, {}, Method.SCRAM, Check.ENTRY, ServerSecret.PASS_THROUGH),
        (entry(SecretKind.PLAINTEXT), {}, Method.USERLIST, Check.ENTRY, ServerSecret.ENTRY),
        (entry(SecretKind.MD5, auth_type="md5"), {}, Method.USERLIST, Check.ENTRY, ServerSecret.ENTRY),
        (entry(None), {"auth_user": "asker"}, Method.AUTH_QUERY, Check.QUERY, ServerSecret.QUERY),
        # An entry shadows auth_query.
        (KNOWN, {"auth_user": "asker"}, Method.SCRAM, Check.ENTRY, ServerSecret.PASS_THROUGH),
        (
            entry(SecretKind.PLAINTEXT),
            {"auth_user": "web"},
            Method.AUTH_USER,
            Check.ENTRY,
            ServerSecret.ENTRY,
        ),
        (
            entry(None),
            {"force_user": "web", "has_password": True},
            Method.INLINE,
            Check.NOBODY,
            ServerSecret.INLINE,
        ),
        (KNOWN, {"force_user": "other"}, Method.SCRAM, Check.ENTRY, ServerSecret.OTHER),
        (
            replace(KNOWN, auth_type="hba", hba_methods=frozenset({"scram-sha-256"})),
            {},
            Method.SCRAM,
            Check.ENTRY,
            ServerSecret.PASS_THROUGH,
        ),
    ],
)
def test_a_layout_has_its_runbook(
    known: Known, line: dict[str, Any], method: Method, check: Check, secret: ServerSecret
) -> None:
    found = place(known, **line)
    assert found is not None
    assert (found.method, found.check, found.secret) == (method, check, secret)
    assert found.problem is None


@pytest.mark.parametrize(
    "known",
    [
        entry(None),
        entry(SecretKind.EMPTY),
        entry(None, auth_type="trust"),
    ],
)
def test_a_role_that_cannot_log_in_is_not_known_there(known: Known) -> None:
    assert place(known) is None


@pytest.mark.parametrize(
    ("known", "line", "words"),
    [
        (KNOWN, {"force_user": "web"}, "forces this user"),
        (entry(None), {"force_user": "web"}, "no password of it"),
        (entry(SecretKind.MD5), {}, "nobody can log in with it"),
        (replace(KNOWN, auth_type="trust"), {}, "do not log in by SCRAM"),
        (replace(KNOWN, auth_type="cert"), {}, "do not log in by SCRAM"),
        (KNOWN, {"has_password": True}, "for whoever logs in"),
        (entry(SecretKind.MD5, auth_type="md5"), {"force_user": "web"}, "only its md5 secret"),
        (KNOWN, {"auth_user": "web"}, "logs in by a plaintext entry"),
        (entry(SecretKind.MD5, auth_type="md5"), {"auth_user": "web"}, "only its md5 secret"),
        (entry(None), {"auth_user": "web"}, "no password of it"),
    ],
)
def test_what_cannot_be_rotated_says_why(known: Known, line: dict[str, Any], words: str) -> None:
    found = place(known, **line)
    assert found is not None
    assert found.problem is not None
    assert words in found.problem


def test_a_role_of_the_console_is_known_there_too() -> None:
    known = replace(KNOWN, role="admin")
    *_, console = places_of(known, (ROW,))
    assert console.is_console
    assert not console.needs_postgres
    assert console.client_may_log_in


def test_an_automatic_database_is_as_the_star_says() -> None:
    known = replace(KNOWN, lines={}, star=replace(PLAIN, name="*"))
    (found,) = places_of(known, (replace(ROW, name="made"),))
    assert (found.database, found.method) == ("made", Method.SCRAM)


def test_a_star_that_nobody_used_yet_is_no_place_to_log_in_to() -> None:
    star = Line("*", "web", has_password=True, auth_user=None, host="pg-1", port=5433)
    known = replace(KNOWN, star=star)
    *_, found = places_of(known, (ROW,))
    assert (found.method, found.host, found.port, found.dbname) == (Method.INLINE, "pg-1", 5433, None)
    assert found.is_star
    assert found.is_unproven
    assert not found.client_may_log_in
    # Once it has made a database, that is the place.
    made = replace(ROW, name="made", force_user="web")
    assert [one.database for one in places_of(known, (ROW, made))] == ["app", "made"]


@pytest.mark.parametrize(
    ("known", "line", "unproven"),
    [
        (entry(None), {"force_user": "web", "has_password": True}, True),
        (entry(SecretKind.PLAINTEXT), {"force_user": "web", "has_password": True}, False),
        (entry(SecretKind.PLAINTEXT), {"auth_user": "web"}, False),
        (entry(SecretKind.PLAINTEXT), {"auth_user": "web", "force_user": "other"}, True),
        (entry(SecretKind.PLAINTEXT, auth_type="cert"), {}, True),
        (entry(SecretKind.PLAINTEXT), {"force_user": "other"}, False),
    ],
)
def test_a_login_of_the_role_proves_its_server_login_or_does_not(
    known: Known, line: dict[str, Any], unproven: bool
) -> None:
    found = place(known, **line)
    assert found is not None
    assert found.is_unproven is unproven


# -- what is behind ---------------------------------------------------------------------------------

EDGE = Bouncer(name="edge", tcp="127.0.0.1:6432", host="alpha")
NEXT = Bouncer(name="next", tcp="next.example:6433")
PG = PostgresNode(name="pg", role="primary", tcp="pg-1:5432")
LOCAL = PostgresNode(name="local", role="primary", host="alpha", unix="/run/pg", port=5433)
FLEET = Inventory(fleet="f", environment="staging", bouncers=(EDGE, NEXT), postgres=(PG, LOCAL))


@pytest.mark.parametrize(
    ("host", "port", "node", "pooler", "by_port"),
    [
        ("pg-1", 5432, "pg", None, False),
        ("pg-1", None, "pg", None, False),
        ("pg-0,pg-1", 5432, "pg", None, False),
        ("10.0.0.7", 5432, "pg", None, True),
        (None, 5433, "local", None, False),
        ("/run/pg", 5433, "local", None, False),
        ("127.0.0.1", 5433, "local", None, False),
        ("next.example", 6433, None, "next", False),
        ("pg-9", 5999, None, None, False),
    ],
)
def test_a_database_leads_to_a_node_or_to_another_pooler(
    host: str | None, port: int | None, node: str | None, pooler: str | None, by_port: bool
) -> None:
    found = behind(host, port, EDGE, FLEET)
    assert (found.node.name if found.node else None) == node
    assert (found.pooler.name if found.pooler else None) == pooler
    assert found.by_port == by_port
