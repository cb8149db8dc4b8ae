"""Where a journal ends and how its next record follows. It only reads; called under the journal's lock.

What was removed from the end must not be forgotten because a record was added since: when the journal
is behind its head, the next record follows the head, and so leaves a gap that `verify_journal` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.audit.head import NOTHING_YET, Head, HeadTrouble
from console.audit.lines import FIRST, backward, count_lines, line_hash, parse_line, seq_of
from console.audit.reserve import reserve_path


@dataclass(frozen=True, slots=True)
class End:
    """How the next record follows."""

    seq: int
    """Its number: one more than that of the line before, torn lines counted."""
    previous: str
    """The hash that it carries."""
    before: Head
    """The head that fits the journal as it is, if it has to be made anew."""
    open_line: bool = False
    """The last line lacks its newline, which has to be written first."""
    remarks: Mapping[str, Any] = field(default_factory=dict)
    """What it has to tell besides: `torn` lines before it, or that the `head_file` was not as it was left."""

    @property
    def head_lost(self) -> bool:
        """Whether there was a head that is now missing or changed."""
        return "head_file" in self.remarks


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last lines: the last record, and what follows it and is none."""

    line: bytes
    """The last line, be it a record or not."""
    record: bytes | None
    """None: no line of the journal is a record."""
    seq: int | None
    torn_lines: int


def find_end(handle: int, size: int, head: Head | HeadTrouble, journal: Path) -> End:
    """Find out how the next record follows.

    Args:
        handle: the journal, open for reading.
        size: its size in bytes.
        head: what was read of its head.
        journal: its path.

    Raises:
        OSError: it cannot be read.
    """
    open_line = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    if isinstance(head, Head) and not _holds(handle, size, head):
        return End(head.records + 1, head.last, head, open_line)
    if size == 0:
        gone = head is HeadTrouble.MISSING and reserve_path(journal).exists()
        return End(1, FIRST, NOTHING_YET, remarks=_remarks(head, told=gone))
    tail = _tail(handle, size)
    seq = _last_seq(handle, size, tail, head)
    remarks = _remarks(head, told=head is not HeadTrouble.MISSING or tail.seq is not None)
    if tail.torn_lines:
        after = FIRST if tail.record is None else line_hash(tail.record)
        remarks["torn"] = {"lines": tail.torn_lines, "after": after}
    last = line_hash(tail.line)
    return End(seq + 1, last, Head(seq, size, last), open_line, remarks)


def _holds(handle: int, size: int, head: Head) -> bool:
    """Say whether the journal still has the line that its head names, where it names it."""
    if head.size_bytes == 0:
        return head.last == FIRST
    if size < head.size_bytes:
        return False
    return line_hash(next(backward(handle, head.size_bytes))) == head.last


def _tail(handle: int, size: int) -> _Tail:
    torn = 0
    last: bytes | None = None
    for line in backward(handle, size):
        last = line if last is None else last
        record = parse_line(line)
        if record is not None:
            return _Tail(last, line, seq_of(record), torn)
        torn += 1
    return _Tail(last or b"", None, None, torn)


def _last_seq(handle: int, size: int, tail: _Tail, head: Head | HeadTrouble) -> int:
    if tail.seq is not None:
        return tail.seq + tail.torn_lines
    # Records written before they were numbered count as lines.
    if isinstance(head, Head):
        return head.records + count_lines(handle, head.size_bytes, size)
    return count_lines(handle, 0, size)


def _remarks(head: Head | HeadTrouble, *, told: bool) -> dict[str, Any]:
    return {"head_file": head.value} if isinstance(head, HeadTrouble) and told else {}
