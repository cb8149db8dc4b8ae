"""Copies kept and put back by real commands, with the way to the host cut before each one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from console.config.pgbouncer_lint_files import lint
from console.config.pgbouncer_texts import ConfigTexts, HostFile
from console.errors import NodeError, Phase
from console.hosts.commands import run_here
from console.model.rows import Setting
from console.model.version import Version
from console.operations.config_files import NEW, CommandFiles
from console.operations.reload_copies import changed_files, keep_good, put_back
from console.operations.reload_files import BROKEN, GOOD, ConfigLook, GoodCopies
from console.transport.base import CommandResult

NAMES = ("pgbouncer.ini", "users.txt")
OLD = {"pgbouncer.ini": b"[pgbouncer]\npool_mode = session\n", "users.txt": b'"a" "1"\n'}
NEWER = {"pgbouncer.ini": b"[pgbouncer]\npool_mode = wrong\n", "users.txt": b'"a" "2"\n'}
BEHIND = ("", GOOD, BROKEN)
COMMANDS = 24
"""More than either takes."""


class Cut:
    """This machine, as if over a line that is cut for good before command number `at`."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.ran = 0
        self.argv: list[tuple[str, ...]] = []
        self._losing: tuple[str, int] | None = None
        self._mended: int | None = None
        self.files = CommandFiles(self.run, where="here", sudo=False)

    async def run(
        self, argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        if self.at is not None and self.ran >= self.at and self._mended is None:
            raise NodeError(Phase.SSH, "the connection is lost")
        self.ran += 1
        self.argv.append(tuple(argv))
        done = await run_here(argv, timeout_s, limit_bytes, stdin)
        if self._losing and self._losing[0] in argv:
            self.at = self.ran
            self._mended = self.ran if self._losing[1] else None
            raise NodeError(Phase.SSH, "the connection is lost")
        return done

    def lose_answer_of(self, word: str, *, then: int) -> None:
        """Do the command that has `word`, and cut the line before its answer; `then` 1: for a moment only."""
        self._losing = (word, then)


def look(host: Cut, folder: Path, good: dict[str, bytes] | None = None) -> ConfigLook:
    """Return a look at the files as they are now, and at `good` copies."""
    files = {str(folder / name): HostFile(str(folder / name), (folder / name).read_bytes()) for name in NAMES}
    root = str(folder / NAMES[0])
    texts = ConfigTexts(root, str(folder), files)
    setting = {"pool_mode": Setting("pool_mode", "session", "session", changeable=True)}
    judged = lint(texts, setting, Version(1, 24, 1))
    copies = GoodCopies()
    if good is not None:
        found = {str(folder / name): HostFile(str(folder / name), text) for name, text in good.items()}
        as_good = lint(replace(texts, files={**files, **found}), setting, Version(1, 24, 1))
        copies = GoodCopies(found, as_good, {})
    return ConfigLook(None, host.files, texts, judged, copies, timeout_s=5)


def write(folder: Path, contents: dict[str, bytes], behind: str = "") -> None:
    for name, content in contents.items():
        (folder / f"{name}{behind}").write_bytes(content)


async def test_copies_are_those_of_the_files_that_were_read(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    host = Cut()
    kept = await keep_good(look(host, tmp_path))
    assert set(kept.paths) == {str(tmp_path / name) for name in NAMES}
    assert {name: (tmp_path / f"{name}{GOOD}").read_bytes() for name in NAMES} == OLD

    before = look(host, tmp_path, OLD)
    write(tmp_path, {"users.txt": b"changed meanwhile"})
    assert await changed_files(before) == (str(tmp_path / "users.txt"),)
    stale = replace(before, good=GoodCopies())
    kept = await keep_good(stale)
    assert (kept.paths, kept.failed) == (
        (str(tmp_path / "pgbouncer.ini"),),
        {str(tmp_path / "users.txt"): "it was changed meanwhile"},
    )
    assert (tmp_path / f"users.txt{GOOD}").read_bytes() == OLD["users.txt"], "the older copy stays"


async def test_a_copy_that_is_up_to_date_costs_nothing(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    host = Cut(at=0)
    kept = await keep_good(look(host, tmp_path, OLD))
    assert (len(kept.paths), kept.failed, host.ran) == (2, None, 0)


async def test_what_differs_from_its_copy_is_put_back_and_kept_as_broken(tmp_path: Path) -> None:
    write(tmp_path, {**OLD, "pgbouncer.ini": NEWER["pgbouncer.ini"]})
    write(tmp_path, OLD, GOOD)
    result = await put_back(look(Cut(), tmp_path, OLD))
    assert (result.paths, result.failed) == ((str(tmp_path / "pgbouncer.ini"),), None)
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == OLD
    assert (tmp_path / f"pgbouncer.ini{BROKEN}").read_bytes() == NEWER["pgbouncer.ini"]
    assert not (tmp_path / f"users.txt{BROKEN}").exists(), "it was as its copy already"


async def test_a_file_that_is_gone_is_put_back(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    write(tmp_path, OLD, GOOD)
    before = look(Cut(), tmp_path, OLD)
    (tmp_path / "pgbouncer.ini").unlink()
    assert (await put_back(before)).paths == (str(tmp_path / "pgbouncer.ini"),)
    assert (tmp_path / "pgbouncer.ini").read_bytes() == OLD["pgbouncer.ini"]


async def test_files_that_are_the_good_ones_are_no_cure(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    write(tmp_path, OLD, GOOD)
    result = await put_back(look(Cut(), tmp_path, OLD))
    assert (result.paths, result.failed) == ((), "the files are the last good ones already")


async def test_without_copies_nothing_is_touched(tmp_path: Path) -> None:
    write(tmp_path, NEWER)
    host = Cut()
    result = await put_back(look(host, tmp_path))
    assert (result.failed, host.ran) == ("there is no copy of the last good configuration", 0)


@pytest.mark.parametrize("at", range(COMMANDS))
async def test_wherever_the_line_is_cut_each_file_is_whole(tmp_path: Path, at: int) -> None:
    write(tmp_path, NEWER)
    write(tmp_path, OLD, GOOD)
    host = Cut(at)
    result = await put_back(look(host, tmp_path, OLD))
    for name in NAMES:
        path = tmp_path / name
        assert path.read_bytes() in (OLD[name], NEWER[name])
        assert (path.read_bytes() == OLD[name]) is (str(path) in result.paths), "what is told is what is"
        broken = tmp_path / f"{name}{BROKEN}"
        assert not broken.exists() or broken.read_bytes() == NEWER[name]
    if result.failed is None:
        assert not any((tmp_path / f"{name}{behind}{NEW}").exists() for name in NAMES for behind in BEHIND)
        assert host.ran < COMMANDS
    else:
        assert "the connection is lost" in result.failed or "cannot be seen" in result.failed


@pytest.mark.parametrize("at", range(COMMANDS))
async def test_wherever_the_line_is_cut_each_copy_is_whole(tmp_path: Path, at: int) -> None:
    write(tmp_path, NEWER)
    write(tmp_path, OLD, GOOD)
    kept = await keep_good(replace(look(Cut(at), tmp_path, OLD)))
    for name in NAMES:
        copy = (tmp_path / f"{name}{GOOD}").read_bytes()
        assert copy == (NEWER[name] if str(tmp_path / name) in kept.paths else OLD[name])
