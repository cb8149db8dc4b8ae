"""`pooldeck switchover` on a primary, its replica and real bouncers: done, undone, or finished later."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.postgres import APP_DATABASE
from console.lab.secrets import SUPERUSER
from console.lab.server import program
from tests.harness.clients import ClientLoad, ledger
from tests.harness.servers import PGBOUNCER_LINES, Workshop
from tests.servers.cli_kit import LIMIT_S, open_transaction, until
from tests.servers.load_kit import every_kind, passfile
from tests.servers.switchover_kit import Pair, pair


@pytest.fixture(scope="module")
def kept(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair for tests after which everything is as before."""
    runtime = tempfile.mkdtemp(prefix="pd-x", dir="/tmp")
    try:
        with pair(workshop, tmp_path_factory.mktemp("kept"), (None, "1.26")) as made:
            made.shell.environ["XDG_RUNTIME_DIR"] = runtime
            yield made
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture
def fresh(workshop: Workshop, tmp_path: Path) -> Iterator[Pair]:
    """A pair of the test's own."""
    with pair(workshop, tmp_path) as made:
        yield made


def _agreed(made: Pair, *more: str, clients: int = 0) -> list[str]:
    name = "edge-1" if len(made.bouncers) == 1 else "test"
    return [*made.words(*more), "--yes", "--confirm", f"{name} {clients}"]


def _is_as_before(made: Pair) -> None:
    assert made.nobody_is_paused
    assert made.aims() == made.at_primary
    assert not made.is_fenced
    assert not made.is_promoted
    for server in made.bouncers.values():
        with server.connect() as client:
            assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def _stages(made: Pair) -> list[str]:
    return [record["stage"] for record in made.shell.records("switchover")]


def _read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    line = ""
    while words not in line:
        line = process.stderr.readline()
        assert line, f"it ended without {words!r}"


