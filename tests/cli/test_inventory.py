"""`pooldeck inventory check` and `import` as a shell sees them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from console.cli.main import main
from console.config.load import load_inventory

GOOD = """\
fleet = "payments"
environment = "staging"
defaults.monitor_user = "monitor"
hosts.db1 = {}
[[bouncers]]
name = "a"
host = "db1"
unix = "/run/a"
port = 6432
[[bouncers]]
name = "b"
host = "db1"
unix = "/run/b"
port = 6432
[[bouncers]]
name = "c"
tcp = "10.0.0.1:6432"
[[postgres]]
name = "pg"
role = "primary"
tcp = "10.0.0.2:5432"
"""
INI = """\
[databases]
app = host=10.0.0.5 password=hunter2
%include more.ini
"""
MORE = """\
[pgbouncer]
listen_addr = 10.0.0.1
admin_users = adm
stats_users = mon
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Run:
    """Runs the command line in this process, from the shell's words to the exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["pooldeck", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = self._capsys.readouterr()
        return Ended(int(stopped.value.code or 0), printed.out, printed.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return Run(monkeypatch, capsys)


def test_check_says_what_is_there(run: Run) -> None:
    Path("fleet.toml").write_text(GOOD)
    ended = run("inventory", "check")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("ok: 3 bouncers on 2 hosts, 1 Postgres node (")


def test_check_tells_every_mistake_and_ends_with_2(run: Run) -> None:
    Path("other.toml").write_text(
        GOOD.replace('"staging"', '"stagin"').replace('host = "db1"', 'hosts = "db1"')
    )
    for words in (("inventory", "check", "other.toml"), ("--fleet", "other.toml", "inventory", "check")):
        ended = run(*words)
        assert (ended.code, ended.out) == (2, "")
        lines = ended.err.splitlines()
        assert lines[0].startswith("other.toml:2: environment: 'stagin' is not valid (did you mean staging?")
        assert lines[1:3] == [
            "other.toml:7: bouncers[a].hosts: unknown key (did you mean host?)",
            "other.toml:12: bouncers[b].hosts: unknown key (did you mean host?)",
        ]
        assert "3 mistakes in the inventory" in lines[-1]


def test_without_an_inventory_the_places_and_the_next_step_are_told(run: Run) -> None:
    ended = run("inventory", "check")
    assert ended.code == 2
    for words in ("--fleet", "$POOLDECK_FLEET", "/here/fleet.toml", "pooldeck inventory import", "make demo"):
        assert words in ended.err


def test_import_prints_an_inventory_and_its_guesses_apart(run: Run) -> None:
    Path("edge.ini").write_text(INI)
    Path("more.ini").write_text(MORE)
    ended = run("inventory", "import", "edge.ini", "--environment", "staging", "--fleet-name", "pay")
    assert ended.code == 0
    Path("fleet.toml").write_text(ended.out)
    inventory = load_inventory(Path("fleet.toml"))
    assert (inventory.fleet, inventory.environment) == ("pay", "staging")
    assert [(it.name, it.tcp) for it in inventory.bouncers] == [("edge", "10.0.0.1:6432")]
    assert ended.err.startswith("check: postgres 10.0.0.5: ")
    assert "hunter2" not in ended.out + ended.err
    assert run("inventory", "check").code == 0


def test_import_writes_a_file_and_never_over_another(run: Run) -> None:
    Path("edge.ini").write_text(INI)
    Path("more.ini").write_text(MORE)
    ended = run("inventory", "import", "edge.ini", "-o", "fleet.toml", "--name", "edge-1a", "--host", "db1")
    assert (ended.code, ended.out) == (0, "")
    assert "wrote fleet.toml: 1 bouncer on 1 host, 1 Postgres node" in ended.err
    assert "next: read it through, then pooldeck --fleet fleet.toml inventory ping" in ended.err
    assert load_inventory(Path("fleet.toml")).bouncers[0].host == "db1"
    before = Path("fleet.toml").read_text()
    again = run("inventory", "import", "edge.ini", "-o", "fleet.toml")
    assert again.code == 2
    assert "exists already" in again.err
    assert "--force" in again.err
    assert Path("fleet.toml").read_text() == before
    assert run("inventory", "import", "edge.ini", "-o", "fleet.toml", "--force").code == 0
    assert Path("fleet.toml").read_text() != before


@pytest.mark.parametrize("victim", ["edge.ini", "databases.ini", "link.toml"])
def test_import_never_replaces_the_configuration_it_reads(run: Run, victim: str) -> None:
    Path("edge.ini").write_text(
        "[pgbouncer]\nlisten_addr = 10.0.0.1\nadmin_users = a\n%include databases.ini\n"
    )
    Path("databases.ini").write_text("[databases]\napp = host=db\n")
    Path("link.toml").symlink_to("edge.ini")
    before = Path(victim).read_text()
    refused = run("inventory", "import", "edge.ini", "-o", victim, "--force")
    assert refused.code == 2
    assert "is the PgBouncer configuration that is read here" in refused.err
    assert Path(victim).read_text() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pgbouncer]\nlisten_port 6432\n", "edge.ini:2: syntax error after listen_port: '=' expected"),
        ("[pgbouncer]\n%include gone.ini\n", "edge.ini:2: the included file"),
        (
            "[pgbouncer]\n%include edge.ini\n",
            "edge.ini:2: includes nest deeper than 10 (they go in a circle)",
        ),
        (
            "[pgbouncer]\nlisten_addr = *\n[databases]\na = password=hunter2 host\n",
            "edge.ini:4: syntax error",
        ),
    ],
)
def test_import_tells_a_bad_file_by_line(run: Run, text: str, words: str) -> None:
    Path("edge.ini").write_text(text)
    ended = run("inventory", "import", "edge.ini")
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "hunter2" not in ended.err
    assert "Traceback" not in ended.err


def test_import_of_an_absent_file_is_told(run: Run) -> None:
    ended = run("inventory", "import", "gone.ini")
    assert ended.code == 2
    assert "gone.ini: the file cannot be read: No such file or directory" in ended.err
