"""A first inventory from a real configuration: complete, careful, and without one password."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.config.import_ini import Imported, import_ini
from console.config.load import load_inventory
from console.config.pgbouncer_ini import IniError, read_ini
from console.config.write import inventory_toml, write_inventory
from console.errors import UsageError

FULL = """\
;; a real one
[databases]
app = host=10.0.0.5 port=5433 dbname=app_main user=app password='s3cr et''1'
  archive=host=10.0.0.6
both = host=10.0.0.5,10.0.0.6 port=5433
local = pool_size=3
* = host=db.example.com
[users]
app = max_user_connections=10
[pgbouncer]
listen_addr = *
listen_port=6433
unix_socket_dir = /run/pgbouncer
client_tls_sslmode = require
auth_type = scram-sha-256
admin_users = adm, mon,other
stats_users = mon  reader
"""


def made(folder: Path, text: str, name: str = "pgbouncer.ini", **options: str) -> Imported:
    (folder / name).write_text(text)
    return import_ini([read_ini(folder / name)], **options)  # type: ignore[arg-type]


def test_what_an_ini_says_reaches_the_inventory(tmp_path: Path) -> None:
    inventory = made(tmp_path, FULL, name="edge.ini").inventory
    (bouncer,) = inventory.bouncers
    assert bouncer.name == inventory.fleet == "edge"
    assert (bouncer.tcp, bouncer.unix) == ("127.0.0.1:6433", None)
    assert bouncer.sslmode == "require"
    assert (bouncer.monitor_user, bouncer.admin_user) == ("reader", "adm")
    assert bouncer.password_from == "pgpass"
    assert bouncer.config_file == str(tmp_path / "edge.ini")
    assert bouncer.peer_group is None
    assert inventory.environment == "production"
    servers = {node.name: (node.address, node.databases, node.role) for node in inventory.postgres}
    assert servers == {
        "10.0.0.5": ("10.0.0.5:5433", ("app_main", "both"), "primary"),
        "10.0.0.6": ("10.0.0.6:5432", ("archive",), "primary"),
        "10.0.0.6-5433": ("10.0.0.6:5433", ("both",), "primary"),
        "postgres": ("/run/pgbouncer:5432", ("local",), "primary"),
        "db.example.com": ("db.example.com:5432", ("postgres",), "primary"),
    }


def test_no_password_is_copied_anywhere(tmp_path: Path) -> None:
    result = made(tmp_path, FULL)
    text = inventory_toml(result.inventory, comments=result.notices)
    assert "s3cr" not in text
    assert "password =" not in text


@pytest.mark.parametrize(
    "line",
    [
        "app = host=db password=correct hunter2",
        "app = host=db password=correct hunter2=",
        "app = host=db password=correct hunter2='",
        "app = host=db password='correct'hunter2 hunter2",
        "app = host=db password='correct hunter2",
        "hunter2 'and the rest of a password that was broken in two",
    ],
)
def test_part_of_a_password_without_quotes_is_in_no_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(IniError, match="syntax error") as caught:
        made(tmp_path, f"[databases]\n{line}\n{MAIN}")
    error = caught.value
    assert "hunter2" not in f"{error!r} {error} {error.hint}"
    assert error.where == f"{tmp_path}/pgbouncer.ini:2"


def test_guesses_are_told(tmp_path: Path) -> None:
    notices = "\n".join(made(tmp_path, FULL).notices)
    assert "reached at 127.0.0.1, so from this machine only" in notices
    assert 'role = "primary" is a guess' in notices
    assert "verify-full" in notices


def test_it_can_be_written_and_loaded_as_it_is(tmp_path: Path) -> None:
    result = made(tmp_path, FULL)
    path = tmp_path / "fleet.toml"
    write_inventory(path, result.inventory, comments=result.notices)
    again = load_inventory(path)
    assert [node.address for node in again.postgres] == [node.address for node in result.inventory.postgres]
    assert again.bouncers[0].tcp == "127.0.0.1:6433"


def test_through_a_host_everything_is_seen_from_there(tmp_path: Path) -> None:
    inventory = made(tmp_path, FULL, host="deploy@db1.example.com", name="a.ini").inventory
    assert {name: host.user for name, host in inventory.hosts.items()} == {"db1.example.com": "deploy"}
    nodes = [*inventory.bouncers, *inventory.postgres]
    assert {node.host for node in nodes} == {"db1.example.com"}
    assert not any("this machine only" in it for it in made(tmp_path, FULL, host="db1").notices)


PEER = """\
[databases]
app = host=10.0.0.5
[peers]
1 = host=/run/pg1
2 = host=/run/pg2 port=6433
3 = host=10.0.0.9 port=6434
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = 6432
so_reuseport = 1
peer_id = {number}
unix_socket_dir = /run/pg{number}
client_tls_sslmode = verify-full
admin_users = adm
"""


def test_peers_are_reached_each_at_its_own_socket_and_form_a_group(tmp_path: Path) -> None:
    result = made(tmp_path, PEER.format(number=1), name="edge.ini")
    addresses = {it.name: (it.address, it.peer_group, it.sslmode) for it in result.inventory.bouncers}
    assert addresses == {
        "edge": ("/run/pg1:6432", "edge-peers", None),
        "edge-peer2": ("/run/pg2:6433", "edge-peers", None),
        "edge-peer3": ("10.0.0.9:6434", "edge-peers", None),
    }
    assert [it.monitor_user for it in result.inventory.bouncers] == ["adm"] * 3
    assert sum("known from [peers] only" in notice for notice in result.notices) == 2
    assert any("stats_users is empty" in notice for notice in result.notices)


def test_several_files_are_several_bouncers(tmp_path: Path) -> None:
    inis = []
    for number in (1, 2):
        folder = tmp_path / f"edge-1{'ab'[number - 1]}"
        folder.mkdir()
        (folder / "pgbouncer.ini").write_text(PEER.format(number=number))
        inis.append(read_ini(folder / "pgbouncer.ini"))
    inventory = import_ini(inis, fleet="payments").inventory
    assert inventory.fleet == "payments"
    assert [it.name for it in inventory.bouncers] == ["edge-1a", "edge-1b", "edge-1a-peer3"]
    assert {it.peer_group for it in inventory.bouncers} == {"edge-1a-peers"}
    assert len(inventory.postgres) == 1
    with pytest.raises(UsageError, match="one name cannot serve"):
        import_ini(inis, name="x")


MAIN = "[pgbouncer]\nadmin_users = a\nstats_users = s\n"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ("listen_addr = 10.0.0.1\n", "10.0.0.1:6432"),
        ("listen_addr = 10.0.0.1, 127.0.0.1\nlisten_port = 7000\n", "127.0.0.1:7000"),
        ("listen_addr = ::\n", "[::1]:6432"),
        ("listen_addr = fe80::1\n", "[fe80::1]:6432"),
        ("listen_addr = 0.0.0.0\nunix_socket_dir = /run/x\n", "127.0.0.1:6432"),
        ("unix_socket_dir = /run/x/\n", "/run/x:6432"),
        ("", "/tmp:6432"),
        ("so_reuseport = 1\nlisten_addr = *\nunix_socket_dir =\n", "127.0.0.1:6432"),
    ],
)
def test_the_address_is_one_that_can_be_dialled(tmp_path: Path, settings: str, address: str) -> None:
    assert made(tmp_path, MAIN + settings).inventory.bouncers[0].address == address


@pytest.mark.parametrize(
    ("settings", "password_from", "monitor", "admin"),
    [
        (MAIN, "pgpass", "s", "a"),
        (f"{MAIN}auth_type = trust\n", None, "s", "a"),
        ("[pgbouncer]\nadmin_users = a\n", "pgpass", "a", "a"),
        ("[pgbouncer]\nstats_users = s\n", "pgpass", "s", None),
        ("[pgbouncer]\n", "pgpass", "pgbouncer", None),
    ],
)
def test_users_come_from_the_lists(
    tmp_path: Path, settings: str, password_from: str | None, monitor: str, admin: str | None
) -> None:
    (bouncer,) = made(tmp_path, settings).inventory.bouncers
    assert (bouncer.password_from, bouncer.monitor_user, bouncer.admin_user) == (
        password_from,
        monitor,
        admin,
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"{MAIN}listen_port = http\n", 4, "listen_port must be a number from 1 to 65535"),
        (f"{MAIN}client_tls_sslmode = maybe\nlisten_addr = *\n", 4, "client_tls_sslmode has no such value"),
        (f"{MAIN}[databases]\n\napp = host\n", 6, "syntax error in the connection string of app"),
        (f"{MAIN}[databases]\napp = host=x port=http\n", 5, "the port of app must be a number"),
        (f"{MAIN}peer_id = 1\n[peers]\n2 = port=1\n", 6, "peer 2 has no host"),
        (f"{MAIN}unix_socket_dir =\n", 4, "listens on no TCP address and on no Unix socket"),
    ],
)
def test_what_pgbouncer_would_refuse_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(IniError, match=message) as caught:
        made(tmp_path, text)
    assert caught.value.where == f"{tmp_path}/pgbouncer.ini:{line}"


def test_keys_given_twice_and_unknown_sections_are_told(tmp_path: Path) -> None:
    notices = made(tmp_path, f"{MAIN}listen_port = 1\nlisten_port = 2\n[extra]\n").notices
    assert f"{tmp_path}/pgbouncer.ini:5: listen_port of [pgbouncer] is at" in "\n".join(notices)
    assert "knows no section [extra]" in "\n".join(notices)


def test_names_that_cannot_be_names_are_made_so(tmp_path: Path) -> None:
    inventory = made(
        tmp_path, f"{MAIN}[databases]\na = host=/run/p\nb = host=fe80::1\n", name="my edge!.ini"
    ).inventory
    assert inventory.bouncers[0].name == "my-edge"
    assert [node.name for node in inventory.postgres] == ["postgres", "fe80-1"]
    (tmp_path / "latin.ini").write_bytes(f"{MAIN}[databases]\na = dbname=caf\xe9\n".encode("latin-1"))
    latin = import_ini([read_ini(tmp_path / "latin.ini")]).inventory
    assert latin.postgres[0].databases == ("caf\ufffd",)
    assert import_ini([read_ini(tmp_path / "latin.ini")], name="all").inventory.bouncers[0].name == "all-1"
