"""A standard stream that is stuck, gone or a terminal: nothing waits for it, and what can be read is."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import select
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from console.cli.outlet import Outlet

LIMIT_S = 10.0


@contextlib.contextmanager
def stuck_pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe that is full: its reading end, and its writing end as a stream."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    try:
        yield reader, stream
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            stream.close()


async def test_a_reader_that_does_not_read_holds_nothing_up() -> None:
    with stuck_pipe() as (reader, stream):
        outlet = Outlet(stream)
        outlet.line("one")
        outlet.line("two →")
        assert not await outlet.drained(limit_s=0.05), "it cannot have been written"
        enough = asyncio.Event()
        enough.set()
        assert not await outlet.drained(limit_s=None, enough=enough), "whoever has had enough goes"

        read = bytearray()
        loop = asyncio.get_running_loop()
        loop.add_reader(reader, lambda: read.extend(os.read(reader, 65536)))
        async with asyncio.timeout(LIMIT_S):
            assert await outlet.drained(limit_s=None)
            while not read.endswith("two →\n".encode()):  # noqa: ASYNC110 - the loop itself reads
                await asyncio.sleep(0.01)
        loop.remove_reader(reader)
        assert read.lstrip(b"x").decode() == "one\ntwo →\n"
        outlet.close()


async def test_a_reader_that_has_gone_is_an_error_to_look_at_and_no_exception() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(OSError), os.fdopen(writer, "w", encoding="utf-8") as stream:
        outlet = Outlet(stream)
        outlet.line("one")
        outlet.line("two")
        assert await outlet.drained(limit_s=LIMIT_S)
        assert isinstance(outlet.error, BrokenPipeError)
        outlet.close()


async def test_a_stream_that_was_closed_before_the_start_takes_everything() -> None:
    outlet = Outlet(None)
    outlet.line("one")
    outlet.rewrite("two")
    outlet.settle()
    assert await outlet.drained(limit_s=0)
    assert outlet.width is None


async def test_a_stream_without_a_descriptor_is_written_at_once() -> None:
    memory = io.StringIO()
    outlet = Outlet(memory)
    outlet.line("one\x1b[31m")
    assert memory.getvalue() == "one\\x1b[31m\n"


@pytest.fixture
def terminal() -> Iterator[tuple[int, TextIO]]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 20))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield ours, stream
    os.close(ours)


def _shown(ours: int) -> str:
    """What a terminal would show: a carriage return goes back, letters write over letters."""
    raw = b""
    while select.select([ours], [], [], 0.2)[0]:
        raw += os.read(ours, 4096)
    lines = []
    for line in raw.decode().split("\n"):
        cells: list[str] = []
        column = 0
        for letter in line.rstrip("\r") if line.endswith("\r") else line:
            if letter == "\r":
                column = 0
                continue
            cells[column : column + 1] = [letter]
            column += 1
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


async def test_a_countdown_is_one_line_of_a_terminal(terminal: tuple[int, TextIO]) -> None:
    ours, stream = terminal
    outlet = Outlet(stream)
    assert outlet.width == 20
    for left in (3, 2, 1):
        outlet.rewrite(f"holding, {left} s left, and much more to be told")
    outlet.line("over")
    assert await outlet.drained(limit_s=LIMIT_S)
    assert _shown(ours) == "over\n"
    outlet.rewrite("holding again")
    outlet.settle()
    outlet.line("x")
    assert await outlet.drained(limit_s=LIMIT_S)
    assert _shown(ours) == "x\n"
    outlet.rewrite("a line that is longer than the terminal")
    assert await outlet.drained(limit_s=LIMIT_S)
    assert _shown(ours) == "a line that is long"
    outlet.close()
