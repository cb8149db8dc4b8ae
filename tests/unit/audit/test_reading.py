"""Reading the journal back: filters, spoilt lines, and what was begun and never ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from console.audit import reading, summary
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.audit.lines import backward
from console.audit.processes import boot_id
from console.audit.reading import Record, matches, read_journal, unfinished
from console.clock import FixedClock
from console.errors import JournalError
from tests.unit.audit.kit import ANN, new_journal

_DYING = """
import sys
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
journal = Journal(Path(sys.argv[1]), SystemClock(), Actor.current({}))
for target in sys.argv[2].split(","):
    journal.append("intent", {"run": "r1", "op": "pause", "target": target})
for target in filter(None, sys.argv[3].split(",")):
    journal.append("outcome", {"run": "r1", "op": "pause", "target": target, "outcome": "ok"})
"""


def run_and_die(path: Path, begun: str, ended: str = "") -> None:
    subprocess.run([sys.executable, "-c", _DYING, str(path), begun, ended], check=True, timeout=60)


def targets(path: Path) -> list[str | None]:
    return [record.target for record in unfinished(path)]


class TestReadJournal:
    def test_records_come_in_order_with_line_and_time(self, tmp_path: Path) -> None:
        clock = FixedClock()
        journal = new_journal(tmp_path, clock)
        for number in range(3):
            journal.append("intent", {"run": f"r{number}", "op": "pause", "target": "edge-1a"})
            clock.advance(60)
        records = list(read_journal(journal.path))
        assert [(record.line, record.run) for record in records] == [(1, "r0"), (2, "r1"), (3, "r2")]
        assert [record.at_s for record in records] == [clock.wall - 180, clock.wall - 120, clock.wall - 60]
        assert {(record.kind, record.op, record.outcome) for record in records} == {("intent", "pause", None)}
        assert records[0].who["user"] == "ann"

    def test_filters(self, tmp_path: Path) -> None:
        clock = FixedClock()
        journal = new_journal(tmp_path, clock)
        begin_s = clock.wall
        for kind, target in (("intent", "edge-1a"), ("outcome", "edge-1a/app"), ("lease", "core-1")):
            journal.append(kind, {"target": target})
            clock.advance(60)
        journal.append("approval", {})
        path = journal.path

        def lines(**asked: Any) -> list[int | None]:
            return [record.line for record in read_journal(path, **asked)]

        assert lines(since_s=begin_s + 60) == [2, 3, 4]
        assert lines(kinds=["outcome", "approval"]) == [2, 4]
        assert lines(targets=["edge-*"]) == [1, 2]
        assert lines(targets=["edge-1a/*", "core-1"]) == [2, 3]

    def test_spoilt_lines_are_handed_on_in_their_place(self, tmp_path: Path) -> None:
        clock = FixedClock()
        journal = new_journal(tmp_path, clock)
        journal.append("intent", {"target": "a"})
        with journal.path.open("ab") as handle:
            handle.write(b'\xff{"kind"\n' + b"[" * 100_000 + b"\n")
        clock.advance(60)
        journal.append("outcome", {"target": "a"})
        with journal.path.open("ab") as handle:
            handle.write(b'{"kind":"outc')
        records = list(read_journal(journal.path, targets=["b"]))
        assert [record.line for record in records] == [2, 3, 5]
        assert all(record.flaw for record in records)
        assert records[0].text == '\\xff{"kind"'
        assert records[2].text == '{"kind":"outc'
        # The early ones go with the early record that they follow.
        assert [record.line for record in read_journal(journal.path, since_s=clock.wall)] == [4, 5]

    def test_a_record_of_odd_types_is_read(self) -> None:
        record = Record({"at": 5, "who": "ann", "run": None, "target": ["a"], "kind": {}})
        assert (record.at_s, record.who, record.run, record.target, record.kind) == (
            None,
            {},
            None,
            None,
            None,
        )
        assert Record({"at": "yesterday"}).at_s is None
        assert Record({"at": "2026-11-21T00:00:00"}).at_s == Record({"at": "2026-11-21T00:00:00Z"}).at_s

    def test_no_journal_is_an_error_in_words(self, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match="No such file"):
            list(read_journal(tmp_path / "none"))


@pytest.mark.parametrize(
    ("target", "pattern", "fits"),
    [
        ("edge-1a", "edge-1a", True),
        ("edge-1a/app", "edge-1a", True),
        ("edge-1a/app", "edge-*", True),
        ("edge-1a/app", "*/app", True),
        ("edge-1a/app", "edge-1a/other", False),
        ("edge-1a", "edge-1a/*", False),
        ("Edge-1a", "edge-*", False),
        ("core/a[1]", "core/a[1]", True),
        (None, "*", False),
    ],
)
def test_targets_are_matched_as_a_shell_would(target: str | None, pattern: str, fits: bool) -> None:
    assert matches(target, pattern) is fits


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_are_read_backward_whatever_their_length(tmp_path: Path, end: bytes) -> None:
    lines = [b"a", b"", b"b" * 65_535, b"c" * 65_536, b"d" * 200_000, b"e"]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines) + end)
    handle = os.open(path, os.O_RDONLY)
    size = path.stat().st_size
    try:
        assert list(backward(handle, size)) == lines[::-1]
        assert list(backward(handle, size, limit_bytes=size - 1)) == lines[:0:-1]
        assert list(backward(handle, size, limit_bytes=100)) == [b"e"]
        assert list(backward(handle, 0)) == []
    finally:
        os.close(handle)


class TestUnfinished:
    def test_what_a_dead_process_began_and_did_not_end(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        assert unfinished(path) == ()
        run_and_die(path, "edge-1a,edge-1b,core-1", "edge-1b")
        assert targets(path) == ["edge-1a", "core-1"]

    def test_a_living_process_is_at_work(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.jsonl", FixedClock(), Actor.current({}))
        journal.append("intent", {"run": "r2", "target": "edge-1a"})
        assert unfinished(journal.path) == ()

    def test_an_outcome_of_that_run_closes_it_whoever_writes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        run_and_die(path, "edge-1a,core-1")
        journal = Journal(path, FixedClock(), Actor.current({}))
        journal.append("outcome", {"run": "r2", "target": "edge-1a"})
        assert targets(path) == ["edge-1a", "core-1"]
        journal.append("outcome", {"run": "r1", "target": "edge-1a"})
        assert targets(path) == ["core-1"]

    def test_a_second_intent_of_a_run_needs_an_outcome_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        run_and_die(path, "edge-1a", "edge-1a")
        run_and_die(path, "edge-1a")
        assert targets(path) == ["edge-1a"]
        assert [record.fields["seq"] for record in unfinished(path)] == [3]

    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({}, []),
            ({"started": "1"}, ["edge-1a"]),
            ({"boot": "another"}, ["edge-1a"]),
            ({"boot": "another", "started": None}, ["edge-1a"]),
            ({"boot": None, "started": None}, []),
            ({"host": "elsewhere", "boot": "another", "started": "1"}, []),
        ],
        ids=[
            "alive",
            "id used again",
            "rebooted",
            "rebooted, start unknown",
            "as written before",
            "elsewhere",
        ],
    )
    def test_which_processes_count_as_dead(
        self, tmp_path: Path, changes: dict[str, str | None], found: list[str]
    ) -> None:
        actor = replace(Actor.current({}), **changes)  # type: ignore[arg-type]
        assert (actor.pid, actor.host if not changes.get("host") else None) in (
            (os.getpid(), socket.gethostname()),
            (os.getpid(), None),
        )
        journal = Journal(tmp_path / "journal.jsonl", FixedClock(), actor)
        journal.append("intent", {"run": "r1", "target": "edge-1a"})
        assert boot_id() is not None
        assert targets(journal.path) == found

    def test_spoilt_lines_hide_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        run_and_die(path, "edge-1a")
        with path.open("ab") as handle:
            handle.write(b'{"kind":"outcome","run":"r1","target":"edge-1a"')
        assert targets(path) == ["edge-1a"]

    def test_it_looks_back_so_far_and_no_further(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "journal.jsonl"
        run_and_die(path, "edge-1a")
        run_and_die(path, "core-1")
        assert targets(path) == ["edge-1a", "core-1"]
        monkeypatch.setattr(reading, "UNFINISHED_LIMIT_BYTES", len(path.read_bytes().splitlines()[-1]) + 10)
        assert targets(path) == ["core-1"]


class TestSummary:
    def test_who(self) -> None:
        actor = replace(ANN, user="root", sudo_user="bea")
        assert summary.who(Record({"who": actor.as_dict()})) == "root (bea) 10.0.0.1"
        assert summary.who(Record({"who": {"user": "ann"}})) == "ann"
        assert summary.who(Record({})) == "?"

    @pytest.mark.parametrize(
        ("fields", "outcome", "detail"),
        [
            (
                {
                    "kind": "intent",
                    "statements": ['PAUSE "app"', "RESUME"],
                    "before": "running",
                    "clients": 1204,
                    "answer": "name typed",
                    "reason": "CHG-1",
                },
                "intent",
                'PAUSE "app"; RESUME, was running, 1,204 clients, name typed, reason: CHG-1',
            ),
            ({"kind": "intent", "statements": []}, "intent", "nothing to send"),
            (
                {"kind": "outcome", "outcome": "no change", "detail": "paused already", "duration_s": 0.04},
                "no change",
                "paused already (40 ms)",
            ),
            ({"kind": "outcome", "outcome": 3}, "?", "outcome 3"),
            ({"kind": "refused", "detail": "has moved"}, "refused", "has moved"),
            ({"kind": "lease", "lease": "L1", "hold_s": 30, "covers": []}, "lease", "lease L1, hold_s 30"),
            ({"kind": "unheard-of"}, "unheard-of", ""),
            ({}, "?", ""),
        ],
    )
    def test_any_kind_is_told(self, fields: dict[str, Any], outcome: str, detail: str) -> None:
        record = Record(json.loads(json.dumps({**fields, "seq": 1, "previous": "0", "plan": "h"})))
        assert summary.outcome(record) == outcome
        assert summary.detail(record) == detail
        assert summary.when(record) == "?"
