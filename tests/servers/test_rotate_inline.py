"""`pooldeck rotate` where the pooler alone uses the password: in a line of its ini, or as its auth_user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, APP_USERS, MONITOR
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until
from tests.servers.rotate_kit import (
    NEW,
    OLD,
    ROLE,
    Rotation,
    Site,
    Traffic,
    locked_role,
    own_site,
    rotate,
    run_state,
    until_phase,
    verified,
)

ODD = "n3w 'quoted' \"one\";#=%\\x"
"""All that a connection string and an auth_file have to quote."""
SHOPPER = "shopper"
"""A client that Postgres does not know: the database forces the role."""
SHOPPER_WORD = "sh0pper-w0rd"
WORKER = APP_USERS[1]
LINE = f"TO pool_mode=transaction user={ROLE} password={OLD} pool_size=5"


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        yield made


def inline(site: Site, name: str, version: str, *, entry: str = "", second: str = "late") -> PgBouncerServer:
    """Start a pooler whose database forces the role; clients are `shopper`, whose entry is plaintext."""
    more = f'"{SHOPPER}" "{SHOPPER_WORD}"\n{entry}'
    return site.add(name, version, entry=None, lines={"app": LINE, second: LINE}, more=more)


def with_include(site: Site, server: PgBouncerServer) -> Path:
    """Move the second database to a file of its own, with remarks."""
    text = server.config_path.read_text()
    line = next(line for line in text.splitlines(keepends=True) if line.startswith("late ="))
    included = server.directory / "more.ini"
    server.launcher.write_file(included, f"; of the late shop, see wiki\r\n{line.rstrip()}\r\n")
    server.launcher.write_file(server.config_path, text.replace(line, f"; moved\n%include {included}\n"))
    with server.admin() as console:
        console.execute("RELOAD")
    return included


def shopping(site: Site, name: str, database: str = "app") -> Traffic:
    return Traffic(site, name, SHOPPER_WORD, database, user=SHOPPER)


def test_passwords_in_lines_are_changed_where_they_stand_and_a_server_connection_proves_it(
    site: Site,
) -> None:
    old = inline(site, "old", "1.18")
    included = with_include(site, old)
    # The role has an entry besides, so both files of this pooler change. Nobody has used its line * yet.
    both = inline(site, "both", "1.26", entry=f'"{ROLE}" "{OLD}"\n', second="*")
    inis = [old.config_path, included, both.config_path]
    copy = both.config_path.with_name(f"{both.config_path.name}.pooldeck-good")
    both.launcher.write_file(copy, both.config_path.read_text())
    before = {path: path.read_text() for path in inis}
    modes = {path: path.stat() for path in inis}
    shell = site.shell()
    with shopping(site, "old") as first, shopping(site, "both") as second:
        code, said = rotate(shell, ROLE, "--yes", "--confirm", "test 2", new=ODD)
        assert code == 0, said
        done = first.done, second.done
        until(lambda: first.done > done[0] and second.done > done[1])
    assert first.failures == second.failures == []
    said = " ".join(said.split())
    assert "pg/app: webshop is let in with the secret, without a pooler between" in said
    assert "a server connection is logged in as webshop for app" in verified(shell, "old")
    for name in ("late", "*"):
        assert f"{name}: nobody has needed a server connection since the RESUME" in said
    quoted = "'" + ODD.replace("'", "''") + "'"
    for path, text in before.items():
        assert path.read_text() == text.replace(f"password={OLD}", f"password={quoted}")
        now, was = path.stat(), modes[path]
        assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)
    # New server connections, of every line.
    for name in site.poolers:
        with site.poolers[name].admin() as console:
            console.execute("RECONNECT")
        for database in ("app", "late"):
            assert site.lets_in(name, SHOPPER_WORD, database, user=SHOPPER)
    assert site.lets_in("both", ODD)
    assert not site.lets_in("both", OLD)
    assert run_state(shell) is None
    # The copy of a RELOAD that went well would have brought the old one back; no other is made.
    assert copy.read_bytes() == both.config_path.read_bytes()
    kept = [copy]
    assert (
        site.where_clear(ODD, ODD.replace("'", "''"), OLD, besides=[*inis, both.userlist_path, *kept]) == []
    )


def test_a_secret_that_postgres_does_not_take_after_all_shows_although_only_clients_use_it(
    site: Site,
) -> None:
    inline(site, "edge", "1.24")
    shell = site.shell()
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(locked_role(site))
        stack.enter_context(shopping(site, "edge"))
        rotation = stack.enter_context(begun(shell))
        until_phase(shell, "postgres")
        # From here on nobody but a superuser gets into the database.
        limited(site, 0)
        lock.close()
        code, said = rotation.end()
    assert code == 1, said
    said = " ".join(said.split())
    assert "a direct login as webshop cannot be tried from here: too many connections" in said
    assert "clients waited, and no server connection logged in as webshop" in said
    assert "--resume" in said
    limited(site, -1)
    # With somebody to ask as, no client has to wait for the proof.
    probe = f'[defaults]\nprobe_user = "{SHOPPER}"\nprobe_password_from = "env:PROBE_WORD"\n'
    shell.fleet.write_text(shell.fleet.read_text().replace("[defaults]\n", probe))
    shell.environ["PROBE_WORD"] = SHOPPER_WORD
    code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", "--resume")
    assert code == 0, said
    # The pool of the other one may be locked for a while: its logins failed.
    assert "a server connection is logged in as webshop for" in verified(shell, "edge")
    assert "late" in verified(shell, "edge")
    assert run_state(shell) is None


def test_killed_while_postgres_changes_both_files_are_taken_back(site: Site) -> None:
    server = inline(site, "edge", "1.24", entry=f'"{ROLE}" "{OLD}"\n')
    files = [server.config_path, server.userlist_path]
    before = [path.read_bytes() for path in files]
    shell = site.shell()
    with locked_role(site), begun(shell) as rotation:
        until_phase(shell, "postgres")
        assert all(path.read_bytes() != old for path, old in zip(files, before, strict=True))
        rotation.process.kill()
        until(lambda: site.paused() == [])
    # What the run was to change is of before, but for somebody's own change of the ini.
    ours = server.config_path.read_bytes()
    server.launcher.write_file(server.config_path, ours.decode() + "; mine\n")
    code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", "--undo", new=None)
    assert code == 1
    assert "was changed since by somebody else" in said
    server.launcher.write_file(server.config_path, ours.decode())
    code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", "--undo", new=None)
    assert code == 0, said
    assert [path.read_bytes() for path in files] == before
    # The old secret was in the files, so its logins were tried without --old-from.
    assert "the old secret is in force again" in said
    assert "a query answered" in verified(shell, "edge")
    assert site.lets_in("edge", SHOPPER_WORD, user=SHOPPER)
    assert not list(server.directory.glob("*.pooldeck-before"))


def test_the_auth_user_changes_behind_a_pause_and_somebody_it_asks_about_logs_in(site: Site) -> None:
    with site.postgres.connect("app") as connection:
        connection.execute(
            "CREATE FUNCTION public.asked(name text, OUT usename name, OUT passwd text) LANGUAGE sql "
            "SECURITY DEFINER AS 'SELECT usename, passwd FROM pg_shadow WHERE usename = name'"
        )
        grant = "GRANT EXECUTE ON FUNCTION public.asked TO {}"
        connection.execute(sql.SQL(grant).format(sql.Identifier(ROLE)))
    server = site.add(
        "edge",
        "1.24",
        entry="plaintext",
        # Whom the auth_file does not know, auth_query is asked about.
        users=(ADMIN, MONITOR),
        auth_user=ROLE,
        auth_query="SELECT usename, passwd FROM public.asked($1)",
    )
    word = server.secrets.password(WORKER)
    probe = f'probe_user = "{WORKER}"\nprobe_database = "app"\nprobe_password_from = "env:PROBE_WORD"\n'
    shell = site.shell(more=probe)
    shell.environ["PROBE_WORD"] = word
    with contextlib.ExitStack() as stack:
        traffic = stack.enter_context(Traffic(site, "edge", word, user=WORKER))
        backends = asking(site)
        with contextlib.ExitStack() as lock:
            lock.enter_context(locked_role(site))
            rotation = stack.enter_context(begun(shell))
            until_phase(shell, "postgres")
            # The connection that auth_query used is closed as every other one, so it cannot hide anything.
            assert backends
            assert asking(site) == set()
        code, said = rotation.end()
        assert code == 0, said
    said = " ".join(said.split())
    assert "it is the auth_user of app: logins that auth_query checks wait until the RESUME" in said
    assert "a server connection is logged in as webshop for app" in verified(shell, "edge")
    assert traffic.failures == []
    assert site.lets_in("edge", word, user=WORKER)
    assert asking(site)
    assert not asking(site) & backends
    assert not site.lets_in("edge", OLD)
    assert site.lets_in("edge", NEW)
    assert site.where_clear(NEW, OLD, besides=[server.userlist_path]) == []


def begun(shell: Shell) -> Rotation:
    return Rotation(shell, ROLE, "--yes", "--confirm", "edge", "--timeout", "20s")


def limited(site: Site, connections: int) -> None:
    with site.postgres.connect() as connection:
        connection.execute(sql.SQL("ALTER DATABASE app CONNECTION LIMIT {}").format(sql.Literal(connections)))


def asking(site: Site) -> set[int]:
    """Return the backends of the role."""
    with site.postgres.connect() as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", (ROLE,)).fetchall()
    return {row[0] for row in rows}
