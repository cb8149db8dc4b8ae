"""A keeper's folder: ours alone or none, written whole, locked for as long as its keeper lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.operations.lease import keeper_host
from console.operations.lease.keeper_host import CONTROL, RESULT, STATE, Folder, HostTrouble


@pytest.fixture
def parent(tmp_path: Path) -> str:
    return str(tmp_path / "keepers")


def test_it_is_ours_alone(parent: str) -> None:
    folder = Folder.make("a1-edge", [parent])
    folder.write(STATE, {"pid": 1})
    assert [os.stat(path).st_mode & 0o777 for path in (parent, folder.path)] == [0o700, 0o700]
    assert os.stat(os.path.join(folder.path, STATE)).st_mode & 0o777 == 0o600


def test_what_others_could_have_made_is_not_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    link, shared, good = tmp_path / "link", tmp_path / "shared", tmp_path / "good"
    link.symlink_to(elsewhere)
    shared.mkdir()
    shared.chmod(0o770)
    with pytest.raises(HostTrouble, match="ours alone"):
        Folder.make("a1-edge", [str(link), str(shared)])
    assert list(elsewhere.iterdir()) == []
    assert Folder.make("a1-edge", [str(link), str(good)]).path == str(good / "a1-edge")
    (good / "b2-edge").symlink_to(elsewhere)
    with pytest.raises(HostTrouble):
        Folder.make("b2-edge", [str(good)])


@pytest.mark.parametrize("key", ["", ".", "..", "../a", "a/b", "a b", "-a", "a\n"])
def test_no_name_leads_out_of_it(parent: str, key: str) -> None:
    with pytest.raises(HostTrouble):
        Folder.make(key, [parent])


def test_a_living_keeper_s_folder_is_taken_by_nobody(parent: str) -> None:
    folder = Folder.make("a1-edge", [parent])
    with pytest.raises(HostTrouble, match="already"):
        Folder.make("a1-edge", [parent])
    folder.write(RESULT, {"of": "an earlier one"})
    os.close(folder.lock)
    again = Folder.make("a1-edge", [parent])
    assert os.listdir(again.path) == []


def test_a_child_holds_the_lock_when_its_parent_has_gone(parent: str) -> None:
    script = (
        "import os, sys, time\n"
        "from console.operations.lease.keeper_host import Folder\n"
        f"Folder.make('a1-edge', [{parent!r}])\n"
        "child = os.fork()\n"
        "if child:\n"
        "    print(child, flush=True)\n"
        "    os._exit(0)\n"
        "os.closerange(0, 3)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    try:
        with pytest.raises(HostTrouble, match="already"):
            Folder.make("a1-edge", [parent])
    finally:
        os.kill(int(done.stdout), 9)


def test_lines_are_heard_once_and_none_is_lost(parent: str) -> None:
    folder = Folder.make("a1-edge", [parent])
    assert folder.take_control() == []
    Path(folder.path, CONTROL).write_text("held 7\nrenew 3\n")
    assert folder.take_control() == ["held 7", "renew 3"]
    assert folder.take_control() == []


def test_a_result_is_all_that_stays(parent: str) -> None:
    folder = Folder.make("a1-edge", [parent])
    folder.write(STATE, {})
    Path(folder.path, CONTROL).write_text("renew 3\n")
    folder.finish({"outcome": "resumed"})
    assert os.listdir(folder.path) == [RESULT]


def test_a_full_disk_stops_no_keeper(parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.make("a1-edge", [parent])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper_host, "_write", full)
    folder.write(STATE, {"pid": 1})
    folder.finish({"outcome": "resumed"})
    assert os.listdir(folder.path) == []


def test_a_runtime_folder_that_is_not_ours_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o755)
    assert len(keeper_host.roots()) == 1
    tmp_path.chmod(0o700)
    assert len(keeper_host.roots()) == 2
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert len(keeper_host.roots()) == 1
