"""Reading an inventory: every mistake at once, each where it stands; defaults and paths filled in."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from console.config.load import load_inventory
from console.config.mistakes import _OTHER_WORDS, keys_at, nearest_key
from console.config.schema import Inventory
from console.errors import InventoryError

GOOD = """\
fleet = "payments"
environment = "staging"

[defaults]
monitor_user = "monitor"
sslmode = "require"
sslrootcert = "tls/ca.pem"
password_from = "pgpass:secrets/pgpass"
connect_timeout_s = 2
labels = { team = "core", zone = "x" }

[hosts.db1]
user = "deploy"
identity_file = "~/.ssh/fleet"
known_hosts_file = "known_hosts"

[[bouncers]]
name = "edge-1a"
host = "db1"
unix = "/run/pgbouncer-1"
port = 6432
labels = { zone = "a" }

[[bouncers]]
name = "edge-2"
tcp = "10.0.0.2:6432"
sslrootcert = "system"
sslmode = "verify-full"
query_timeout_s = 1.5
monitor_user = "other"
password_from = "env:EDGE"

[[bouncers]]
name = "local"
unix = "run"
port = 6432

[[postgres]]
name = "pg-1"
role = "primary"
tcp = "10.0.0.9:5432"
databases = ["app"]
user = "reader"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path


def told(folder: Path, text: str) -> list[str]:
    """Return the problems as the user reads them, without the file's folder."""
    with pytest.raises(InventoryError) as caught:
        load_inventory(write(folder, text))
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1
    return GOOD.replace(old, new, 1)


def test_defaults_reach_every_node_that_says_nothing(tmp_path: Path) -> None:
    inventory = load_inventory(write(tmp_path, GOOD))
    edge, direct, _ = inventory.bouncers
    assert (edge.monitor_user, direct.monitor_user) == ("monitor", "other")
    assert edge.connect_timeout_s == 2
    assert (edge.query_timeout_s, direct.query_timeout_s) == (5.0, 1.5)
    assert edge.labels == {"team": "core", "zone": "a"}
    postgres = inventory.postgres[0]
    assert postgres.sslmode == "require"
    assert postgres.password_from == f"pgpass:{tmp_path}/secrets/pgpass"
    assert postgres.labels == {"team": "core", "zone": "x"}


def test_a_fleet_wide_sslmode_does_not_reach_unix_sockets(tmp_path: Path) -> None:
    edge = load_inventory(write(tmp_path, GOOD)).bouncers[0]
    assert (edge.sslmode, edge.sslrootcert) == (None, None)


def test_a_nodes_own_password_source_beats_the_defaults_for_both_users(tmp_path: Path) -> None:
    text = changed("connect_timeout_s = 2", 'admin_password_from = "env:ADMIN"\nadmin_user = "root"')
    edge, direct, _ = load_inventory(write(tmp_path, text)).bouncers
    assert edge.admin_password_from == "env:ADMIN"
    assert (direct.password_from, direct.admin_password_from) == ("env:EDGE", None)


def test_local_paths_count_from_the_inventory_and_remote_ones_stay(tmp_path: Path) -> None:
    inventory = load_inventory(write(tmp_path, GOOD))
    host = inventory.hosts["db1"]
    assert host.identity_file == Path.home() / ".ssh/fleet"
    assert host.known_hosts_file == tmp_path / "known_hosts"
    edge, direct, local = inventory.bouncers
    assert edge.unix == Path("/run/pgbouncer-1")
    assert direct.sslrootcert == Path("system")
    assert local.unix == tmp_path / "run"
    assert inventory.postgres[0].sslrootcert == tmp_path / "tls/ca.pem"


WRONG = """\
fleet = "x"
enviroment = "production"
[defaults]
sslmod = "require"
[hosts.db1]
jump = "bastion"
port = "22"
[[bouncers]]
name = "edge-1a"
host = "db2"
tpc = "127.0.0.1:6432"
sslmode = "requre"
[[bouncers]]
name = "edge-1a"
unix = "/run/x"
labels = { "zo ne" = "a" }
[bouncers.process]
kind = "systemd"
sudo = "yes"
[[bouncers]]
tcp = "localhost"
admin_user = ""
[[bouncers]]
name = "all"
tcp = "127.0.0.1:6432"
port = 5
connect_timeout_s = true
identity_file = "x"
monitor_user = "m"
[[postgres]]
name = "p"
role = "leader"
tcp = "127.0.0.1:70000"
databases = "a"
"""

