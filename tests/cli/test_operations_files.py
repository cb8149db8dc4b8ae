"""Plans as files: readable by those who approve, replaced only by plans, and who made them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from console.cli import saved_plans
from console.cli.saved_plans import COPIES_KEPT, keep_copy, read_approval, save_plan
from console.config.paths import XdgPaths
from console.errors import UsageError

HASH = "0123456789abcdef" * 4
SOMEBODY = 4242
"""A user id that is nobody's."""


def document(**more: Any) -> dict[str, Any]:
    return {
        "type": "plan",
        "format": 1,
        "made_by": "alice",
        "op": "pause",
        "selector": "all",
        "parameters": {},
        "fleet": "f",
        "environment": "production",
        "rollout": {},
        "hash": HASH,
        "made_at": 1.0,
        "waves": [],
        "targets": [],
        "unreachable": [],
        **more,
    }


def given_to(path: Path, uid: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, uid, -1)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    save_plan(path, document())
    return path


def test_a_saved_plan_can_be_read_by_the_one_who_approves_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        save_plan(tmp_path / "plan.json", document())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plan.json").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["plan.json"]


def test_only_a_plan_is_replaced(plan: Path, tmp_path: Path) -> None:
    save_plan(plan, document(selector="edge"))
    assert json.loads(plan.read_text())["selector"] == "edge"
    letter = tmp_path / "letter.txt"
    letter.write_text("dear all")
    link = tmp_path / "link"
    link.symlink_to(letter)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (letter, link, dangling, tmp_path, pipe):
        with pytest.raises(UsageError, match="is there and no plan, so it is left alone"):
            save_plan(path, document())
    assert letter.read_text() == "dear all"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        save_plan(tmp_path / "nowhere" / "plan.json", document())


def test_copies_are_the_users_own_and_only_the_newest_stay() -> None:
    for number in range(COPIES_KEPT + 5):
        keep_copy(document(hash=f"{number:064x}"))
        os.utime(XdgPaths().state / "plans" / f"{number:064x}.json", ns=(number, number))
    folder = XdgPaths().state / "plans"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == COPIES_KEPT
    assert f"{0:064x}.json" not in names
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_copy_that_cannot_be_kept_is_told_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    (XdgPaths().state / "plans").write_text("in the way")
    keep_copy(document())
    assert "no copy of the plan is kept" in capsys.readouterr().err


def test_a_hash_is_ones_own_and_its_copy_is_found() -> None:
    unknown = read_approval(HASH[:12], user="bob")
    assert (unknown.hash, unknown.saved, unknown.maker) == (HASH[:12], None, "bob")
    keep_copy(document())
    known = read_approval(HASH[:12], user="bob")
    assert known.saved is not None
    assert known.saved.hash == HASH
    assert known.maker == "bob"


def test_too_little_of_a_hash_is_refused() -> None:
    with pytest.raises(UsageError, match="neither a file nor a plan's hash"):
        read_approval(HASH[:11], user="bob")


def test_a_files_plan_is_its_owners_whatever_it_says(plan: Path) -> None:
    given_to(plan, SOMEBODY)
    approval = read_approval(str(plan), user="bob")
    assert approval.maker == str(SOMEBODY)
    assert approval.hash == HASH


def test_a_plan_that_sudo_wrote_is_of_whom_root_named(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_plans, "_read", lambda *_: (json.dumps(document()), 0))
    assert read_approval(str(plan), user="bob").maker == "alice"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_plan_that_others_can_write_tells_nothing_of_its_maker(plan: Path, mode: int) -> None:
    plan.chmod(mode)
    with pytest.raises(UsageError, match="others than its owner can write it") as caught:
        read_approval(str(plan), user="bob")
    assert caught.value.hint == f"have its owner run chmod go-w {plan}"


def test_what_is_no_plan_is_told(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, told in (
        (tmp_path / "nothing.json", "it cannot be read: No such file"),
        (tmp_path, "it is no plan"),
        (pipe, "it is no plan"),
    ):
        with pytest.raises(UsageError, match=told):
            read_approval(str(path), user="bob")
