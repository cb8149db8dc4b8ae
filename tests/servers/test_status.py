"""`pooldeck status` as a user runs it, on a real lab."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console.lab.fleet import Lab
from console.lab.secrets import ADMIN
from tests.cli.test_status import BOUNCER_KEYS, POOL_KEYS, POSTGRES_KEYS
from tests.harness.faults import killed

LIMIT_S = 40


def pooldeck(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "console.cli.main", "--fleet", str(lab.inventory_path), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
    )


def status(lab: Lab, *arguments: str) -> dict[str, Any]:
    done = pooldeck(lab, "status", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_whole_lab_as_json(lab: Lab) -> None:
    first = next(iter(lab.bouncers.values()))
    # By its own socket: the port is its peer's too (so_reuseport).
    with first.connect(host=str(first.socket_dir)) as client:
        client.execute("SELECT 1")
        found = status(lab, "--interval", "0.3")
    assert list(found) == ["fleet", "environment", "taken_at", "bouncers", "postgres"]
    age_s = (datetime.now(UTC) - datetime.fromisoformat(found["taken_at"])).total_seconds()
    assert 0 <= age_s < LIMIT_S
    assert [one["name"] for one in found["bouncers"]] == list(lab.bouncers)
    for bouncer in found["bouncers"]:
        assert list(bouncer) == BOUNCER_KEYS
        assert bouncer["state"] in ("up", "reachable")
        assert (bouncer["error"], bouncer["phase"]) == (None, None)
        assert bouncer["version"] == str(lab.bouncers[bouncer["name"]].version)
        assert bouncer["transactions_per_s"] is not None
    # Others may have used the shared lab before: its other pools are theirs.
    pools = {(pool["database"], pool["user"]): pool for pool in found["bouncers"][0]["pools"]}
    mine = pools["app", "app"]
    assert list(mine) == POOL_KEYS
    assert mine["cl_active"] == 1
    assert mine["pool_size"] == 10
    assert ("pgbouncer", "pgbouncer") not in pools
    primary, replica = found["postgres"]
    assert list(primary) == POSTGRES_KEYS
    assert (primary["role"], primary["state"], primary["replication_lag_s"]) == ("primary", "up", None)
    assert (replica["role"], replica["state"]) == ("replica", "up")
    assert replica["replication_lag_s"] is not None
    assert primary["backends"] > 0
    assert primary["version"] == lab.primary.version


def test_a_selector_and_a_paused_database(lab: Lab) -> None:
    name, server = next(iter(lab.bouncers.items()))
    with server.admin(ADMIN) as console:
        console.execute('PAUSE "app"')
        try:
            found = status(lab, "--interval", "0.1", f"{name},primary")
        finally:
            console.execute('RESUME "app"')
    assert [one["name"] for one in found["bouncers"]] == [name]
    assert found["bouncers"][0]["state"] == "db paused"
    assert [one["name"] for one in found["postgres"]] == ["primary"]


def test_a_bouncer_that_is_down_is_data_unless_strict(lab: Lab) -> None:
    name, server = list(lab.bouncers.items())[-1]
    with killed(server):
        found = status(lab, "--interval", "0.1")
        strict = pooldeck(lab, "status", "--interval", "0.1", "--strict")
    down = found["bouncers"][-1]
    assert (down["name"], down["state"], down["phase"]) == (name, "unreachable", "connect")
    assert "refused" in down["error"].lower()
    assert down["clients_active"] is None
    assert down["pools"] is None
    assert all(one["error"] is None for one in found["bouncers"][:-1])
    assert strict.returncode == 1
    assert f"{name}: connect: " in strict.stdout
    assert "Traceback" not in strict.stderr


def test_strict_is_content_when_all_answer(lab: Lab) -> None:
    assert pooldeck(lab, "status", "--interval", "0.1", "--strict").returncode == 0


def test_the_other_forms(lab: Lab) -> None:
    name = next(iter(lab.bouncers))
    table = pooldeck(lab, "status", "--interval", "0.1")
    assert table.returncode == 0
    assert table.stdout.splitlines()[2].split()[:3] == ["BOUNCER", "STATE", "VERSION"]
    rows = list(csv.DictReader(io.StringIO(pooldeck(lab, "status", "--csv", "--interval", "0.1").stdout)))
    assert [row["name"] for row in rows] == list(lab.bouncers)
    plain = pooldeck(lab, "status", "--plain", "--interval", "0.1", name)
    assert f"bouncer {name} state: " in plain.stdout


def test_mistakes_on_the_command_line_end_with_2_and_words(lab: Lab) -> None:
    for arguments, words in (
        (("--json", "--csv"), "exclude one another"),
        (("no-such-node",), "matches no node"),
        (("all/no_such_database", "--interval", "0.1"), "no such database"),
    ):
        done = pooldeck(lab, "status", *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stdout == ""