_SOURCES = "a role of this bouncer's stats_users: it reads the numbers"
_MISSING = f"monitor_user is missing, here and in [defaults] ({_SOURCES})"
_ADDRESS = 'must be "address:port" with a port from 1 to 65535; an IPv6 address stands in brackets'
_MODES = "disable, allow, prefer, require, verify-ca, verify-full"
TOLD = [
    "fleet.toml:2: enviroment: unknown key (did you mean environment?)",
    "fleet.toml:4: defaults.sslmod: unknown key (did you mean sslmode?)",
    "fleet.toml:6: hosts.db1.jump: unknown key (did you mean proxy_jump?)",
    "fleet.toml:7: hosts.db1.port: must be a whole number, without quotes",
    f"fleet.toml:8: bouncers[edge-1a]: {_MISSING}",
    "fleet.toml:10: bouncers[edge-1a].host: there is no [hosts.db2] (did you mean db1?)",
    "fleet.toml:11: bouncers[edge-1a].tpc: unknown key (did you mean tcp?)",
    "fleet.toml:12: bouncers[edge-1a].sslmode: 'requre' is not valid "
    f"(did you mean require? valid: {_MODES})",
    "fleet.toml:13: bouncers[edge-1a]: unix needs port, the number in the socket's name .s.PGSQL.PORT",
    f"fleet.toml:13: bouncers[edge-1a]: {_MISSING}",
    "fleet.toml:14: bouncers[edge-1a].name: 'edge-1a' is already the name of number 1 in bouncers",
    'fleet.toml:16: bouncers[edge-1a].labels."zo ne": '
    "a label's name must be letters, digits, '_', '-' and '.'",
    "fleet.toml:17: bouncers[edge-1a].process: kind = 'systemd' needs 'unit'",
    "fleet.toml:19: bouncers[edge-1a].process.sudo: must be true or false, without quotes",
    f"fleet.toml:20: bouncers[#3]: {_MISSING}",
    "fleet.toml:20: bouncers[#3].name: is missing (a name of your choice, used in selectors)",
    f"fleet.toml:21: bouncers[#3].tcp: {_ADDRESS}",
    "fleet.toml:22: bouncers[#3].admin_user: must not be empty",
    "fleet.toml:23: bouncers[all]: port goes with unix; with tcp it stands in the address",
    "fleet.toml:24: bouncers[all].name: 'all' is a word of selectors, so no node can have it",
    "fleet.toml:27: bouncers[all].connect_timeout_s: must be a number of seconds, without quotes",
    "fleet.toml:28: bouncers[all].identity_file: unknown key here (it belongs in [hosts.NAME])",
    "fleet.toml:32: postgres[p].role: 'leader' is not valid (valid: primary, replica)",
    f"fleet.toml:33: postgres[p].tcp: {_ADDRESS}",
    'fleet.toml:34: postgres[p].databases: must be a list, as in ["a", "b"]',
]


def test_all_mistakes_are_told_at_once_with_line_key_and_nearest(tmp_path: Path) -> None:
    assert told(tmp_path, WRONG) == TOLD


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('environment = "staging"\n', "", "environment: is missing (development, staging or production"),
        ('"staging"', '"prod"', "environment: 'prod' is not valid (did you mean production?"),
        ('host = "db1"', 'host = "db9"', "bouncers[edge-1a].host: there is no [hosts.db9]"),
        ("port = 6432", "port = 99999", "bouncers[edge-1a].port: must be from 1 to 65535"),
        ("port = 6432", "port = true", "bouncers[edge-1a].port: must be a whole number"),
        ("connect_timeout_s = 2", "connect_timeout_s = 0", "defaults.connect_timeout_s: must be above 0"),
        ('name = "edge-1a"', 'name = "edge 1a"', "bouncers[edge 1a].name: must be letters, digits"),
        ("[[bouncers]]", '[hosts."d 1"]\n[[bouncers]]', 'hosts."d 1": the name must be letters, digits'),
        ('"/run/pgbouncer-1"', '"run/x"', "bouncers[edge-1a].unix: must be absolute: it is a directory on"),
        (
            'unix = "/run/pgbouncer-1"',
            'sslmode = "require"\nunix = "/x"',
            "bouncers[edge-1a].sslmode: libpq speaks no TLS on a Unix socket",
        ),
        ('sslmode = "verify-full"', 'sslmode = "require"', 'sslrootcert = "system" needs sslmode'),
        ("[[postgres]]", "[postgres]", "postgres: must be written [[postgres]], with two brackets"),
        ('databases = ["app"]', "databases = []", "postgres[pg-1].databases: must not be empty"),
        (
            'user = "reader"',
            'listen_addr = "*"',
            "postgres[pg-1].listen_addr: unknown key (did you mean tcp?)",
        ),
        ('tcp = "10.0.0.9', 'unix = "/x"\nport = 1\ntcp = "a', "postgres[pg-1]: needs either tcp"),
    ],
)
def test_one_mistake_is_one_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    (line,) = told(tmp_path, changed(old, new))
    assert problem in line


