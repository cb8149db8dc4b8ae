"""What is written can be read again and says the same; a file is replaced only when told, and whole."""

from __future__ import annotations

import os
import threading
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.policy_schema import Policies, Rules
from console.config.schema import Bouncer, Defaults, Host, Inventory, PostgresNode, Process
from console.config.write import inventory_toml, write_inventory
from console.errors import UsageError

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
_TEXTS = st.text(min_size=1, max_size=8).filter(lambda text: text == text.strip())
_LABELS = st.dictionaries(_NAMES, _TEXTS, max_size=2)
_PLACES = st.one_of(
    st.builds(lambda port: {"tcp": f"10.0.0.1:{port}"}, st.integers(1, 65535)),
    st.builds(lambda port: {"unix": "/run/x y", "port": port}, st.integers(1, 65535)),
)
_PROCESS = st.none() | st.builds(
    lambda unit, sudo: Process(kind="systemd", unit=unit, sudo=sudo), _TEXTS, st.booleans()
)
_BOUNCERS = st.builds(
    lambda name, place, labels, user, process: Bouncer(
        name=name, labels=labels, monitor_user=user, process=process, **place
    ),
    _NAMES,
    _PLACES,
    _LABELS,
    st.none() | _TEXTS,
    _PROCESS,
)
_SERVERS = st.builds(
    lambda name, place, databases: PostgresNode(
        name=name, role="replica", databases=tuple(databases), **place
    ),
    _NAMES,
    _PLACES,
    st.lists(_TEXTS, min_size=1, max_size=3),
)
_VERBS = st.lists(st.sampled_from(["pause", "kill", "set"]), max_size=2, unique=True).map(tuple)
_RULES = {
    "forbid": st.none() | _VERBS,
    "max_targets": st.none() | st.integers(1, 9),
    "require_reason": st.none() | _VERBS,
    "tiers": st.dictionaries(st.sampled_from(["pause", "kill"]), st.just("cut"), max_size=2),
}
_POLICIES = st.builds(Policies, **_RULES, production=st.builds(Rules, **_RULES))
_INVENTORIES = st.builds(
    lambda bouncers, servers, hosts, labels, timeout_s, policy: Inventory(
        fleet="f",
        environment="staging",
        defaults=Defaults(labels=labels, connect_timeout_s=timeout_s),
        hosts=hosts,
        bouncers=tuple(bouncers),
        postgres=tuple(servers),
        policy=policy,
    ),
    st.lists(_BOUNCERS, max_size=3),
    st.lists(_SERVERS, max_size=2),
    st.dictionaries(_NAMES, st.builds(Host, user=st.none() | _TEXTS), max_size=2),
    _LABELS,
    st.floats(0.1, 60),
    _POLICIES,
)


@settings(deadline=None)
@given(_INVENTORIES)
def test_what_is_written_reads_back_the_same(inventory: Inventory) -> None:
    assert Inventory.model_validate(tomllib.loads(inventory_toml(inventory))) == inventory


SMALL = Inventory(
    fleet="f",
    environment="staging",
    hosts={"db1": Host()},
    bouncers=(Bouncer(name="edge", host="db1", unix=Path("/run"), port=1, labels={"zone": "a"}),),
)


def test_it_is_written_for_people() -> None:
    assert inventory_toml(SMALL, comments=["Made by hand.", ""]) == (
        "# Made by hand.\n#\n\n"
        'fleet = "f"\nenvironment = "staging"\n\n'
        "[hosts.db1]\n\n"
        '[[bouncers]]\nname = "edge"\nhost = "db1"\nunix = "/run"\nport = 1\n\n'
        '[bouncers.labels]\nzone = "a"\n'
    )


def test_a_file_is_never_replaced_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "here/fleet.toml"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already, and nothing was written"):
        write_inventory(path, SMALL)
    assert path.read_text() == "mine"
    write_inventory(path, SMALL, force=True)
    assert path.read_text() == inventory_toml(SMALL)
    assert [entry.name for entry in path.parent.iterdir()] == ["fleet.toml"]


def test_replacing_a_link_writes_where_it_points(tmp_path: Path) -> None:
    real = tmp_path / "shared.toml"
    real.write_text("old")
    link = tmp_path / "fleet.toml"
    link.symlink_to(real)
    write_inventory(link, SMALL, force=True)
    assert link.is_symlink()
    assert real.read_text() == inventory_toml(SMALL)


def test_a_reader_sees_the_old_text_or_the_new_one_and_nothing_between(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    write_inventory(path, SMALL)
    big = SMALL.model_copy(update={"bouncers": SMALL.bouncers * 200})
    whole = {inventory_toml(SMALL), inventory_toml(big)}
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        write_inventory(path, big if turn % 2 else SMALL, force=True)
    stop.set()
    reader.join(timeout=20)
    assert seen
    assert seen <= whole


def test_the_mode_is_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_inventory(tmp_path / "fleet.toml", SMALL)
    finally:
        os.umask(before)
    assert (tmp_path / "fleet.toml").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write_inventory(tmp_path / "none/fleet.toml", SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        write_inventory(tmp_path / "file/fleet.toml", SMALL)
