"""`pooldeck rotate A --to B` for real: both roles work, then the first one is shut out; nobody ever waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.rotate_kit import (
    NEW,
    OLD,
    ROLE,
    NewLogins,
    Site,
    Traffic,
    client_of,
    own_site,
    rotate,
    run_state,
)

TO = "webshop_b"
WORD = "a-Client-of-1ts-own"
WALK_IN = f'"walkin" "{WORD}"\n'
"""In clear: before 1.26 a forced user's password= and clients with SCRAM secrets do not go together."""
WORDS = (ROLE, "--to", TO, "--yes", "--confirm")

SETTINGS = f"""
SELECT string_agg(coalesce(datname, '*') || ':' || array_to_string(setconfig, '|'), ' ; '
                  ORDER BY datname NULLS FIRST)
  FROM pg_db_role_setting LEFT JOIN pg_database AS base ON base.oid = setdatabase
 WHERE setrole = '{TO}'::regrole
"""


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        yield made


@pytest.mark.under_load("rotate")
def test_a_mixed_fleet_gets_a_second_role_and_loses_the_first_while_clients_work(site: Site) -> None:
    scram = site.add("scram", "1.26", entry="scram")
    plain = site.add("plain", "1.18", entry="plaintext")
    site.add("query", "1.24", entry="query")
    files = {server: server.userlist_path.read_bytes() for server in (scram, plain)}
    shell = site.shell()
    with site.postgres.connect() as connection:
        connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 40")
        connection.execute(f"ALTER ROLE {ROLE} SET search_path TO '$user', public, \"odd one\"")
        connection.execute(f"ALTER ROLE {ROLE} IN DATABASE app SET statement_timeout TO '7s'")
    with ExitStack() as stack:
        traffic = [stack.enter_context(Traffic(site, name)) for name in site.poolers]
        logins = stack.enter_context(NewLogins(site))
        code, said = rotate(shell, *WORDS, "test 0", old=OLD)
        assert code == 0, said
        assert f"both work: move your applications from {ROLE} to {TO}, then --finish" in said
        assert "PAUSE" not in said
        assert (run_state(shell) or {})["phase"] == "both"
        new = [stack.enter_context(Traffic(site, name, NEW, user=TO)) for name in site.poolers]
        # Somebody is there still; a rotation of either role's own secret has to wait as well.
        code, said = rotate(shell, *WORDS, "test 0", "--finish", new=None, old=OLD)
        assert code == 3
        assert f"of {ROLE}: no application_name from 127.0.0.1 on app" in said
    assert [one.failures for one in (*traffic, *new)] == [[]] * 6
    assert logins.failures == []
    assert logins.done
    assert all(one.done for one in (*traffic, *new))
    kept = site.postgres.value(SETTINGS)
    assert kept == '*:search_path="$user", public, "odd one" ; app:statement_timeout=7s'
    assert site.postgres.value(f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{TO}'") == 40
    code, said = rotate(shell, *WORDS, "test 0", "--finish", new=None, old=OLD)
    assert code == 0, said
    assert f"{ROLE} is shut out, and {TO} has taken over" in said
    assert not any(site.lets_in(name, OLD) for name in site.poolers)
    assert all(site.lets_in(name, NEW, user=TO) for name in site.poolers)
    assert run_state(shell) is None
    for server, old in files.items():
        content = server.userlist_path.read_bytes()
        # Everybody else's lines are as they were.
        assert content.splitlines()[:1] + content.splitlines()[1:-1] == [
            line for line in old.splitlines() if not line.startswith(f'"{ROLE}"'.encode())
        ]
        assert [path.name for path in server.directory.iterdir() if ".pooldeck-" in path.name] == []
    assert site.where_clear(NEW, OLD, besides=[plain.userlist_path]) == []


def test_a_forced_user_is_replaced_amid_a_transaction_and_put_back(site: Site) -> None:
    line = f"TO user={ROLE} password='{OLD}' pool_mode=transaction"
    for name, version in (("older", "1.18"), ("newer", "1.24")):
        site.add(name, version, entry=None, lines={"app": line}, more=WALK_IN)
    shell = site.shell()
    inis = [server.config_path.read_bytes() for server in site.poolers.values()]
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(site, name, "walkin", WORD)) for name in site.poolers]
        for client in clients:
            client.execute("BEGIN")
            assert who(client) == ROLE
        code, said = rotate(shell, *WORDS, "test 0", "--timeout", "1s")
        assert code == 0, said
        assert "1 server connection of app still serve a client as before" in " ".join(said.split())
        for client in clients:
            assert who(client) == ROLE
            client.execute("COMMIT")
            assert who(client) == TO
        for server, old in zip(site.poolers.values(), inis, strict=True):
            was = f"user={ROLE} password='{OLD}'".encode()
            assert server.config_path.read_bytes() == old.replace(was, f"user={TO} password={NEW}".encode())
        code, said = rotate(shell, *WORDS, "test 0", "--undo", new=None)
        assert code == 0, said
        assert [who(client) for client in clients] == [ROLE, ROLE]
    assert [server.config_path.read_bytes() for server in site.poolers.values()] == inis
    assert site.postgres.value(f"SELECT count(*) FROM pg_roles WHERE rolname = '{TO}'") == 0
    assert run_state(shell) is None


