"""A rotation with two roles that is killed or refused half-way: the first role works, and a way leads on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until
from tests.servers.rotate_kit import (
    NEW,
    OLD,
    ROLE,
    Rotation,
    Site,
    locked_role,
    own_site,
    rotate,
    run_state,
    stopped,
    until_phase,
)

TO = "webshop_b"
WORDS = (ROLE, "--to", TO, "--yes", "--confirm", "test 0")


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        made.add("edge-1", "1.24")
        made.add("edge-2", "1.26", entry="plaintext")
        yield made


@contextlib.contextmanager
def killed(shell: Shell, *words: str, new: str | None = NEW) -> Iterator[None]:
    """Run one that is killed when this is left."""
    rotation = Rotation(shell, *WORDS, "--timeout", "20s", *words, new=new)
    try:
        yield
    finally:
        rotation.process.send_signal(signal.SIGKILL)
        rotation.process.communicate()


@contextlib.contextmanager
def killed_between(
    site: Site, shell: Shell, held: contextlib.AbstractContextManager[None], phase: str, *words: str
) -> Iterator[None]:
    """Run one that is killed when the first pooler is done and the second one does not answer."""
    first = site.poolers["edge-1"].userlist_path
    before = first.stat().st_ino
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(held)
        stack.enter_context(killed(shell, *words, new=None if words else NEW))
        until_phase(shell, phase)
        with stopped(site.poolers["edge-2"]):
            lock.close()
            until(lambda: first.stat().st_ino != before)
            yield


@contextlib.contextmanager
def reserved_name(site: Site) -> Iterator[None]:
    """Keep Postgres from making the second role: another session has made it and not committed."""
    with site.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(TO)))
        yield


def as_before(site: Site, files: list[bytes]) -> bool:
    """Say whether nothing is left of the second role, and nothing lies about."""
    roles = site.postgres.value(f"SELECT count(*) FROM pg_roles WHERE rolname = '{TO}'")
    left = [
        path.name
        for server in site.poolers.values()
        for path in server.directory.iterdir()
        if ".pooldeck-" in path.name
    ]
    now = [server.userlist_path.read_bytes() for server in site.poolers.values()]
    return roles == 0 and left == [] and now == files


def test_killed_in_the_first_half_it_is_taken_back_or_gone_on_with(site: Site) -> None:
    shell = site.shell()
    files = [server.userlist_path.read_bytes() for server in site.poolers.values()]
    with reserved_name(site), killed(shell):
        until_phase(shell, "role")
    assert site.works_with(OLD)
    code, said = rotate(shell, *WORDS)
    assert code == 3
    assert "it was interrupted (role)" in said
    code, said = rotate(shell, *WORDS, "--undo", new=None, old=OLD)
    assert code == 0, said
    assert as_before(site, files)
    # The first pooler has it, the second one does not answer.
    with killed_between(site, shell, reserved_name(site), "role"):
        until(lambda: site.lets_in("edge-1", NEW, user=TO))
        assert site.lets_in("edge-1", OLD)
    assert (run_state(shell) or {})["phase"] == "poolers"
    code, said = rotate(shell, *WORDS, "--resume", new=f"{NEW}x")
    assert code == 1
    assert f"not the secret of {TO}" in said
    code, said = rotate(shell, *WORDS, "--resume", old=OLD)
    assert code == 0, said
    assert all(site.lets_in(name, NEW, user=TO) for name in site.poolers)
    assert site.works_with(OLD)
    # Somebody else's line comes, and stays when the second role goes.
    with site.poolers["edge-1"].userlist_path.open("ab") as file:
        file.write(b'"another" "one"\n')
    code, said = rotate(shell, *WORDS, "--undo", new=None, old=OLD)
    assert code == 0, said
    assert as_before(site, [files[0] + b'"another" "one"\n', files[1]])
    assert not any(site.lets_in(name, NEW, user=TO) for name in site.poolers)
    assert site.works_with(OLD)
    assert run_state(shell) is None
    assert site.where_clear(NEW, OLD, besides=[site.poolers["edge-2"].userlist_path]) == []


def test_refused_by_postgres_or_killed_in_the_second_half(site: Site) -> None:
    shell = site.shell()
    files = [server.userlist_path.read_bytes() for server in site.poolers.values()]
    with reserved_name(site):
        code, said = rotate(shell, *WORDS, "--timeout", "2s")
    assert code == 1
    assert "; taken back" in said
    assert as_before(site, files)
    assert run_state(shell) is None
    code, said = rotate(shell, *WORDS)
    assert code == 0, said
    with locked_role(site):
        code, said = rotate(shell, *WORDS, "--finish", "--timeout", "2s", new=None)
    assert code == 1
    assert "; taken back" in said
    assert (run_state(shell) or {})["phase"] == "both"
    assert site.works_with(OLD)
    with killed_between(site, shell, locked_role(site), "closing", "--finish"):
        until(lambda: ROLE.encode() + b'"' not in site.poolers["edge-1"].userlist_path.read_bytes())
    assert (run_state(shell) or {})["phase"] == "closing"
    assert not site.lets_in("edge-1", OLD)
    code, said = rotate(shell, *WORDS, "--undo", new=None, old=OLD)
    assert code == 0, said
    assert as_before(site, files)
    assert site.works_with(OLD)
