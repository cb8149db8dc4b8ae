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
    own_site,
    rotate,
    run_state,
)

TO = "webshop_b"
WORDS = (ROLE, "--to", TO, "--yes", "--confirm")


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
        # Somebody is there still.
        code, said = rotate(shell, *WORDS, "test 0", "--finish", new=None, old=OLD)
        assert code == 3
        assert f"client of {ROLE}: " in said
    assert [one.failures for one in (*traffic, *new)] == [[]] * 6
    assert logins.failures == []
    assert logins.done
    assert all(one.done for one in (*traffic, *new))
    kept = site.postgres.value(
        "SELECT string_agg(coalesce(datname, '*') || ':' || array_to_string(setconfig, '|'), ' ; ' ORDER BY 1)"
        f" FROM (SELECT datname, setconfig FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase"
        f" WHERE setrole = '{TO}'::regrole) AS x"
    )
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
