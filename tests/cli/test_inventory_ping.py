"""`pooldeck inventory ping` against a real fleet: each way to fail is told with its phase, alone."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from console.config.load import load_inventory
from console.config.schema import Bouncer, Host, Inventory, PostgresNode
from console.config.write import write_inventory
from console.lab.fleet import Lab
from console.lab.tls import CertificateAuthority
from tests.cli.test_inventory import Run
from tests.harness.servers import Workshop

BOUNCERS = ("edge-1a", "edge-1b", "core-1", "tls-1")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.fixture
def inventory(lab: Lab) -> Inventory:
    return load_inventory(lab.inventory_path)


@pytest.fixture
def broken(inventory: Inventory, tmp_path: Path) -> Callable[..., Path]:
    """Write the lab's inventory with some entries changed: `broken(hosts=…, bouncers=…, postgres=…)`."""

    def write(
        hosts: Mapping[str, Mapping[str, Any]] | None = None,
        bouncers: Mapping[str, Mapping[str, Any]] | None = None,
        postgres: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        def host(name: str, entry: Host) -> Host:
            return entry.model_copy(update=dict((hosts or {}).get(name, {})))

        def bouncer(entry: Bouncer) -> Bouncer:
            return entry.model_copy(update=dict((bouncers or {}).get(entry.name, {})))

        def server(entry: PostgresNode) -> PostgresNode:
            return entry.model_copy(update=dict((postgres or {}).get(entry.name, {})))

        changed = inventory.model_copy(
            update={
                "hosts": {name: host(name, entry) for name, entry in inventory.hosts.items()},
                "bouncers": tuple(bouncer(entry) for entry in inventory.bouncers),
                "postgres": tuple(server(entry) for entry in inventory.postgres),
            }
        )
        path = tmp_path / "fleet.toml"
        write_inventory(path, changed)
        return path

    return write


def first_failure(document: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return (hop, phase, error) of the first hop that failed, by node."""
    found = {}
    for node in document["nodes"]:
        failed = [hop for hop in node["hops"] if hop["ok"] is False]
        assert node["ok"] is not bool(failed)
        if failed:
            found[node["name"]] = (failed[0]["hop"], failed[0]["phase"], failed[0]["error"])
    return found


def test_a_whole_fleet_answers(run: Run, lab: Lab) -> None:
    ended = run("--fleet", lab.inventory_path, "inventory", "ping")
    assert ended.code == 0, ended
    assert ended.err == ""
    lines = ended.out.splitlines()
    assert lines[0].split() == ["NODE", "HOP", "ADDRESS", "RESULT", "TIME"]
    assert re.search(r"^edge-1a +ssh edge-1 .* ok +\d+ ms$", ended.out, re.MULTILINE)
    assert re.search(r"console as pooldeck_admin .* ok .* PgBouncer 1\.\d+", ended.out)
    assert re.search(
        r"^replica +login as pooldeck_monitor .* ok .* PostgreSQL \d+\.\d+, replica$", ended.out, re.M
    )
    assert lines[-1] == "6 of 6 nodes answer"


def test_every_hop_is_in_the_json(run: Run, lab: Lab) -> None:
    ended = run("--fleet", lab.inventory_path, "inventory", "ping", "--json", "@zone=b,edge-1a")
    assert ended.code == 0, ended
    document = json.loads(ended.out)
    assert (document["fleet"], document["environment"], document["ok"]) == ("lab", "development", True)
    hops = {node["name"]: [hop["hop"] for hop in node["hops"]] for node in document["nodes"]}
    logins = ["console as pooldeck_monitor", "console as pooldeck_admin"]
    assert hops == {
        "edge-1a": ["ssh edge-1", *logins],
        "core-1": ["ssh core-1", *logins],
        "tls-1": logins,
        "replica": ["login as pooldeck_monitor"],
    }
    assert all(hop["ok"] and hop["elapsed_ms"] > 0 for node in document["nodes"] for hop in node["hops"])


def test_each_fault_is_told_with_its_phase_and_the_others_answer(
    run: Run, broken: Callable[..., Path], inventory: Inventory, tmp_path: Path
) -> None:
    primary = inventory.postgres[0]
    wrong = tmp_path / "pgpass"
    wrong.write_text("*:*:*:*:wrong-hunter2\n")
    wrong.chmod(0o600)
    path = broken(
        hosts={"core-1": {"port": 1}},
        bouncers={
            "edge-1a": {"unix": tmp_path / "nowhere"},
            "edge-1b": {"monitor_password_from": f"pgpass:{wrong}"},
            "tls-1": {"tcp": primary.tcp, "sslmode": "disable"},
        },
        postgres={"replica": {"password_from": "env:NO_SUCH_VARIABLE"}},
    )
    ended = run("--fleet", path, "inventory", "ping", "--json")
    assert ended.code == 1, ended
    found = first_failure(json.loads(ended.out))
    phases = {name: (hop, phase) for name, (hop, phase, _) in found.items()}
    assert phases == {
        "core-1": ("ssh core-1", "ssh"),
        "edge-1a": ("console as pooldeck_monitor", "tunnel"),
        "edge-1b": ("console as pooldeck_monitor", "auth"),
        "tls-1": ("console as pooldeck_monitor", "protocol"),  # Postgres, where a pooler should be
        "replica": ("login as pooldeck_monitor", "credentials"),
    }
    assert "hunter2" not in ended.out + ended.err
    table = run("--fleet", path, "inventory", "ping")
    assert table.code == 1
    assert "FAILED: tunnel" in table.out
    assert "next: " in table.out
    assert "a hop before it failed" in table.out
    assert table.out.rstrip().endswith("1 of 6 nodes answer; not edge-1a, edge-1b, core-1, tls-1, replica")


def test_a_certificate_of_another_authority_is_a_tls_fault(
    run: Run, broken: Callable[..., Path], workshop: Workshop
) -> None:
    other = CertificateAuthority(workshop.place("ca"), workshop.launcher)
    path = broken(bouncers={"tls-1": {"sslrootcert": other.cert_path}})
    ended = run("--fleet", path, "inventory", "ping", "--json", "tls-1")
    assert ended.code == 1
    assert first_failure(json.loads(ended.out))["tls-1"][1] == "tls"


def test_an_admin_user_that_is_none_is_found_before_the_first_operation(
    run: Run, broken: Callable[..., Path]
) -> None:
    path = broken(bouncers={"edge-1a": {"admin_user": "pooldeck_monitor", "monitor_user": "pooldeck_admin"}})
    ended = run("--fleet", path, "inventory", "ping", "--json", "edge-1a")
    assert ended.code == 1
    hop, phase, error = first_failure(json.loads(ended.out))["edge-1a"]
    assert (hop, phase) == ("console as pooldeck_monitor", "auth")
    assert "is no admin here" in error


def test_without_an_admin_user_nothing_fails_and_it_is_said(
    run: Run, broken: Callable[..., Path], lab: Lab, tmp_path: Path
) -> None:
    text = lab.inventory_path.read_text().replace('admin_user = "pooldeck_admin"\n', "")
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    ended = run("--fleet", path, "inventory", "ping", "edge-1a")
    assert ended.code == 0, ended
    assert "not tried" in ended.out
    assert "no admin_user in the inventory: operations are refused" in ended.out


def test_a_role_that_is_not_as_the_inventory_says_is_told(run: Run, broken: Callable[..., Path]) -> None:
    path = broken(postgres={"replica": {"role": "primary"}})
    ended = run("--fleet", path, "inventory", "ping", "replica")
    assert ended.code == 0
    assert "replica; the inventory says primary" in ended.out


def test_a_selector_that_matches_nothing_is_a_usage_error(run: Run, lab: Lab) -> None:
    ended = run("--fleet", lab.inventory_path, "inventory", "ping", "edge-9")
    assert (ended.code, ended.out) == (2, "")
    assert "'edge-9' matches no node" in ended.err


def test_what_import_makes_of_the_lab_answers(
    run: Run, lab: Lab, inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (inventory.defaults.password_from or "").removeprefix("pgpass:")
    monkeypatch.setenv("PGPASSFILE", source)
    path = tmp_path / "imported.toml"
    files = [bouncer.config_file for bouncer in inventory.bouncers]
    assert run("inventory", "import", *files, "-o", path).code == 0
    ended = run("--fleet", path, "inventory", "ping", ",".join(BOUNCERS))
    assert ended.code == 0, ended
    assert ended.out.rstrip().endswith("4 of 4 nodes answer")


def test_on_a_terminal_progress_is_shown_and_taken_away(lab: Lab) -> None:
    primary, secondary = pty.openpty()
    words = [
        sys.executable,
        "-m",
        "console.cli.main",
        "--fleet",
        str(lab.inventory_path),
        "inventory",
        "ping",
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=secondary, stdin=subprocess.DEVNULL)
    os.close(secondary)
    try:
        out, _ = process.communicate(timeout=60)
        err = _drained(primary)
    finally:
        process.kill()
        os.close(primary)
    assert process.returncode == 0
    assert b"6 of 6 nodes answer" in out
    assert b"\x1b" not in out
    assert "0 of 6; waiting for edge-1a, edge-1b" in err
    assert err.endswith("\r\x1b[K")


def _drained(descriptor: int) -> str:
    """Return what a terminal holds; the other end is closed, so a read does not wait."""
    text = b""
    while select.select([descriptor], [], [], 5)[0]:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    return text.decode()
