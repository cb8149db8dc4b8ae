"""`pooldeck rotate` for real: another secret in Postgres and every pooler, while clients stay connected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from console.config.scram import SecretKind, secret_kind
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import MONITOR
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.rotate_kit import NEW, OLD, ROLE, Site, Traffic, own_site, rotate, run_state


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        yield made


def entries(server: PgBouncerServer) -> list[bytes]:
    return server.userlist_path.read_bytes().splitlines(keepends=True)


@pytest.mark.under_load("rotate")
def test_a_mixed_fleet_is_rotated_at_once_and_connected_clients_see_a_delay_only(
    site: Site, pgbouncer_version: str
) -> None:
    scram = site.add("scram", pgbouncer_version, entry="scram")
    plain = site.add("plain", pgbouncer_version, entry="plaintext")
    site.add("query", pgbouncer_version, entry="query")
    before = {server: entries(server) for server in (scram, plain)}
    shell = site.shell()
    with ExitStack() as stack:
        traffic = [stack.enter_context(Traffic(site, name)) for name in site.poolers]
        code, said = rotate(shell, ROLE, "--yes", "--confirm", "test 3", old=OLD)
        assert code == 0, said
        # They go on: each has done something since.
        done = [one.done for one in traffic]
        for _ in range(3):
            assert site.works_with(NEW)
    assert [one.failures for one in traffic] == [[], [], []]
    assert all(one.done > count for one, count in zip(traffic, done, strict=True))
    assert not any(site.lets_in(name, OLD) for name in site.poolers)
    assert site.paused() == []
    assert secret_kind(site.stored) is SecretKind.SCRAM
    assert site.stored != site.scram
    # The same secret everywhere, and not a byte changed beside it.
    assert entries(scram)[1] == f'"{ROLE}" "{site.stored}"\n'.encode()
    assert entries(plain)[1] == f'"{ROLE}" "{NEW}"\n'.encode()
    for server, old in before.items():
        assert entries(server)[:1] + entries(server)[2:] == old[:1] + old[2:]
    assert run_state(shell) is None
    # Journal, plans, logs of poolers and of a Postgres that logs every statement: nowhere in clear.
    assert site.where_clear(NEW, OLD, besides=[plain.userlist_path]) == []


def test_an_md5_entry_becomes_a_scram_secret(site: Site) -> None:
    server = site.add("edge", "1.24", entry="md5", auth_type="md5")
    site.store(site.entry("md5").split('"')[3])
    shell = site.shell()
    with Traffic(site, "edge") as traffic:
        code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", old=OLD)
        assert code == 0, said
        assert "knows md5 only" in said
        assert site.works_with(NEW)
    assert traffic.failures == []
    assert not site.lets_in("edge", OLD)
    assert entries(server)[1] == f'"{ROLE}" "{site.stored}"\n'.encode()


def test_the_monitors_own_role_is_rotated_without_a_pause_where_postgres_has_none(site: Site) -> None:
    line = f"TO user=app password={site.postgres.secrets.password('app')} pool_mode=transaction"
    server = site.add("edge", "1.26", lines={"app": line})
    shell = site.shell()
    code, said = rotate(shell, MONITOR, "--yes", "--confirm", "edge", old=server.secrets.password(MONITOR))
    assert code == 0, said
    assert "put the new secret where password_from finds it" in said
    assert "PAUSE" not in said
    assert site.lets_in("edge", NEW, "pgbouncer", user=MONITOR) or _console(server)
    shell.environ["MONITOR_WORD"] = NEW
    assert shell("status").returncode == 0


def _console(server: PgBouncerServer) -> bool:
    """Log in to the console with the new secret: it takes no SELECT 1."""
    server.connect("pgbouncer", user=MONITOR, password=NEW).close()
    return True


def test_check_names_every_layout_and_touches_nothing(site: Site) -> None:
    site.add("scram", "1.26", entry="scram")
    site.add("plain", "1.18", entry="plaintext")
    site.add("query", "1.24", entry="query")
    inline = f"TO user={ROLE} password='{OLD}' pool_mode=transaction"
    site.add("inline", "1.26", entry=None, lines={"app": inline})
    site.add("auth-user", "1.24", entry="plaintext", auth_user=ROLE)
    site.add("nobody", "1.24", entry=None)
    shell = site.shell()
    before = _hashes(site)
    ended = shell("rotate", ROLE, "--check", "-v")
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    for expected in (
        f"scram: {ROLE}: R4 scram on app",
        f"plain: {ROLE}: R3 userlist on app",
        f"query: {ROLE}: R5 auth-query on app",
        f"inline: {ROLE}: R2 inline on app",
        f"auth-user: {ROLE}: R6 auth-user on app",
        f"nobody: {ROLE} is not known here",
        "password= of app in",
        "its password= stands in clear in",
        "it is the auth_user of app",
        "inline/app: a query as probe_user where that works now",
        f"ALTER ROLE \"{ROLE}\" PASSWORD 'SCRAM-SHA-256$4096:…'",
    ):
        assert expected in " ".join(said.split()), expected
    # auth_query needs no pause; the others wait together.
    pausing = next(line for line in said.splitlines() if ": PAUSE, under a lease" in line)
    assert "scram, plain, inline, auth-user" in pausing
    assert "query" not in pausing
    assert _hashes(site) == before
    assert site.stored == site.scram
    assert run_state(shell) is None
    assert site.where_clear(NEW) == []


def test_two_roles_side_by_side_have_to_fit_into_postgres(site: Site) -> None:
    site.add("edge-1", "1.24", default_pool_size=40)
    site.add("edge-2", "1.24", default_pool_size=40)
    shell = site.shell()
    assert site.works_with(OLD)
    ended = shell("rotate", ROLE, "--check", "--to", "webshop_b")
    said = " ".join((ended.stdout + ended.stderr).split())
    # Two live pools of 40, and two more of the other role; the node gives 100 less 3.
    assert "with both roles in use 160 backends could be open on pg, which gives 97" in said
    assert "userlist.txt: an entry of webshop_b (new files, renamed), then RELOAD" in said


def _hashes(site: Site) -> dict[str, str]:
    return {
        f"{name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for name, server in site.poolers.items()
        for path in (server.config_path, server.userlist_path)
    }
