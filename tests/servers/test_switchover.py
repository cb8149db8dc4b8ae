"""`pooldeck switchover` on a primary, its replica and real bouncers: what goes well, and every way it does not."""

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
        with pair(workshop, tmp_path_factory.mktemp("kept")) as made:
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
    return [*made.words(*more), "--yes", "--confirm", f"edge-1 {clients}"]


def _is_as_before(made: Pair) -> None:
    assert made.nobody_is_paused
    assert made.aims() == made.at_primary
    assert not made.is_fenced
    assert not made.is_promoted
    with made.bouncers["edge-1"].connect() as client:
        assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def _stages(made: Pair) -> list[str]:
    return [record["stage"] for record in made.shell.records("switchover")]


@contextlib.contextmanager
def _replay_paused(made: Pair) -> Iterator[None]:
    made.replica.value("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        made.replica.value("SELECT pg_wal_replay_resume()")


# -- it goes well -----------------------------------------------------------------------------------


def test_under_load_nothing_fails_and_nothing_is_lost(workshop: Workshop, tmp_path: Path) -> None:
    with pair(workshop, tmp_path, PGBOUNCER_LINES) as made:
        words = passfile(workshop.secrets, tmp_path)
        groups = [g for name, one in made.bouncers.items() for g in every_kind(one, words, prefix=f"{name} ")]
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


def test_a_bouncer_that_does_not_drain_is_resumed(kept: Pair) -> None:
    before = _stages(kept)
    with open_transaction(kept.bouncers["edge-1"]):
        done = kept.shell(*_agreed(kept, "--timeout", "1", clients=1))
    assert done.returncode == 1, done.stderr
    assert "not complete within 1 s" in " ".join(done.stdout.split())
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
        until(lambda: kept.shell.paused())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "replica was not promoted" in " ".join(out.split())
    _is_as_before(kept)


def test_killed_before_the_promotion_its_guardian_resumes(kept: Pair) -> None:
    with _replay_paused(kept):
        process = kept.shell.start(*_agreed(kept, "--catch-up", "15s"))
        until(lambda: kept.shell.paused())
        process.kill()
        process.communicate(timeout=LIMIT_S)
        until(lambda: kept.nobody_is_paused)
    _is_as_before(kept)


def test_what_is_wrong_is_said_by_the_plan(kept: Pair) -> None:
    def plan(*more: str) -> str:
        return " ".join(kept.shell(*more, "--plan").stdout.split())

    assert "no probe_user" not in plan(*kept.words())
    turned = ["switchover", "replica", "--to", "primary", "--fence", "none"]
    assert kept.shell(*turned, "--plan").returncode == 2, "nothing leads to the replica"
    away = plan(*kept.words("--to-address", "10.0.0.9:5432"))
    assert "host 127.0.0.1 → 10.0.0.9" in away or "10.0.0.9:5432" in away
    for words, reason in (
        (("switchover", "primary", "--to", "replica", "--fence", "stop"), "--stop-command go together"),
        (("switchover", "primary", "--to", "primary", "--fence", "none"), "is no other Postgres node"),
        (("switchover", "primary", "--to", "replica"), "--fence"),
        (("switchover", "edge-1", "--to", "replica", "--fence", "none"), "moves a Postgres node"),
    ):
        wrong = kept.shell(*words)
        assert wrong.returncode == 2
        assert reason in " ".join(wrong.stderr.split())


# -- after the promotion ----------------------------------------------------------------------------


def _promoting(made: Pair, then: str) -> str:
    """Return a command that promotes the replica as another program would, and does something more."""
    psql = program("psql", "postgresql-client")
    where = f"host={made.replica.host} port={made.replica.port} user={SUPERUSER} dbname=postgres"
    words = f"PGPASSFILE={made.replica.pgpass_path} {psql} -qAtd '{where}' -c 'SELECT pg_promote()'"
    return f"sh -c {shlex.quote(f'{words} >/dev/null && {then}')}"


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
