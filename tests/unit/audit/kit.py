"""Journals to tamper with, and journals as they were before records had a number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from console.audit.actor import Actor
from console.audit.head import head_path
from console.audit.journal import Journal
from console.audit.lines import FIRST, line_hash
from console.audit.reserve import reserve_path
from console.audit.verify import Flaw, FlawKind, verify_journal
from console.clock import FixedClock

ANN = Actor(user="ann", uid=1, host="bastion", pid=7, sudo_user=None, ssh_client="10.0.0.1 5 22")


@dataclass(frozen=True)
class Kept:
    """A journal as it was written, to be put back before each tampering."""

    path: Path
    journal: bytes
    head: bytes

    @property
    def lines(self) -> list[bytes]:
        return self.journal.splitlines()

    def put(self, journal: bytes | list[bytes] | None, head: bytes | None = None) -> None:
        """Lay a journal down; a list: lines, each with its newline; None: as it was written."""
        if isinstance(journal, list):
            journal = b"".join(line + b"\n" for line in journal)
        self.path.write_bytes(self.journal if journal is None else journal)
        head_path(self.path).write_bytes(self.head if head is None else head)

    def flaws(self) -> tuple[Flaw, ...]:
        return verify_journal(self.path)

    def found(self) -> set[tuple[int, FlawKind]]:
        return {(flaw.line, flaw.kind) for flaw in self.flaws()}


def new_journal(folder: Path, clock: FixedClock | None = None) -> Journal:
    return Journal(folder / "journal.jsonl", clock or FixedClock(), ANN)


def keep(path: Path) -> Kept:
    return Kept(path, path.read_bytes(), head_path(path).read_bytes())


def written(folder: Path, records: int) -> Kept:
    """Write a journal of that many records, of lengths and characters of many kinds."""
    journal = new_journal(folder)
    for number in range(records):
        kind = "outcome" if number % 2 else "intent"
        fields = {"run": f"r{number // 2}", "op": "pause", "target": "edge-1a/ü→", "n": number}
        journal.append(kind, {**fields, "detail": "x" * (number * 37 % 300)})
    return keep(journal.path)


def old_lines(records: int) -> list[bytes]:
    """Return lines as Pooldeck wrote them before records had a number."""
    lines: list[bytes] = []
    for number in range(records):
        previous = line_hash(lines[-1]) if lines else FIRST
        record = {"at": "2026-11-20T10:00:00.000+00:00", "kind": "intent", "n": number, "previous": previous}
        lines.append(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
    return lines


def siblings(path: Path) -> tuple[Path, Path]:
    return head_path(path), reserve_path(path)
