"""A lab's life: up twice, repaired, crashed half way, loaded, taken down; and nothing that is not its."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from console.errors import LabError, UsageError
from console.lab import load
from console.lab.bouncer import PgBouncerServer
from console.lab.fleet import Lab
from console.lab.ports import LOOPBACK
from console.lab.process import owner_of, read_stat, recorded, server_account, wait_until
from console.lab.sockets import command_line
from tests.faults.fault_kit import LabShell
from tests.harness.servers import MakeLab, MakePgBouncer, pgbouncer_executable


def _alive_in(directory: Path) -> list[str]:
    """Return the command lines of the servers' account that name the lab's folder."""
    uid = server_account().uid
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and owner_of(int(entry.name)) == uid:
            stat = read_stat(int(entry.name))
            line = " ".join(command_line(int(entry.name)))
            if str(directory) in line and stat is not None and stat.state not in "ZX":
                found.append(line)
    return found


def _answer(bouncer: PgBouncerServer) -> bool:
    try:
        with bouncer.connect("app", host=str(bouncer.socket_dir)) as client:
            return client.execute("SELECT 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def _loads(lab: Lab) -> list[str]:
    processes = Lab.status(lab.directory).processes
    return [process.name for process in processes if process.kind == "load" and process.pid]


def _pools(bouncer: PgBouncerServer) -> dict[tuple[str, str], dict[str, int]]:
    with bouncer.admin() as console:
        rows = console.execute("SHOW POOLS")
        names = [column.name for column in rows.description or ()]
        return {(row[0], row[1]): dict(zip(names, row, strict=True)) for row in rows.fetchall()}


def test_a_second_up_changes_nothing(make_lab: MakeLab) -> None:
    first = make_lab(bouncers=2)
    files = [first.directory / name for name in ("lab.json", "fleet.toml", "pgpass", "edge-1a/pgbouncer.ini")]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    pids = {name: server.pid for name, server in first.servers.items()}
    second = Lab.up(first.directory)
    assert second.started == ()
    assert {name: server.pid for name, server in second.servers.items()} == pids
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before


def test_two_ups_at_once_make_one_lab(make_lab: MakeLab) -> None:
    place = make_lab.place()
    with ThreadPoolExecutor(2) as pool:
        labs = list(pool.map(lambda _: Lab.up(place, 1), range(2)))
    assert sorted(len(lab.started) for lab in labs) == [0, 4]
    assert len({lab.primary.pid for lab in labs}) == 1


def test_up_mends_a_lab_that_is_half_dead_and_keeps_its_ports(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=3)
    inventory = lab.inventory_path.read_text()
    kept = {"primary": lab.primary.pid, "edge-1b": lab.bouncers["edge-1b"].pid}
    broken = ("replica", "sshd-core-1", "edge-1a", "core-1")
    for name in broken:
        lab.servers[name].kill()
    states = {process.name: process.state for process in Lab.status(lab.directory).processes}
    assert {name for name, state in states.items() if state == "dead"} == set(broken)
    mended = Lab.up(lab.directory)
    assert set(mended.started) == set(broken)
    assert {name: mended.servers[name].pid for name in kept} == kept
    assert mended.inventory_path.read_text() == inventory
    assert Lab.status(lab.directory).healthy
    assert all(_answer(bouncer) for bouncer in mended.bouncers.values())


def test_ports_taken_while_it_was_down_are_replaced_everywhere(make_lab: MakeLab) -> None:
    import socket

    lab = make_lab(bouncers=2)
    Lab.down(lab.directory)
    stolen = {lab.primary.port, lab.bouncers["edge-1a"].port, lab.hosts["edge-1"].port}
    thieves = [socket.create_server((LOOPBACK, port)) for port in stolen]
    try:
        again = Lab.up(lab.directory)
        assert not stolen & {server.port for server in again.servers.values()}
        assert all(_answer(bouncer) for bouncer in again.bouncers.values())
        assert {entry.listen_port for entry in again.inventory.bouncers} == {again.bouncers["edge-1a"].port}
        assert again.inventory.hosts["edge-1"].port == again.hosts["edge-1"].port
    finally:
        for thief in thieves:
            thief.close()


def test_bouncers_that_run_follow_a_primary_that_moved(make_lab: MakeLab) -> None:
    import socket

    lab = make_lab(bouncers=2)
    pids = {name: bouncer.pid for name, bouncer in lab.bouncers.items()}
    lab.primary.kill()
    with socket.create_server((LOOPBACK, lab.primary.port)):
        moved = Lab.up(lab.directory)
    assert moved.primary.port != lab.primary.port
    assert {name: bouncer.pid for name, bouncer in moved.bouncers.items()} == pids
    assert all(wait_until(lambda b=b: _answer(b), timeout_s=10) for b in moved.bouncers.values())  # type: ignore[misc]
    streams = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'"
    assert wait_until(lambda: bool(moved.primary.value(streams)), timeout_s=20, poll_s=0.1)


def test_down_ends_all_of_its_own_and_nothing_else(make_lab: MakeLab, make_pgbouncer: MakePgBouncer) -> None:
    bystander = make_pgbouncer(databases={})
    lab, other = make_lab(bouncers=1), make_lab(bouncers=1)
    ended = Lab.down(lab.directory)
    assert set(ended) == {"primary", "replica", "sshd-edge-1", "edge-1a"}
    assert _alive_in(lab.directory) == []
    assert not Lab.status(lab.directory).running
    assert bystander.running
    assert Lab.status(other.directory).healthy
    assert Lab.down(lab.directory) == ()


def test_down_never_signals_a_pid_that_was_recycled(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=1)
    Lab.down(lab.directory)
    account = server_account()
    with subprocess.Popen(["sleep", "60"], user=account.uid if account.switch else None) as bystander:
        state = json.loads((lab.directory / "lab.json").read_text())
        for record in state["servers"]:
            record |= {"pid": bystander.pid, "start_ticks": 1}
        (lab.directory / "lab.json").write_text(json.dumps(state))
        assert Lab.down(lab.directory) == ()
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("moment", ["sshd-edge-1", "tool-primary-initdb", "replica", "core-1"])
def test_down_cleans_up_after_an_up_that_was_killed(make_lab: MakeLab, moment: str) -> None:
    place = make_lab.place()
    command = [sys.executable, "-m", "console.cli.main", "lab", "up", "--dir", str(place), "--bouncers", "3"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as starting:
        reached = wait_until(
            lambda: recorded(place / "run", moment) is not None or starting.poll() is not None,
            timeout_s=30,
            poll_s=0.002,
        )
        starting.kill()
        assert starting.stderr is not None
        said = starting.stderr.read().decode()
    assert reached
    assert starting.returncode == -signal.SIGKILL, said
    Lab.down(place)
    assert _alive_in(place) == []
    assert len(Lab.up(place).started) == 7
    assert Lab.status(place).healthy


def test_down_works_without_its_state_file(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=1)
    (lab.directory / "lab.json").write_text("{ half a fi")
    assert set(Lab.down(lab.directory)) == {"primary", "replica", "sshd-edge-1", "edge-1a"}
    assert _alive_in(lab.directory) == []


def test_a_bouncer_started_anew_by_its_own_command_is_still_the_labs(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=1)
    bouncer = lab.bouncers["edge-1a"]
    bouncer.kill()
    process = lab.inventory.bouncers[0].process
    assert process is not None
    assert process.start_command is not None
    account = server_account()
    uid, gid = (account.uid, account.gid) if account.switch else (None, None)
    said = subprocess.run(
        process.start_command, check=False, timeout=20, user=uid, group=gid, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert wait_until(lambda: Lab.status(lab.directory).healthy, timeout_s=10)
    assert Lab.up(lab.directory).started == ()
    assert "edge-1a" in Lab.down(lab.directory)
    assert _alive_in(lab.directory) == []


def test_up_brings_back_a_bouncer_that_shuts_down(make_lab: MakeLab) -> None:
    """Also one that its clients, or an open console, keep from exiting."""
    _, executable = pgbouncer_executable("1.26")
    lab = make_lab(bouncers=2, pgbouncer=[executable])
    before = lab.bouncers["edge-1a"].pid
    told: list[str] = []
    with lab.bouncers["edge-1a"].admin() as console:
        console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
        states = {process.name: process.state for process in Lab.status(lab.directory).processes}
        assert (states["edge-1a"], states["edge-1b"]) == ("draining", "running")
        again = Lab.up(lab.directory, progress=told.append)
    assert again.started == ("edge-1a",)
    assert told[0] == "ending edge-1a: told to shut down"
    assert again.bouncers["edge-1a"].pid not in (None, before)
    assert all(_answer(bouncer) for bouncer in again.bouncers.values())


def test_load_moves_every_bouncer_and_makes_a_queue_on_tiny(make_lab: MakeLab) -> None:
    lab = make_lab(load_s=60)

    def queued() -> bool:
        pool = _pools(lab.bouncers["core-1"]).get(("tiny", "app"))
        return pool is not None and pool["cl_waiting"] >= 4 and pool["sv_active"] == 2

    def moves(bouncer: PgBouncerServer) -> bool:
        with bouncer.admin() as console:
            rows = console.execute("SHOW STATS").fetchall()
        return any(row[0] == "app" and row[1] > 10 for row in rows)

    assert wait_until(queued, timeout_s=20, poll_s=0.1)
    for bouncer in lab.bouncers.values():
        assert wait_until(lambda one=bouncer: moves(one), timeout_s=20, poll_s=0.1), bouncer  # type: ignore[misc]
    long_open = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    assert wait_until(lambda: bool(lab.primary.value(long_open)), timeout_s=10, poll_s=0.1)
    words = [lab.secrets.password(role) for role in ("app", "worker", "reports")]
    assert not [line for line in _alive_in(lab.directory) for word in words if word in line]
    ended = Lab.down(lab.directory)
    assert [name for name in ended if name.startswith("load-")]
    assert _alive_in(lab.directory) == []


def test_load_ends_by_itself_even_on_a_paused_bouncer(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "GRACE_S", 2)
    lab = make_lab(bouncers=1, load_s=2)
    with lab.bouncers["edge-1a"].admin() as console:
        console.execute("PAUSE")
        assert _loads(lab)
        assert wait_until(lambda: not _loads(lab), timeout_s=15, poll_s=0.1)
        assert Lab.status(lab.directory).load_ends_at_s is None
        assert Lab.status(lab.directory).healthy
        console.execute("RESUME")
    Lab.up(lab.directory, load_s=60)
    assert _loads(lab)


def test_bouncers_of_several_versions_in_turn(make_lab: MakeLab) -> None:
    found = [pgbouncer_executable(line) for line in ("1.24", "1.26", "1.18")]
    lab = make_lab(bouncers=4, pgbouncer=[path for _, path in found])
    said = {}
    for name, bouncer in lab.bouncers.items():
        with bouncer.admin() as console:
            said[name] = console.execute("SHOW VERSION").fetchone()
    turns = [version for version, _ in found]
    expected = zip(lab.bouncers, [*turns, turns[0]], strict=True)
    assert said == {name: (f"PgBouncer {version}",) for name, version in expected}
    with lab.bouncers["edge-1b"].admin() as console:
        peers = {(row[0], row[2]) for row in console.execute("SHOW PEERS").fetchall()}
    assert peers == {(1, lab.bouncers["edge-1a"].port), (2, lab.bouncers["edge-1b"].port)}


def test_a_running_lab_refuses_to_become_another(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=1)
    with pytest.raises(LabError, match="runs with 1 bouncers") as refused:
        Lab.up(lab.directory, bouncers=2)
    assert "lab down" in (refused.value.hint or "")
    Lab.down(lab.directory)
    assert len(Lab.up(lab.directory, bouncers=2).bouncers) == 2


def test_a_folder_that_holds_something_else_is_refused(make_lab: MakeLab) -> None:
    place = make_lab.place()
    place.mkdir()
    (place / "thesis.txt").write_text("two years of work")
    with pytest.raises(LabError, match="not a lab"):
        Lab.up(place)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_a_folder_the_servers_cannot_enter_is_refused(make_lab: MakeLab) -> None:
    closed = make_lab.place()
    closed.mkdir(mode=0o600)
    with pytest.raises(LabError, match="may not enter"):
        Lab.up(closed / "lab")
    # An ordinary user could not clean it up otherwise.
    closed.chmod(0o700)


def test_a_path_too_long_for_sockets_is_refused(make_lab: MakeLab) -> None:
    with pytest.raises(LabError, match="too long"):
        Lab.up(make_lab.place() / ("x" * 90))


def test_a_path_that_the_servers_cannot_write_down_is_refused_before_anything_starts(
    make_lab: MakeLab,
) -> None:
    place = make_lab.place() / "sp ace"
    with pytest.raises(LabError, match="take no such path"):
        Lab.up(place)
    assert not place.exists()


@pytest.mark.parametrize(("bouncers", "load_s"), [(0, None), (33, None), (1, 0), (1, 86_401)])
def test_numbers_that_make_no_sense_are_refused(make_lab: MakeLab, bouncers: int, load_s: int | None) -> None:
    with pytest.raises(UsageError):
        Lab.up(make_lab.place(), bouncers, load_s)


def test_a_failed_up_leaves_nothing_running(make_lab: MakeLab, tmp_path: Path) -> None:
    place = make_lab.place()
    broken = tmp_path / "pgbouncer"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo PgBouncer 1.24.0 || exit 7\n')
    broken.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if str(folder) != "/tmp":
            folder.chmod(0o711)
    with pytest.raises(LabError, match="ended at once"):
        Lab.up(place, pgbouncer=[broken])
    assert _alive_in(place) == []


def test_sessions_of_a_crashed_host_are_ended_too(make_lab: MakeLab) -> None:
    lab = make_lab(bouncers=1)
    host = lab.inventory.hosts["edge-1"]
    command = ["ssh", "-F", "none", "-i", str(host.identity_file), "-p", str(host.port)]
    command += ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={host.known_hosts_file}"]
    with subprocess.Popen(
        [*command, f"{host.user}@{host.hostname}", "echo in; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        listener = lab.hosts["edge-1"]
        listener.send_signal(signal.SIGKILL)
        assert wait_until(lambda: not listener.running, timeout_s=5)
        assert session.poll() is None
        Lab.down(lab.directory)
        assert session.wait(timeout=5) == 255


def test_a_lab_that_was_worked_on_is_put_right(make_lab: MakeLab, tmp_path: Path) -> None:
    """Switched over, switched back and rotated with its own inventory, as anybody would in `lab demo`."""
    lab = make_lab(bouncers=1)
    with LabShell(lab, tmp_path) as shell:
        for old, new in (("primary", "replica"), ("replica", "primary")):
            agreed = ("--fence", "read-only", "--yes", "--confirm", "edge-1a 0")
            done = shell("switchover", old, "--to", new, *agreed)
            assert done.returncode == 0, done.stdout + done.stderr
            assert Lab.status(lab.directory).healthy
            told: list[str] = []
            lab = Lab.up(lab.directory, progress=told.append)
            assert lab.started == (old,), told
            assert f"making {old} a replica of {new}, which was promoted" in told
            assert Lab.up(lab.directory).started == ()
            assert lab.servers[old].value("SELECT pg_is_in_recovery()")  # type: ignore[attr-defined]
            with lab.bouncers["edge-1a"].connect("app") as client:
                client.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
                client.execute("INSERT INTO kept VALUES (1)")
            roles = {node.name: node.role for node in lab.inventory.postgres}
            assert roles == {new: "primary", old: "replica"}
        with lab.bouncers["edge-1a"].connect("app") as client:
            assert client.execute("SELECT count(*) FROM kept").fetchone() == (2,)

        secret = tmp_path / "secret"
        keep = f"command:sh -c 'umask 077; cat >{secret}'"
        where = ("--secret-from", "generate", "--secret-to", keep)
        done = shell("rotate", "app", *where, "--yes", "--confirm", "edge-1a")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not _answer(lab.bouncers["edge-1a"])
        told = []
        Lab.up(lab.directory, progress=told.append)
        assert told == ["put right: the password of app"]
        assert wait_until(lambda: _answer(lab.bouncers["edge-1a"]), timeout_s=5)
