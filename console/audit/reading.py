"""Reading the journal back: its records from the beginning, and what was begun and never ended.

It changes nothing and does not judge (`console.audit.verify` does); a line that is no record is handed on
as such. Both functions block: call them in a thread.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from console.audit.lines import backward, forward, parse_line, size_of
from console.audit.processes import boot_id, is_alive
from console.errors import JournalError

UNFINISHED_LIMIT_BYTES = 16 * 1024 * 1024
"""How far back `unfinished` looks.

The journal grows by operations only, so what is further back was followed by thousands of them, at each of
which it was shown as unfinished already; and reading that much takes a fifth of a second.
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal."""

    fields: Mapping[str, Any]
    """As recorded; empty when the line is no record."""
    line: int | None = None
    """1-based; None: not counted, it was read from the end."""
    flaw: str | None = None
    """Why the line is no record; None: it is one."""
    text: str = ""
    """The line itself, when it is no record."""

    @property
    def kind(self) -> str | None:
        """`intent`, `outcome`, …; None: it does not say."""
        return self._word("kind")

    @property
    def run(self) -> str | None:
        return self._word("run")

    @property
    def op(self) -> str | None:
        return self._word("op")

    @property
    def target(self) -> str | None:
        """As written by `Target`: `edge-1a`, `edge-1a/app`."""
        return self._word("target")

    @property
    def outcome(self) -> str | None:
        """How it ended (`ok`, `failed`, …); None for a record of another kind than `outcome`."""
        return self._word("outcome")

    @property
    def at_s(self) -> float | None:
        """When it was written, seconds since the epoch; None: not readable."""
        at = self._word("at")
        if at is None:
            return None
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    @property
    def who(self) -> Mapping[str, Any]:
        """The actor's facts (`console.audit.actor.Actor`); empty when there are none."""
        who = self.fields.get("who")
        return who if isinstance(who, dict) else {}

    def _word(self, key: str) -> str | None:
        value = self.fields.get(key)
        return value if isinstance(value, str) else None


def read_journal(
    path: Path,
    *,
    since_s: float | None = None,
    targets: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[Record]:
    """Yield records in the order they were written, reading as it goes.

    A line that is no record is yielded whatever is asked for, unless it stands before the time asked for.

    Args:
        path: the journal.
        since_s: leave out what was written before, seconds since the epoch; None: from the beginning.
        targets: shell patterns, any of which must match; one without `/` means a node with all its databases,
            so `edge-*` takes `edge-1a` and `edge-1a/app`. None: all, records without a target too.
        kinds: None: all.

    Raises:
        JournalError: there is none, or it cannot be read; not before the first record is asked for.
    """
    early = False
    try:
        for line, raw in enumerate(forward(path, size_of(path)), start=1):
            fields = parse_line(raw)
            if fields is None:
                if not early:
                    yield _spoilt(line, raw)
                continue
            record = Record(fields, line)
            at_s = record.at_s
            early = since_s is not None and at_s is not None and at_s < since_s
            if early or (kinds is not None and record.kind not in kinds):
                continue
            if targets is None or any(matches(record.target, pattern) for pattern in targets):
                yield record
    except OSError as error:
        raise _unreadable(path, error) from error


def matches(target: str | None, pattern: str) -> bool:
    """Say whether a target fits a shell pattern; without `/` it is held against the node's name only."""
    if target is None:
        return False
    name = target if "/" in pattern else target.partition("/")[0]
    return name == pattern or fnmatchcase(name, pattern)


def unfinished(path: Path) -> tuple[Record, ...]:
    """Return the intents whose run left no outcome for their target and whose process is dead; oldest first.

    One for each run and target, the latest. A process on another machine that shares the journal cannot be
    looked at and counts as alive. A run that was mended is closed by an `outcome` of that run and target.

    Raises:
        JournalError: it cannot be read. No journal at all is no error: nothing was begun.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        open_intents = _open_intents(handle)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)
    return tuple(record for record in reversed(open_intents) if _is_dead(record.who))


def _open_intents(handle: int) -> list[Record]:
    """Return the intents that no outcome follows, the latest first."""
    size = os.fstat(handle).st_size
    settled: set[tuple[str | None, str | None]] = set()
    found = []
    for raw in backward(handle, size, limit_bytes=UNFINISHED_LIMIT_BYTES):
        record = Record(parse_line(raw) or {})
        if record.kind not in ("intent", "outcome"):
            continue
        key = (record.run, record.target)
        if key not in settled and record.kind == "intent":
            found.append(record)
        settled.add(key)
    return found


def _is_dead(who: Mapping[str, Any]) -> bool:
    pid, host = who.get("pid"), who.get("host")
    boot, started = who.get("boot"), who.get("started")
    if not isinstance(pid, int) or host != socket.gethostname():
        return False
    here = boot_id()
    if isinstance(boot, str) and here is not None and boot != here:
        return True
    return not is_alive(pid, started if isinstance(started, str) else None)


def _spoilt(line: int, raw: bytes) -> Record:
    text = raw.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    flaw = "it is no record: it was cut or overwritten"
    return Record({}, line, flaw, text)


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(f"the journal cannot be read: {error.strerror or error}", where=str(path))
