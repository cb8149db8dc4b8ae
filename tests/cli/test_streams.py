"""Standard streams that are closed, full, or not UTF-8: the command still ends in words and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 20.0
FLEET = """\
fleet = "test"
environment = "development"
[[bouncers]]
name = "edge"
tcp = "127.0.0.1:1"
monitor_user = "m"
"""


def pooldeck(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    options = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": LIMIT_S,
        "check": False,
        **more,
    }
    return subprocess.run([sys.executable, "-m", "console.cli.main", *words], **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    place = tmp_path / "fleet.toml"
    place.write_text(FLEET, encoding="utf-8")
    return place


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("inventory", "check")])
def test_a_full_output_is_told_and_is_no_internal_error(words: tuple[str, ...], fleet: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ended = pooldeck("--fleet", str(fleet), *words, stdout=full)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "pooldeck: the output cannot be written: No space left on device",
        "  next: free space, or write elsewhere",
    ]


def test_a_full_error_stream_changes_no_exit_code(fleet: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert pooldeck("nosuch", stderr=full).returncode == 2
        assert pooldeck("--fleet", str(fleet), "pause", "nope", stderr=full).returncode == 2


def test_a_terminal_that_is_not_utf8_gets_escapes(tmp_path: Path) -> None:
    place = tmp_path / "fl→t.toml"
    place.write_text(FLEET, encoding="utf-8")
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ended = pooldeck("inventory", "check", str(place), env=environ)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"fl\u2192t.toml" in ended.stdout


def test_without_standard_input_the_console_says_that_it_needs_a_terminal(fleet: Path) -> None:
    command = ["sh", "-c", '"$@" <&-', "sh", sys.executable, "-m", "console.cli.main", "--fleet", str(fleet)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("pooldeck: the console needs a terminal")


def test_closed_streams_change_no_exit_code(fleet: Path) -> None:
    for words, code in ((("inventory", "check"), 0), (("pause", "nope"), 2), (("nosuch",), 2)):
        argv = [sys.executable, "-m", "console.cli.main", "--fleet", str(fleet), *words]
        ended = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *argv], timeout=LIMIT_S, check=False)
        assert ended.returncode == code, words


def test_control_characters_of_a_name_are_shown_not_obeyed(tmp_path: Path) -> None:
    place = tmp_path / "fleet.toml"
    place.write_text(FLEET.replace('"edge"', '"e\\u001b[31mvil\\u009b"'), encoding="utf-8")
    ended = pooldeck("inventory", "check", str(place))
    assert ended.returncode == 2
    assert "\x1b" not in ended.stderr
    assert "\x9b" not in ended.stderr
    assert r"e\x1b[31mvil" in ended.stderr


def test_an_interrupt_while_the_program_loads_ends_it_without_a_traceback() -> None:
    program = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from console.cli.start import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