@pytest.mark.trap("T21")
def test_two_bouncers_at_one_address_are_a_mistake(tmp_path: Path) -> None:
    one = 'monitor_user = "m"\ntcp = "localhost:6432"\n'
    other = 'monitor_user = "m"\ntcp = "127.0.0.1:6432"\n'
    head = 'fleet = "f"\nenvironment = "staging"\n'
    text = f'{head}[[bouncers]]\nname = "a"\n{one}[[bouncers]]\nname = "b"\n{other}'
    (line,) = told(tmp_path, text)
    assert line.startswith("fleet.toml:10: bouncers[b].tcp: is the address of a too")
    assert "so_reuseport" in line
    through = text.replace('name = "b"', 'name = "b"\nhost = "h"') + "[hosts.h]\n"
    assert len(load_inventory(write(tmp_path, through)).bouncers) == 2


def test_a_fleet_without_bouncers_is_told_so(tmp_path: Path) -> None:
    assert told(tmp_path, 'fleet = "f"\nenvironment = "staging"\n') == [
        "fleet.toml: bouncers: there is no bouncer to look after (add a [[bouncers]] table)"
    ]
    assert told(tmp_path, 'fleet = "f"\nenvironment = "staging"\n[[bouncer]]\nname = "a"\n') == [
        "fleet.toml:3: bouncer: unknown key (did you mean bouncers?)"
    ]


@pytest.mark.parametrize("key", ["password", "admin_password", "pgpassword", "passwd", "api_token", "secret"])
def test_a_password_in_the_inventory_is_refused_and_never_repeated(tmp_path: Path, key: str) -> None:
    (line,) = told(tmp_path, changed('user = "reader"', f'{key} = "hunter2"'))
    assert "never stored in the inventory" in line
    assert "password_from" in line
    assert "hunter2" not in line


def test_a_password_put_where_its_source_belongs_is_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load_inventory(write(tmp_path, changed('"env:EDGE"', '"hunter2"')))
    (problem,) = caught.value.problems
    assert problem.key == "bouncers[edge-2].password_from"
    assert "env:NAME" in str(problem)
    assert "hunter2" not in f"{problem!r} {caught.value!r} {caught.value} {caught.value.__cause__}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "line", "column", "hint"),
    [
        ('fleet = "a"\nenvironment = staging\n', 2, 15, "texts stand in quotes"),
        ("fleet = \n", 1, 9, None),
        ("[hosts\n", 1, 7, None),
        ('fleet = "a', 1, 11, None),
    ],
)
def test_what_is_not_toml_is_placed_by_line_and_column(
    tmp_path: Path, text: str, line: int, column: int, hint: str | None
) -> None:
    with pytest.raises(InventoryError) as caught:
        load_inventory(write(tmp_path, text))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.hint) == (line, column, hint)
    assert str(problem).startswith(f"{tmp_path}/fleet.toml:{line}:{column}: not TOML: ")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.toml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InventoryError) as caught:
            load_inventory(path)
        assert words in str(caught.value.problems[0])
    broken = tmp_path / "latin.toml"
    broken.write_bytes('fleet = "a"\n# caf\xe9\n'.encode("latin-1"))
    with pytest.raises(InventoryError) as caught:
        load_inventory(broken)
    assert str(caught.value.problems[0]) == f"{broken}:2: is not UTF-8 text (save the file as UTF-8)"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_inventory(path).fleet == "payments"


def test_no_valid_key_is_corrected_into_another() -> None:
    tables = ((), ("defaults",), ("hosts", "h"), ("bouncers", 0), ("bouncers", 0, "process"), ("postgres", 0))
    for table in tables:
        assert keys_at(table)
        for key in keys_at(table):
            assert nearest_key(key, table) == key
    assert all(keys_at(("bouncers", 0)) and other for other in _OTHER_WORDS.values())


def test_the_good_example_is_good(tmp_path: Path) -> None:
    assert Inventory.model_validate(tomllib.loads(GOOD)).fleet == load_inventory(write(tmp_path, GOOD)).fleet


def test_brackets_without_an_end_are_told_in_words(tmp_path: Path) -> None:
    place = tmp_path / "fleet.toml"
    place.write_text("a = " + "[" * 5000, encoding="ascii")
    assert "nest too deeply" in _only_message(place)


def test_a_device_without_an_end_is_refused() -> None:
    assert _only_message(Path("/dev/zero")) == "cannot be read: it is larger than 16 MiB"


def _only_message(place: Path) -> str:
    with pytest.raises(InventoryError) as caught:
        load_inventory(place)
    (problem,) = caught.value.problems
    return problem.message
