"""Where the inventory is found, and the folders that are ours alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from console.config.load import find_inventory
from console.config.paths import XdgPaths
from console.errors import UsageError


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Each place an inventory may be, with a file in it."""
    made = {
        "flag": tmp_path / "flag.toml",
        "variable": tmp_path / "variable.toml",
        "folder": tmp_path / "here/fleet.toml",
        "xdg": tmp_path / "config/pooldeck/fleet.toml",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return made


def found(places: dict[str, Path], tmp_path: Path, *, flag: bool = False, variable: bool = False) -> Path:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    if variable:
        environ["POOLDECK_FLEET"] = str(places["variable"])
    return find_inventory(places["flag"] if flag else None, environ=environ, folder=tmp_path / "here")


def test_the_nearest_inventory_wins(places: dict[str, Path], tmp_path: Path) -> None:
    assert found(places, tmp_path, flag=True, variable=True) == places["flag"]
    assert found(places, tmp_path, variable=True) == places["variable"]
    assert found(places, tmp_path) == places["folder"]
    places["folder"].unlink()
    assert found(places, tmp_path) == places["xdg"]


def test_without_one_every_place_and_the_next_step_are_told(places: dict[str, Path], tmp_path: Path) -> None:
    places["folder"].unlink()
    places["xdg"].unlink()
    with pytest.raises(UsageError) as caught:
        found(places, tmp_path)
    for words in ("--fleet", "$POOLDECK_FLEET", str(places["folder"]), str(places["xdg"])):
        assert words in caught.value.message
    assert "pooldeck inventory import" in (caught.value.hint or "")
    assert "make demo" in (caught.value.hint or "")


def test_one_that_is_named_must_exist(places: dict[str, Path], tmp_path: Path) -> None:
    places["variable"].unlink()
    with pytest.raises(UsageError, match=r"\$POOLDECK_FLEET names .*variable.toml, which does not exist"):
        found(places, tmp_path, variable=True)
    places["flag"].unlink()
    with pytest.raises(UsageError, match="--fleet names"):
        found(places, tmp_path, flag=True)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def test_folders_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    paths = XdgPaths({"XDG_RUNTIME_DIR": str(run)}, home=tmp_path / "home")
    before = os.umask(0)
    try:
        made = (paths.config, paths.state, paths.cache, paths.runtime)
    finally:
        os.umask(before)
    assert made == (
        tmp_path / "home/.config/pooldeck",
        tmp_path / "home/.local/state/pooldeck",
        tmp_path / "home/.cache/pooldeck",
        run / "pooldeck",
    )
    assert [mode(folder) for folder in made] == [0o700] * 4


def test_a_folder_that_was_opened_is_closed_again(tmp_path: Path) -> None:
    state = tmp_path / ".local/state/pooldeck"
    state.mkdir(parents=True)
    state.chmod(0o755)
    assert mode(XdgPaths({}, home=tmp_path).state) == 0o700


def test_looking_for_the_inventory_makes_nothing(tmp_path: Path) -> None:
    assert XdgPaths({}, home=tmp_path).config_path == tmp_path / ".config/pooldeck"
    assert list(tmp_path.glob(".config")) == []


def test_relative_xdg_variables_are_ignored_as_the_specification_says(tmp_path: Path) -> None:
    assert XdgPaths({"XDG_STATE_HOME": "state"}, home=tmp_path).state == tmp_path / ".local/state/pooldeck"


@pytest.mark.parametrize("runtime", ["", "relative", "/nonexistent/run"])
def test_without_a_usable_runtime_folder_a_private_one_is_made(tmp_path: Path, runtime: str) -> None:
    paths = XdgPaths({"XDG_RUNTIME_DIR": runtime}, home=tmp_path, temporary=tmp_path)
    assert paths.runtime == tmp_path / f"pooldeck-{os.geteuid()}"
    assert mode(paths.runtime) == 0o700


def test_a_runtime_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    paths = XdgPaths({}, home=tmp_path, temporary=tmp_path)
    trap = tmp_path / f"pooldeck-{os.geteuid()}"
    (tmp_path / "elsewhere").mkdir()
    trap.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not a folder of ours"):
        _ = paths.runtime
    trap.unlink()
    trap.touch()
    with pytest.raises(UsageError):
        _ = paths.runtime


def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 1
    (tmp_path / f"pooldeck-{stranger}").mkdir(mode=0o700)
    paths = XdgPaths({}, home=tmp_path, temporary=tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(UsageError, match="belongs to user id"):
        _ = paths.runtime
