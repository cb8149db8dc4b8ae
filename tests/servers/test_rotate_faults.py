"""A rotation that is killed, refused or interrupted: one of two secrets is good, and there is a way on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until
from tests.servers.operations_kit import is_paused
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
    start_as_it_is,
    stopped,
    until_phase,
)

YES = ("--yes", "--confirm", "test 0")


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        made.add("edge-1", "1.24")
        made.add("edge-2", "1.26", entry="plaintext")
        yield made


def begun(shell: Shell, *words: str) -> Rotation:
    return Rotation(shell, ROLE, *YES, *words)


@pytest.mark.during("rotate: console killed")
def test_killed_before_postgres_has_changed_the_old_secret_is_good(site: Site) -> None:
    shell = site.shell()
    with locked_role(site), begun(shell, "--timeout", "20s") as rotation:
        until_phase(shell, "postgres")
        assert site.paused() == ["edge-1", "edge-2"]
        rotation.process.send_signal(signal.SIGKILL)
        until(lambda: site.paused() == [])
    assert site.works_with(OLD)
    assert site.stored == site.scram
    # Written down, with no secret in clear; another rotation is refused until this one is over.
    assert run_state(shell) is not None
    code, said = rotate(shell, ROLE, *YES)
    assert code == 3
    assert "was interrupted" in said
    code, said = rotate(shell, ROLE, *YES, "--undo", new=None, old=OLD)
    assert code == 0, said
    assert site.works_with(OLD)
    assert not site.lets_in("edge-1", NEW)
    assert run_state(shell) is None
    assert left_over(site) == []
    assert site.where_clear(NEW, OLD, besides=[site.poolers["edge-2"].userlist_path]) == []


@pytest.mark.during("rotate: console killed")
def test_killed_after_postgres_has_changed_the_new_secret_is_good(site: Site) -> None:
    shell = site.shell()
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(locked_role(site))
        rotation = stack.enter_context(begun(shell, "--timeout", "20s"))
        until_phase(shell, "postgres")
        with stopped(site.poolers["edge-1"]):
            lock.close()
            # Postgres has changed, and the first pooler does not answer the RELOAD.
            until_phase(shell, "poolers")
            rotation.process.send_signal(signal.SIGKILL)
            rotation.process.wait(10)
        until(lambda: site.paused() == [])
    assert site.works_with(NEW)
    assert not site.lets_in("edge-1", OLD)
    code, said = rotate(shell, ROLE, *YES, "--resume", new=OLD + "x")
    assert code == 1
    assert "not the new secret" in said
    code, said = rotate(shell, ROLE, *YES, "--resume", old=OLD)
    assert code == 0, said
    assert site.works_with(NEW)
    assert run_state(shell) is None
    assert left_over(site) == []
    assert site.where_clear(NEW, OLD, besides=[site.poolers["edge-2"].userlist_path]) == []


def test_undone_after_it_was_killed_half_way(site: Site) -> None:
    shell = site.shell()
    with locked_role(site), begun(shell, "--timeout", "20s") as rotation:
        until_phase(shell, "postgres")
        rotation.process.send_signal(signal.SIGKILL)
        until(lambda: site.paused() == [])
    # Somebody reloads: the pooler now has the new secret, which Postgres has not.
    shell.tell("edge-1", "RELOAD")
    assert not site.lets_in("edge-1", OLD)
    code, said = rotate(shell, ROLE, *YES, "--undo", new=None, old=OLD)
    assert code == 0, said
    assert site.works_with(OLD)
    assert site.stored == site.scram
    assert left_over(site) == []


@pytest.mark.during("rotate: Postgres refuses the ALTER")
def test_refused_by_postgres_everything_is_as_before(site: Site) -> None:
    shell = site.shell()
    files = [server.userlist_path.read_bytes() for server in site.poolers.values()]
    with locked_role(site), Traffic(site, "edge-1") as first, Traffic(site, "edge-2") as second:
        code, said = rotate(shell, ROLE, "--yes", "--confirm", "test 2", "--timeout", "3s", old=OLD)
        assert code == 1
        assert "taken back: the old secret is in force" in said
    assert first.failures == second.failures == []
    assert [server.userlist_path.read_bytes() for server in site.poolers.values()] == files
    assert site.works_with(OLD)
    assert site.stored == site.scram
    assert run_state(shell) is None
    assert left_over(site) == []


def test_interrupted_while_clients_wait_it_is_taken_back(site: Site) -> None:
    shell = site.shell()
    with locked_role(site), begun(shell, "--timeout", "20s") as rotation:
        until_phase(shell, "postgres")
        rotation.process.send_signal(signal.SIGINT)
        code, said = rotation.end()
    assert code in (1, 130), said
    assert site.paused() == []
    assert site.works_with(OLD)
    assert run_state(shell) is None
    assert left_over(site) == []


def test_a_canary_that_is_refused_takes_back_what_postgres_has_as_well(site: Site) -> None:
    shell = site.shell()
    files = [server.userlist_path.read_bytes() for server in site.poolers.values()]
    assert site.works_with(OLD)
    with contextlib.ExitStack() as lock:
        lock.enter_context(locked_role(site))
        with begun(shell, "--timeout", "20s") as rotation:
            until_phase(shell, "postgres")
            # From here on no login through the second pooler is let in.
            shell.tell("edge-2", "DISABLE app")
            lock.close()
            code, said = rotation.end()
    assert code == 1
    assert "edge-2/app: the canary was refused" in said
    assert "taken back: the old secret is in force" in said
    assert site.stored == site.scram
    assert [server.userlist_path.read_bytes() for server in site.poolers.values()] == files
    assert site.paused() == []
    shell.tell("edge-2", "ENABLE app")
    assert site.works_with(OLD)
    assert not site.lets_in("edge-1", NEW)
    assert run_state(shell) is None
    assert left_over(site) == []


@pytest.mark.during("rotate: the bouncer dies")
def test_a_pooler_that_dies_while_clients_wait(site: Site) -> None:
    shell = site.shell()
    assert site.works_with(OLD)
    with contextlib.ExitStack() as lock:
        lock.enter_context(locked_role(site))
        with begun(shell, "--timeout", "20s") as rotation:
            until_phase(shell, "postgres")
            site.poolers["edge-1"].kill()
            lock.close()
            code, said = rotation.end()
    assert code in (1, 4), said
    with site.poolers["edge-2"].admin() as console:
        assert not is_paused(console)
    # Up again it reads whichever file is there, and that goes with what Postgres has.
    start_as_it_is(site.poolers["edge-1"])
    if run_state(shell) is not None:
        code, said = rotate(shell, ROLE, *YES, "--undo", new=None, old=OLD)
        assert code == 0, said
    assert site.works_with(OLD), said
    assert not site.lets_in("edge-2", NEW)
    assert site.stored == site.scram
    assert site.paused() == []
    assert left_over(site) == []


def test_a_generated_secret_that_nobody_takes_changes_nothing(site: Site) -> None:
    shell = site.shell()
    words = ("--secret-from", "generate", "--secret-to", "command:false")
    code, said = rotate(shell, ROLE, *YES, *words, new=None)
    assert code == 1
    assert "did not take the secret" in said
    assert "nothing was changed" in said
    assert site.works_with(OLD)
    assert run_state(shell) is None


def left_over(site: Site) -> list[str]:
    """Return files that a rotation makes for itself and takes away again."""
    return [
        path.name
        for server in site.poolers.values()
        for path in server.directory.iterdir()
        if path.name.endswith((".pooldeck-before", ".pooldeck-new"))
    ]
