"""`pooldeck lab` as a user meets it: words, tables and exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

from console.lab.fleet import Lab
from console.lab.process import recorded, wait_until
from tests.harness.servers import MakeLab


def _pooldeck(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "console.cli.main", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL
    )


def test_up_status_down(make_lab: MakeLab) -> None:
    place = str(make_lab.place())
    up = _pooldeck("lab", "up", "--dir", place, "--bouncers", "1")
    assert (up.returncode, up.stdout) == (0, f"{place}/fleet.toml\n"), up.stderr
    assert "4 processes started" in up.stderr
    again = _pooldeck("lab", "up", "--dir", place)
    assert (again.returncode, again.stdout) == (0, up.stdout)
    assert "nothing to start" in again.stderr

    table = _pooldeck("lab", "status", "--dir", place)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "PID", "STATE", "PORT", "VERSION"]
    assert [line.split()[0] for line in lines[1:]] == ["primary", "replica", "sshd-edge-1", "edge-1a"]
    said = json.loads(_pooldeck("lab", "status", "--dir", place, "--json").stdout)
    assert said["healthy"] is True
    assert said["inventory"] == f"{place}/fleet.toml"
    kept = json.loads(Path(place, "lab.json").read_text())
    for process in said["processes"]:
        record = next(server for server in kept["servers"] if server["name"] == process["name"])
        assert (process["pid"], process["port"]) == (record["pid"], record["port"])
        assert process["version"] == record["version"] != ""
        assert process["state"] == "running"

    down = _pooldeck("lab", "down", "--dir", place)
    assert down.returncode == 0
    assert "ended edge-1a, sshd-edge-1, replica, primary" in down.stderr
    dead = _pooldeck("lab", "status", "--dir", place)
    assert dead.returncode == 1
    assert "running" not in dead.stdout
    assert _pooldeck("lab", "down", "--dir", place).returncode == 0


def test_mistakes_are_told_in_words(make_lab: MakeLab, tmp_path: Path) -> None:
    place = str(make_lab.place())
    nothing = _pooldeck("lab", "status", "--dir", place)
    assert (nothing.returncode, nothing.stdout) == (1, f"there is no lab in {place}\n")
    wrong = _pooldeck("lab", "up", "--dir", place, "--pgbouncer", str(tmp_path / "none"))
    assert wrong.returncode == 2
    assert "not an executable file" in wrong.stderr
    many = _pooldeck("lab", "up", "--dir", place, "--bouncers", "99")
    assert many.returncode == 2
    assert "1 to 32" in many.stderr
    assert "Traceback" not in wrong.stderr + many.stderr


def test_the_demo_without_a_terminal_prints_the_fleet_and_takes_it_down(make_lab: MakeLab) -> None:
    place = make_lab.place()
    demo = _pooldeck("lab", "demo", "--dir", str(place))
    assert demo.returncode == 0, demo.stderr
    for name in ("edge-1a", "edge-1b", "core-1", "tls-1", "primary", "replica"):
        assert name in demo.stdout
    assert not Lab.status(place).running


def test_a_demo_that_is_hung_up_takes_the_lab_down(make_lab: MakeLab) -> None:
    place = make_lab.place()
    command = [sys.executable, "-m", "console.cli.main", "lab", "demo", "--dir", str(place)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as demo:
        assert wait_until(lambda: recorded(place / "run", "edge-1a") is not None, timeout_s=30)
        os.kill(demo.pid, signal.SIGHUP)
        _, said = demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert b"Traceback" not in said
    assert not Lab.status(place).running


def test_a_demo_whose_terminal_is_closed_takes_the_lab_down(make_lab: MakeLab) -> None:
    place = make_lab.place()
    near, far = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "console.cli.main",
        "lab",
        "demo",
        "--dir",
        str(place),
        "--bouncers",
        "1",
    ]
    environment = {**os.environ, "TERM": "xterm-256color"}
    # A session of its own, so that closing the near end hangs the terminal up for all of it.
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=far, stdout=far, stderr=far, env=environment
    ) as demo:
        os.close(far)
        drawn = b""
        while b"edge-1a" not in drawn or b"1 of 1 answer" not in drawn:
            assert select.select([near], [], [], 60)[0], drawn[-500:]
            drawn += os.read(near, 65536)
        os.close(near)
        demo.wait(60)
    assert wait_until(
        lambda: not any(p.state == "running" for p in Lab.status(place).processes), timeout_s=20
    )
