"""Is the journal what was written? It reads the journal and its head, and says where they are not.

It changes nothing and needs no permission to write. Whoever can write to the folder can replace the whole
chain by another that holds: against that, note the last hash elsewhere (docs/audit.md).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from console.audit.chain import Chain, Lines, find_hashes, number_blocks, read_chain, split_at
from console.audit.head import Head, HeadTrouble, read_head
from console.audit.judge import Flaw, FlawKind, judge
from console.audit.lines import FIRST, forward, parse_line, size_of
from console.audit.reserve import reserve_path
from console.errors import JournalError

__all__ = ["Check", "Flaw", "FlawKind", "check_journal", "verify_journal"]

_LOCK_TRIES = 20
_LOCK_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """What a journal was found to be."""

    flaws: tuple[Flaw, ...]
    """In the order of the file; empty: it is whole."""
    records: int
    size_bytes: int
    last: str
    """The hash of the last line; `FIRST` when there is none."""
    first_at: str | None
    """When the first record was written, as it stands there; None: there is none."""
    last_at: str | None


def verify_journal(path: Path) -> tuple[Flaw, ...]:
    """Return every place where the journal is not what was written; empty when it is whole.

    Raises:
        JournalError: there is none, or it cannot be read.
    """
    return check_journal(path).flaws


def check_journal(path: Path) -> Check:
    """Read a journal and its head, and judge them. Reads it once when it is whole, else three times.

    Raises:
        JournalError: there is none, or it cannot be read.
    """
    try:
        return _check(path)
    except OSError as error:
        raise JournalError(
            f"the journal cannot be read: {error.strerror or error}", where=str(path)
        ) from error


def _check(path: Path) -> Check:
    try:
        head, size = _snapshot(path)
    except FileNotFoundError:
        gone = _removed_file(path)
        if gone is None:
            raise
        return Check((gone,), 0, 0, FIRST, None, None)

    if size == 0 and head is HeadTrouble.MISSING and not reserve_path(path).exists():
        raise JournalError("the journal is empty: nothing was ever recorded in it", where=str(path))

    def lines() -> Iterator[bytes]:
        return forward(path, size)

    chain = read_chain(lines)
    found: dict[str, list[int]] = {}
    if isinstance(head, Head) and head.last == chain.last:
        found[head.last] = [chain.lines]
    if not _is_whole(chain, head):
        wanted = {block.first_hash for block in chain.blocks}
        wanted |= {block.want for block in chain.blocks if block.want is not None}
        if isinstance(head, Head):
            wanted.add(head.last)
        found = find_hashes(lines, frozenset(wanted))
        split_at(chain, found)
    number_blocks(chain)
    flaws = judge(chain, head, found)
    if not chain.lines and head is HeadTrouble.MISSING:
        flaws.append(Flaw(0, FlawKind.HEAD_MISSING, "the journal is empty and its head file is missing"))
    first_at, last_at = (chain.times[0], chain.times[-1]) if chain.times else (None, None)
    return Check(_described(flaws, lines), chain.records, size, chain.last, first_at, last_at)


def _snapshot(path: Path) -> tuple[Head | HeadTrouble, int]:
    """Read the head and the size at one moment, between two records."""
    size_of(path)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _share(handle)
        return read_head(path), size_of(path)
    finally:
        os.close(handle)


def _share(handle: int) -> None:
    """Wait for a writer to end its record; a lock that cannot be had is no reason not to look."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        except OSError:
            return
        else:
            return


def _removed_file(path: Path) -> Flaw | None:
    head = read_head(path)
    if isinstance(head, Head) and head.records == 0:
        return None
    if head is HeadTrouble.MISSING and not reserve_path(path).exists():
        return None
    told = f": its head tells of {head.records:,} records" if isinstance(head, Head) else ""
    missing = head.records if isinstance(head, Head) else 0
    return Flaw(0, FlawKind.FILE_REMOVED, f"the journal was removed{told}", missing=missing)


def _is_whole(chain: Chain, head: Head | HeadTrouble) -> bool:
    if isinstance(head, Head) and head.last != chain.last:
        return False
    return not chain.blocks or (len(chain.blocks) == 1 and chain.blocks[0].want == FIRST)


def _described(flaws: list[Flaw], lines: Lines) -> tuple[Flaw, ...]:
    """Add the time and the run of each record that has a flaw."""
    wanted = {flaw.line for flaw in flaws}
    told: dict[int, tuple[str | None, str | None]] = {}
    for line, raw in enumerate(lines() if wanted - {0} else (), start=1):
        if line in wanted:
            record = parse_line(raw) or {}
            told[line] = (_text(record.get("at")), _text(record.get("run")))
    described = []
    for flaw in flaws:
        at, run = told.get(flaw.line, (None, None))
        described.append(replace(flaw, at=at, run=run))
    return tuple(described)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