def test_a_forced_user_is_not_replaced_under_clients_that_it_would_kill(site: Site) -> None:
    forced = f"TO user={ROLE} password='{OLD}'"
    site.add("edge", "1.26", entry=None, lines={"app": forced}, more=WALK_IN)
    shell = site.shell()
    with client_of(site, "edge", "walkin", WORD) as client:
        assert who(client) == ROLE
        ended = shell("rotate", ROLE, "--to", TO, "--check")
    assert "kills every connected client of a database whose user= changes" in ended.stdout + ended.stderr


ASK = """
CREATE SCHEMA asking;
CREATE FUNCTION asking.secret_of(who text, OUT name text, OUT secret text) LANGUAGE sql SECURITY DEFINER
  AS $$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = who AND rolcanlogin $$;
REVOKE ALL ON FUNCTION asking.secret_of(text) FROM public;
GRANT USAGE ON SCHEMA asking TO webshop;
GRANT EXECUTE ON FUNCTION asking.secret_of(text) TO webshop;
CREATE ROLE shopper LOGIN PASSWORD 'shopper-Word-19x';
CREATE ROLE webshop_c NOINHERIT;
"""


def test_the_role_that_asks_for_others_is_replaced(site: Site) -> None:
    with site.postgres.connect("app") as connection:
        connection.execute(ASK)
    server = site.add(
        "edge",
        "1.24",
        entry="plaintext",
        auth_user=ROLE,
        auth_query="SELECT name, secret FROM asking.secret_of($1)",
    )
    shell = site.shell(
        more='probe_user = "shopper"\nprobe_database = "app"\nprobe_password_from = "env:SHOPPER"\n'
    )
    shell.environ["SHOPPER"] = "shopper-Word-19x"
    before = server.config_path.read_bytes(), server.userlist_path.read_bytes()
    # One that does not inherit may not ask: seen before any pooler is touched.
    code, said = rotate(shell, ROLE, "--to", "webshop_c", "--yes", "--confirm", "edge")
    assert code == 1
    assert "permission denied for" in said
    assert "taken back" in said
    assert (server.config_path.read_bytes(), server.userlist_path.read_bytes()) == before
    assert not site.postgres.value("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'webshop_c'")
    code, said = rotate(shell, ROLE, "--to", TO, "--yes", "--confirm", "edge", old=OLD)
    assert code == 0, said
    assert "shopper, who is not in the auth_file, is let in on app" in said
    assert f"auth_user = {TO}" in server.config_path.read_text()
    code, said = rotate(shell, *WORDS, "edge", "--finish", new=None, old=OLD)
    assert code == 0, said
    assert site.lets_in("edge", "shopper-Word-19x", user="shopper")
    assert not site.lets_in("edge", OLD)
    # And back to the first one, who is there without LOGIN, and above the second.
    code, said = rotate(shell, TO, "--to", ROLE, "--yes", "--confirm", "edge", new=f"{NEW}2")
    assert code == 0, said
    assert site.lets_in("edge", f"{NEW}2")


def who(client: psycopg.Connection[tuple[str]]) -> str:
    """Return who serves a client."""
    row = client.execute("SELECT current_user").fetchone()
    assert row is not None
    return row[0]