@contextlib.contextmanager
def _replay_paused(made: Pair) -> Iterator[None]:
    made.replica.value("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        made.replica.value("SELECT pg_wal_replay_resume()")


# -- it goes well -----------------------------------------------------------------------------------


@pytest.mark.under_load("switchover")
def test_under_load_nothing_fails_and_nothing_is_lost(workshop: Workshop, tmp_path: Path) -> None:
    with pair(workshop, tmp_path, PGBOUNCER_LINES) as made:
        words = passfile(workshop.secrets, tmp_path)
        groups = [
            group
            for name, one in made.bouncers.items()
            for group in every_kind(one, words, prefix=f"{name} ")[:2]  # the bench has all kinds
        ]
        with ClientLoad(groups, tmp_path / "clients.log") as load:
            done = made.shell(*made.approved())
        assert done.returncode == 0, done.stderr
        assert load.report.total.failed == {}, load.report.table()
        assert load.report.total.lost_idle == {}
        with made.replica.connect(APP_DATABASE) as session:
            assert ledger.differences(session, load.report) == []
        assert "longest stall: " in done.stderr
        assert made.aims() == made.at_replica
        assert made.nobody_is_paused
        assert made.is_fenced
        assert _stages(made) == ["fencing", "promoting", "promoted"]
        again = made.shell(*made.words("--plan"))
        assert again.returncode == 2
        assert "lists nothing of the kind" in again.stderr


# -- it does not, and is undone ---------------------------------------------------------------------


@pytest.mark.during("switchover: the replica refuses")
def test_a_replica_that_refuses_leaves_everything_as_it_was(kept: Pair) -> None:
    done = kept.shell(*_agreed(kept, "--promote-command", "sh -c 'echo not today >&2; exit 1'"))
    assert done.returncode == 1, done.stderr
    assert "the promote command failed: not today; replica was not promoted, primary stays" in " ".join(
        done.stdout.split()
    )
    _is_as_before(kept)
    assert _stages(kept)[-3:] == ["fencing", "promoting", "undone"]


def test_a_replica_that_lags_beyond_the_budget_is_not_waited_for(kept: Pair) -> None:
    with _replay_paused(kept):
        kept.primary.value("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
        done = kept.shell(*_agreed(kept, "--catch-up", "500ms"))
    assert done.returncode == 1, done.stderr
    assert "replica has not replayed everything within 0.5 s (--catch-up)" in " ".join(done.stdout.split())
    _is_as_before(kept)


def test_a_bouncer_that_does_not_drain_keeps_all_from_it(kept: Pair) -> None:
    before = _stages(kept)
    with open_transaction(kept.bouncers["edge-1"]):
        done = kept.shell(*_agreed(kept, "--timeout", "1", clients=1))
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert "not complete within 1 s" in text
    assert "edge-1 could not be paused" in text
    _is_as_before(kept)
    assert _stages(kept) == before, "neither node was touched"


def test_somebody_who_writes_without_a_bouncer_is_not_cut_off(kept: Pair) -> None:
    with kept.primary.connect(APP_DATABASE) as writer, writer.transaction():
        writer.execute("CREATE TABLE IF NOT EXISTS elsewhere (n int)")
        done = kept.shell(*_agreed(kept, "--catch-up", "700ms"))
    assert done.returncode == 1, done.stderr
    assert "1 session besides the bouncers' still writes to primary" in " ".join(done.stdout.split())
    _is_as_before(kept)


def test_interrupted_before_the_promotion_it_is_undone(kept: Pair) -> None:
    with _replay_paused(kept):
        process = kept.shell.start(*_agreed(kept, "--catch-up", "15s"))
        _read_until(process, "replica replays what primary has")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "replica was not promoted" in " ".join(out.split())
    _is_as_before(kept)


@pytest.mark.during("switchover: console killed")
def test_killed_before_the_promotion_its_guardian_resumes(kept: Pair) -> None:
    with _replay_paused(kept):
        process = kept.shell.start(*_agreed(kept, "--catch-up", "15s"))
        until(lambda: kept.shell.paused())
        process.kill()
        process.communicate(timeout=LIMIT_S)
        until(lambda: kept.nobody_is_paused)
    _is_as_before(kept)


def test_a_node_that_nothing_leads_to_is_nothing_to_do(kept: Pair) -> None:
    turned = kept.shell("switchover", "replica", "--to", "primary", "--fence", "none", "--plan")
    assert turned.returncode == 2
    assert "lists nothing of the kind" in turned.stderr


# -- a line * --------------------------------------------------------------------------------------


def test_a_line_beside_databases_of_another_node_is_told(kept: Pair) -> None:
    server = kept.bouncers["edge-1"]
    before = server.databases
    server.databases = {
        "*": f"host={kept.primary.host} port={kept.primary.port}",
        "other": "host=127.0.0.9 port=5432",
    }
    server.write_config()
    server.send_signal(signal.SIGHUP)
    try:
        until(lambda: ("127.0.0.9", 5432) in kept.aims())
        code, lines = kept.shell.json_lines(*kept.words("--bouncers", "edge-1", "--plan"))
        assert code == 0, lines
        assert "its line * leads there and other elsewhere" in lines[0]["blocked"]
    finally:
        server.databases = before
        server.write_config()
        server.send_signal(signal.SIGHUP)
        until(lambda: kept.aims() == kept.at_primary)


# -- after the promotion ----------------------------------------------------------------------------


def _promoting(made: Pair, then: str) -> str:
    """Return a command that promotes the replica as another program would, and does something more."""
    psql = program("psql", "postgresql-client")
    where = f"host={made.replica.host} port={made.replica.port} user={SUPERUSER} dbname=postgres"
    words = f"PGPASSFILE={made.replica.pgpass_path} {psql} -qAtd '{where}' -c 'SELECT pg_promote()'"
    return f"sh -c {shlex.quote(f'{words} >/dev/null && {then}')}"


@pytest.mark.during("switchover: console killed")
def test_killed_after_the_promotion_the_same_command_finishes_it(fresh: Pair) -> None:
    process = fresh.shell.start(*_agreed(fresh, "--promote-command", _promoting(fresh, "sleep 20")))
    until(lambda: fresh.is_promoted)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    until(lambda: fresh.nobody_is_paused)
    assert fresh.aims() == fresh.at_primary
    assert fresh.is_fenced, "what writes there fails, and is not lost"

    done = fresh.shell(*_agreed(fresh))
    assert done.returncode == 0, done.stderr
    assert "replica is a primary already" in done.stderr
    assert fresh.aims() == fresh.at_replica
    assert fresh.nobody_is_paused


@pytest.mark.during("switchover: the bouncer dies")
def test_a_bouncer_that_dies_while_clients_wait_keeps_nobody_else(workshop: Workshop, tmp_path: Path) -> None:
    with pair(workshop, tmp_path, (None, "1.26")) as made:
        one = made.bouncers["edge-1"]
        with _replay_paused(made):
            process = made.shell.start(*_agreed(made, "--catch-up", "8s"))
            until(lambda: made.shell.paused("edge-1") and made.shell.paused("edge-2"))
            one.kill()
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode in (1, 4), (out, err)
        assert not made.shell.paused("edge-2")
        with made.bouncers["edge-2"].connect() as client:
            assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        one.prepare = lambda: one.pid_path.unlink(missing_ok=True)  # type: ignore[method-assign]
        one.start()
        if made.is_promoted:
            # Beyond the promotion the same command moves who was not there.
            finished = made.shell(*_agreed(made))
            assert finished.returncode in (0, 2), finished.stdout + finished.stderr
            assert made.aims() == made.at_replica
        else:
            assert made.aims() == made.at_primary
            assert not made.is_fenced
        assert made.nobody_is_paused


@pytest.mark.during("switchover: console killed")
def test_killed_while_fenced_the_same_command_goes_on(fresh: Pair) -> None:
    with fresh.primary.connect(APP_DATABASE) as writer, writer.transaction():
        writer.execute("CREATE TABLE elsewhere (n int)")
        process = fresh.shell.start(*_agreed(fresh, "--catch-up", "15s"))
        until(lambda: "fencing" in _stages(fresh) and fresh.is_fenced)
        process.kill()
        process.communicate(timeout=LIMIT_S)
        until(lambda: fresh.nobody_is_paused)
    assert not fresh.is_promoted
    done = fresh.shell(*_agreed(fresh))
    assert done.returncode == 0, done.stderr
    assert fresh.aims() == fresh.at_replica
    assert fresh.replica.value("SELECT count(*) FROM elsewhere", APP_DATABASE) == 0, "it was replayed"


def test_a_bouncer_whose_file_somebody_changes_is_told_and_can_be_finished(fresh: Pair) -> None:
    ini = fresh.bouncers["edge-1"].config_path
    done = fresh.shell(*_agreed(fresh, "--promote-command", _promoting(fresh, f"echo '; a remark' >> {ini}")))
    assert done.returncode == 1, done.stderr
    assert "replica is the primary, but this bouncer was not moved" in " ".join(done.stdout.split())
    assert "changed meanwhile" in " ".join(done.stdout.split())
    assert fresh.nobody_is_paused
    assert fresh.aims() == fresh.at_primary
    assert ini.read_text().endswith("; a remark\n")

    again = fresh.shell(*_agreed(fresh))
    assert again.returncode == 0, again.stderr
    assert fresh.aims() == fresh.at_replica
    assert ini.read_text().endswith("; a remark\n"), "everything else is kept"


def test_the_old_primary_is_stopped_and_a_command_moves_the_bouncers(fresh: Pair) -> None:
    ini = fresh.bouncers["edge-1"].config_path
    done = fresh.shell(
        *fresh.words(
            *("--stop-command", f"sh -c 'kill -INT $(head -1 {fresh.primary.data_dir}/postmaster.pid)'"),
            *("--retarget", "command"),
            *("--retarget-command", f"sed -i s/port={fresh.primary.port}/port={fresh.replica.port}/ {ini}"),
            fence="stop",
        ),
        *("--yes", "--confirm", "edge-1 0"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not fresh.primary.running
    assert fresh.aims() == fresh.at_replica
    assert _stages(fresh) == ["stopping", "promoting", "promoted"]


def test_a_line_that_nobody_has_used_is_found_by_its_file(workshop: Workshop, tmp_path: Path) -> None:
    with pair(workshop, tmp_path, (None, None)) as made:
        star = made.bouncers["edge-2"]
        star.databases = {"*": f"host={made.primary.host} port={made.primary.port}"}
        star.write_config()
        star.stop()
        star.start()
        done = made.shell(*made.approved())
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"port={made.replica.port}" in star.config_path.read_text()
        assert made.nobody_is_paused
        with star.connect() as client:
            assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        again = made.shell(*made.words("--plan"))
        assert again.returncode == 2
        assert "edge-2 lists nothing of the kind" in again.stderr


def test_no_password_is_left_anywhere(kept: Pair, workshop: Workshop) -> None:
    for role in (SUPERUSER, "worker", "app"):
        word = workshop.secrets.password(role)
        left = subprocess.run(
            ["grep", "-rlF", "-e", word, str(kept.shell.state), str(kept.primary.log_path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert left.stdout == ""
