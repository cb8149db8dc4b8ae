"""The ini reader sees what PgBouncer sees: the real program is asked, with its own debug log of the parse."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_ini import (
    MAX_INCLUDE_DEPTH,
    Entry,
    IniError,
    Place,
    read_ini,
)
from console.config.pgbouncer_pairs import connection_pairs
from tests.harness.servers import pgbouncer_executable

_SECTION = re.compile(r"DEBUG parse_ini_file: \[(.*)\]$")
_ENTRY = re.compile(r"DEBUG parse_ini_file: '(.*?)' = '(.*)'$")
_PAIR = re.compile(r'NOISE cstr_get_pair: "(.*?)"="(.*)"$')
_SYNTAX = re.compile(r"ERROR syntax error in configuration \((.*)\), stopping loading")

# Nothing to listen on: PgBouncer parses, says so, and ends.
QUIET = "[pgbouncer]\nunix_socket_dir =\nlisten_addr =\n"


class PgBouncerSaw:
    """What the real program read from `main.ini` in `folder`."""

    def __init__(self, folder: Path, version: str | None = None) -> None:
        _, executable = pgbouncer_executable(version)
        argv = [str(executable), "-v", "-v", "-v", "main.ini"]
        if os.geteuid() == 0:
            argv[1:1] = ["-u", "nobody"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=30, check=False)
        lines = done.stderr.decode("utf-8", "surrogateescape").splitlines()
        self.log = "\n".join(lines)
        self.steps: list[tuple[str, ...]] = []
        self.pairs: list[tuple[str, str]] = []
        self.syntax_error: str | None = None
        for line in lines:
            if found := _SECTION.search(line):
                self.steps.append((found[1],))
            elif found := _ENTRY.search(line):
                self.steps.append((found[1], found[2]))
            elif found := _PAIR.search(line):
                self.pairs.append((found[1], found[2]))
            elif (found := _SYNTAX.search(line)) and self.syntax_error is None:
                self.syntax_error = found[1]
        self.refused_value = "invalid value" in self.log or "invalid section" in self.log


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account PgBouncer runs as may read."""
    with tempfile.TemporaryDirectory(prefix="pd-ini-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def we_saw(folder: Path) -> tuple[list[tuple[str, ...]], str | None]:
    """Return sections and entries in order, and the place of a syntax error, told relative to `folder`."""
    try:
        ini = read_ini(folder / "main.ini", working_folder=folder)
    except IniError as error:
        return [], (error.where or "").removeprefix(f"{folder}/")
    events: list[tuple[tuple[int, int], tuple[str, ...]]] = []
    order = {path: place for place, path in enumerate(ini.files)}
    events += [((order[it.place.file], it.place.line), (it.name,)) for it in ini.sections]
    events += [((order[it.place.file], it.place.line), (it.key, it.value)) for it in ini.entries]
    return [step for _, step in sorted(events, key=lambda event: event[0])], None


TEXTS = {
    "odd spacing": "[databases]\n  a=host=x\n\tb\t=\thost=y \t\n c   =   host=z  dbname = 'q' \n",
    "comments": ";one\n# two\n[databases];three\na = host=x ; no comment\n",
    "same line": "[databases] a = host=x\n",
    "key characters": "[databases]\na.b-c_d* = host=x\n",
    "quotes": "[databases]\na = host=x password='it''s; \"odd\"' connect_query='select 1, ''a'''\n",
    "no line end": "[databases]\na = host=x",
    "carriage returns": "[databases]\r\na = host=x\r\n\r\n; c\r\nb = host=y\r\n",
    "vertical tabs": "[databases]\n\v\f a = host=x\n",
    "empty connection string": "[databases]\na =\nb = \n",
    "no equals": "[databases]\na = host=x\nb host=y\n",
    "no bracket": "[databases]\na = host=x\n[users\n",
    "continuation": "[databases]\na = host=x \\\n",
    "quoted like a doc says": '[databases]\n"a" = host=x\n',
    "words": "[databases]\na b = host=x\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.trap("T29")
def test_we_read_what_pgbouncer_reads(folder: Path, text: str, pgbouncer_version: str) -> None:
    (folder / "main.ini").write_text(QUIET + text, newline="")
    theirs = PgBouncerSaw(folder, pgbouncer_version)
    ours, error_at = we_saw(folder)
    assert theirs.steps, theirs.log
    assert theirs.refused_value or error_at == theirs.syntax_error
    if theirs.refused_value:
        (bad,) = read_ini(folder / "main.ini").section("databases")[-1:]
        with pytest.raises(IniError, match="syntax error in the connection string"):
            connection_pairs(bad)
    elif error_at is None:
        assert ours == theirs.steps
        ini = read_ini(folder / "main.ini")
        pairs = [pair for entry in ini.section("databases") for pair in connection_pairs(entry)]
        assert pairs == theirs.pairs


_LINES = st.lists(
    st.sampled_from(
        [
            *(
                "[databases]",
                " [users] ",
                "[peers]",
                "[databases",
                "; c",
                "# c",
                "",
                "  ",
                "\t\r",
                "%includex",
            ),
            *("a=host=h", "a = host=h port=1", " b\t=host='h'", "b = host = h", "c=", "d =  ", "=x", "e"),
            *("f g = host=h", "h=host=h ; tail", "*=host=h", "a.b=host='h''h'", "[x]y=host=h", "'q'"),
        ]
    ),
    max_size=8,
)


@given(_LINES)
@settings(max_examples=30, deadline=None)
def test_any_mix_of_lines_is_read_alike(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="pd-ini-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "main.ini").write_text(QUIET + "\n".join(lines), newline="")
        theirs = PgBouncerSaw(folder)
        ours, error_at = we_saw(folder)
    if theirs.refused_value:
        return  # It stopped at a value we do not judge.
    assert error_at == theirs.syntax_error, theirs.log
    if error_at is None:
        assert ours == theirs.steps, theirs.log


_WORDS = ["host", "dbname", "user", "=", "=", "=", " ", " ", "'", "'", "''", "x", "\t", "' "]
_CONNECTION = st.lists(st.sampled_from(_WORDS), max_size=9).map(
    lambda words: f"host=h {''.join(words)}".strip()
)


@given(_CONNECTION)
@settings(max_examples=30, deadline=None)
def test_connection_strings_are_taken_apart_alike(text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pd-ini-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "main.ini").write_text(f"{QUIET}[databases]\nx = {text}\n", newline="")
        theirs = PgBouncerSaw(folder)
        (entry,) = read_ini(folder / "main.ini").section("databases")
    if "unrecognized connection parameter" in theirs.log:
        return  # It stopped there; which parameters exist is not judged here.
    if "syntax error in connection string" in theirs.log:
        with pytest.raises(IniError):
            connection_pairs(entry)
    else:
        assert list(connection_pairs(entry)) == theirs.pairs


def test_includes_are_followed_from_the_working_folder_and_the_section_goes_on(
    folder: Path, pgbouncer_version: str
) -> None:
    (folder / "sub").mkdir(mode=0o755)
    (folder / "main.ini").write_text(
        QUIET + "%include sub/one.ini \n[databases]\n%include\tsub/two.ini\nlast = host=z\n"
    )
    (folder / "sub/one.ini").write_text("pool_mode = session\n%include sub/three.ini\n")
    (folder / "sub/two.ini").write_text("first = host=x\n")
    (folder / "sub/three.ini").write_text("max_client_conn = 7\n")
    theirs = PgBouncerSaw(folder, pgbouncer_version)
    ini = read_ini(folder / "main.ini", working_folder=folder)
    steps = [(entry.key, entry.value) for entry in ini.entries]
    assert steps == [step for step in theirs.steps if len(step) == 2]
    assert [entry.section for entry in ini.entries] == ["pgbouncer"] * 4 + ["databases"] * 2
    three = ini.setting("max_client_conn")
    assert three is not None
    assert str(three.place) == f"{folder}/sub/three.ini:1"
    assert three.place.included_from == (f"{folder}/main.ini:4", f"{folder}/sub/one.ini:2")
    assert [path.name for path in ini.files] == ["main.ini", "one.ini", "three.ini", "two.ini"]


def test_a_circle_of_includes_ends_where_pgbouncer_ends(folder: Path, pgbouncer_version: str) -> None:
    (folder / "main.ini").write_text(f"{QUIET}%include main.ini\n")
    theirs = PgBouncerSaw(folder, pgbouncer_version)
    assert "include nesting level too deep (main.ini:4)" in theirs.log
    with pytest.raises(IniError, match="in a circle") as caught:
        read_ini(folder / "main.ini", working_folder=folder)
    assert caught.value.where == f"{folder}/main.ini:4"


@pytest.mark.parametrize("depth", [MAX_INCLUDE_DEPTH, MAX_INCLUDE_DEPTH + 1])
def test_includes_nest_as_deep_as_pgbouncer_lets_them(folder: Path, depth: int) -> None:
    for number in range(depth):
        name = "main.ini" if number == 0 else f"{number}.ini"
        (folder / name).write_text(f"{QUIET if number == 0 else ''}%include {number + 1}.ini\n")
    (folder / f"{depth}.ini").write_text("max_client_conn = 7\n")
    theirs = PgBouncerSaw(folder)
    if depth > MAX_INCLUDE_DEPTH:
        assert "include nesting level too deep" in theirs.log
        with pytest.raises(IniError, match="nest deeper than 10"):
            read_ini(folder / "main.ini", working_folder=folder)
    else:
        assert ("max_client_conn", "7") in theirs.steps
        assert read_ini(folder / "main.ini", working_folder=folder).setting("max_client_conn")


def test_a_file_beside_the_main_one_is_found_when_asked(folder: Path, tmp_path: Path) -> None:
    (folder / "main.ini").write_text("[pgbouncer]\n%include more.ini\n")
    (folder / "more.ini").write_text("listen_port = 1\n")
    with pytest.raises(
        IniError, match=r"the included file .*more\.ini cannot be read: No such file"
    ) as caught:
        read_ini(folder / "main.ini", working_folder=tmp_path)
    assert caught.value.where == f"{folder}/main.ini:2"
    assert read_ini(folder / "main.ini", working_folder=tmp_path, beside=True).setting("listen_port")
    (tmp_path / "more.ini").write_text("listen_port = 2\n")
    found = read_ini(folder / "main.ini", working_folder=tmp_path, beside=True).setting("listen_port")
    assert found is not None
    assert found.value == "2"


def test_keys_given_again_are_kept_with_their_places(folder: Path) -> None:
    (folder / "main.ini").write_text(
        "[pgbouncer]\nlisten_port = 1\n[users]\nlisten_port = 5\n[pgbouncer]\nlisten_port = 2\n"
    )
    ini = read_ini(folder / "main.ini")
    ((earlier, later),) = ini.duplicates()
    assert (earlier.place.line, later.place.line) == (2, 6)
    port = ini.setting("listen_port")
    assert port is not None
    assert port.value == "2"


def test_files_that_are_no_pgbouncer_ini_are_told(folder: Path) -> None:
    (folder / "main.ini").write_text("[other]\na = 1\n")
    with pytest.raises(IniError, match=r"no \[pgbouncer\] section"):
        read_ini(folder / "main.ini")
    (folder / "main.ini").write_text("a = 1\n")
    with pytest.raises(IniError, match=r"before any \[section\]"):
        read_ini(folder / "main.ini")
    with pytest.raises(IniError, match="cannot be read: Is a directory"):
        read_ini(folder)


def test_no_repr_shows_a_value() -> None:
    entry = Entry("databases", "app", "password=hunter2", Place(Path("a.ini"), 3))
    assert "hunter2" not in repr(entry)
    with pytest.raises(IniError) as caught:
        connection_pairs(Entry("databases", "app", "password='hunter2", Place(Path("a.ini"), 3)))
    assert "hunter2" not in f"{caught.value!r} {caught.value}"
    assert caught.value.where == "a.ini:3"
