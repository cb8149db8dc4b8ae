"""`pooldeck switchover` of nodes that Patroni runs: a FAKE Patroni, a real PostgreSQL pair, real bouncers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console.lab.postgres import APP_DATABASE
from tests.harness.clients import ClientLoad, ledger
from tests.harness.servers import Workshop
from tests.servers.load_kit import every_kind, passfile
from tests.servers.patroni_kit import WORD, FakePatroni, forwarder
from tests.servers.switchover_kit import Pair, pair


@contextlib.contextmanager
def by_patroni(
    workshop: Workshop, folder: Path, *, ini: dict[str, Any] | None = None, fake: FakePatroni | None = None
) -> Iterator[tuple[Pair, FakePatroni]]:
    patroni = fake or FakePatroni()
    try:
        with pair(workshop, folder, ini=ini, of_nodes=patroni.inventory()) as made:
            made.shell.environ["PATRONI_WORD"] = WORD
            patroni.use(made.primary, made.replica)
            yield made, patroni
    finally:
        patroni.close()


@pytest.fixture(scope="module")
def kept(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, FakePatroni]]:
    """For tests after which everything is as before."""
    runtime = tempfile.mkdtemp(prefix="pd-x", dir="/tmp")
    try:
        with by_patroni(workshop, tmp_path_factory.mktemp("kept")) as made:
            made[0].shell.environ["XDG_RUNTIME_DIR"] = runtime
            yield made
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


def _agreed(made: Pair, *more: str) -> list[str]:
    return [*made.words(*more, fence="patroni"), "--yes", "--confirm", "edge-1 0"]


def _is_as_before(made: Pair) -> None:
    assert made.nobody_is_paused
    assert made.aims() == made.at_primary
    assert not made.is_promoted
    with made.bouncers["edge-1"].connect() as client:
        assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)


def _stages(made: Pair) -> list[str]:
    return [record["stage"] for record in made.shell.records("switchover")]


# -- it is not done ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refused", "Patroni refuses the switchover: switchover is not possible: no good candidates"),
        ("failed", "Patroni has given the switchover up: Switchover failed"),
    ],
)
def test_what_patroni_does_not_do_is_undone(kept: tuple[Pair, FakePatroni], fault: str, reason: str) -> None:
    made, patroni = kept
    patroni.fault = fault
    done = made.shell(*_agreed(made))
    assert done.returncode == 1, done.stderr
    told = " ".join(done.stdout.split())
    assert reason in told
    assert "replica was not promoted, primary stays the primary" in told
    assert _stages(made)[-2:] == ["promoting", "undone"]
    _is_as_before(made)


def test_a_patroni_that_says_nothing_leaves_it_open(kept: tuple[Pair, FakePatroni]) -> None:
    """Clients are let go at their time; what Patroni will do nobody knows."""
    made, patroni = kept
    patroni.fault = "silent"
    done = made.shell(*_agreed(made, "--within", "3s"))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "was told to become a primary and has not within 3 s" in " ".join(done.stdout.split())
    assert "/cluster" in done.stdout, "where to look"
    _is_as_before(made)


def test_a_leader_that_patroni_does_not_know_as_one_is_refused_before(
    kept: tuple[Pair, FakePatroni],
) -> None:
    made, patroni = kept
    patroni.leader = "pg-two"
    try:
        code, lines = made.shell.json_lines(*made.words("--plan", fence="patroni"))
    finally:
        patroni.leader = "pg-one"
    assert code == 0, lines
    assert lines[0]["blocked"] == "edge-1: in Patroni pg-two leads, not pg-one (primary)"


def test_its_password_is_left_nowhere(kept: tuple[Pair, FakePatroni]) -> None:
    made, _ = kept
    left = subprocess.run(
        ["grep", "-rlF", "-e", WORD, str(made.shell.state)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert left.stdout == ""


# -- it is done -------------------------------------------------------------------------------------


@pytest.mark.under_load("switchover")
def test_patroni_does_it_under_load_and_nothing_is_lost(workshop: Workshop, tmp_path: Path) -> None:
    with by_patroni(workshop, tmp_path) as (made, patroni):
        words = passfile(workshop.secrets, tmp_path)
        groups = every_kind(made.bouncers["edge-1"], words, prefix="")[:2]
        with ClientLoad(groups, tmp_path / "clients.log") as load:
            plan = made.words(fence="patroni")
            code, lines = made.shell.json_lines(*plan, "--plan")
            assert code == 0, lines
            assert any("/switchover, pg-one to pg-two" in note for note in lines[0]["targets"][0]["notes"])
            done = made.shell(*plan, "--approve", lines[0]["hash"])
        assert done.returncode == 0, done.stderr
        assert load.report.total.failed == {}, load.report.table()
        with made.replica.connect(APP_DATABASE) as session:
            assert ledger.differences(session, load.report) == []
        assert patroni.asked == [{"leader": "pg-one", "candidate": "pg-two"}]
        assert "Patroni: pg-two leads, pg-one is replica, streaming" in " ".join(done.stdout.split())
        assert made.aims() == made.at_replica
        assert made.primary.value("SELECT pg_is_in_recovery()")
        assert not made.is_fenced, "Patroni's own stop was the fence"
        assert _stages(made) == ["promoting", "promoted"]
        assert WORD not in done.stdout + done.stderr


def test_a_proxy_moves_the_address_late_and_patronis_answer_is_lost(
    workshop: Workshop, tmp_path: Path
) -> None:
    patroni = FakePatroni()
    patroni.fault, patroni.moves_after_s = "lost", 1.0
    with forwarder(patroni.address) as port:
        ini = {"databases": {"app": f"host=127.0.0.1 port={port} dbname=app"}}
        with by_patroni(workshop, tmp_path, ini=ini, fake=patroni) as (made, _):
            words = _agreed(made, "--retarget", "none", "--from-address", f"127.0.0.1:{port}")
            before = made.bouncers["edge-1"].config_path.read_bytes()
            done = made.shell(*words)
            assert done.returncode == 0, done.stdout + done.stderr
            assert made.is_promoted
            assert made.nobody_is_paused
            assert made.bouncers["edge-1"].config_path.read_bytes() == before
            assert made.aims() == {("127.0.0.1", port)}
            assert "a client's login through it reached replica" in " ".join(done.stdout.split())
            with made.bouncers["edge-1"].connect() as client:
                assert client.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
