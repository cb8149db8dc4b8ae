"""Whatever is done to a journal behind Pooldeck's back is found, and told for what and where it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from console.audit import journal as journal_module
from console.audit.head import head_path
from console.audit.journal import Journal
from console.audit.reading import read_journal
from console.audit.verify import FlawKind, check_journal, verify_journal
from console.errors import JournalError
from tests.unit.audit.kit import Kept, keep, new_journal, old_lines, siblings, written

SIZES = (1, 2, 3, 8, 25)
_kept: dict[int, Kept] = {}
BYTE = st.one_of(st.sampled_from(list(b'0123456789abcdef"{}:,\\\n\r ')), st.integers(0, 255))
tampering = settings(max_examples=250, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def _journals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for size in SIZES:
        _kept[size] = written(tmp_path_factory.mktemp(f"of{size}"), size)
    yield
    _kept.clear()


def journals(least: int = 1) -> st.SearchStrategy[Kept]:
    return st.sampled_from([size for size in SIZES if size >= least]).map(lambda size: _kept[size])


def place(data: st.DataObject, kept: Kept, name: str = "place") -> int:
    """Draw an index of a line."""
    return data.draw(st.integers(0, len(kept.lines) - 1), label=name)


@tampering
@given(st.data())
def test_a_changed_byte_is_placed_on_its_line(data: st.DataObject) -> None:
    kept = data.draw(journals())
    at = data.draw(st.integers(0, len(kept.journal) - 1))
    new = data.draw(BYTE)
    assume(kept.journal[at] != new)
    kept.put(kept.journal[:at] + bytes([new]) + kept.journal[at + 1 :])
    line = kept.journal[:at].count(b"\n") + 1
    flaws = kept.flaws()
    assert flaws[0].line == line
    assert flaws[0].kind in (FlawKind.CHANGED, FlawKind.CUT)
    # A newline put in makes two lines of it, one taken out makes one of two: then there is a second flaw.
    assert len(flaws) == 1 or 10 in (new, kept.journal[at])


@tampering
@given(st.data())
def test_removed_records_are_counted_and_placed(data: st.DataObject) -> None:
    kept = data.draw(journals())
    first = place(data, kept)
    count = data.draw(st.integers(1, len(kept.lines) - first))
    kept.put(kept.lines[:first] + kept.lines[first + count :])
    (flaw,) = kept.flaws()
    at_end = first + count == len(kept.lines)
    assert flaw.kind is (FlawKind.END_REMOVED if at_end else FlawKind.REMOVED)
    assert (flaw.line, flaw.missing) == (first + 1, count)
    assert flaw.unproven == (first or None)


@tampering
@given(st.data())
def test_swapped_records_are_told_as_moved(data: st.DataObject) -> None:
    kept = data.draw(journals(least=2))
    one, other = place(data, kept, "one"), place(data, kept, "other")
    assume(one != other)
    lines = kept.lines
    lines[one], lines[other] = lines[other], lines[one]
    kept.put(lines)
    flaws = kept.flaws()
    assert {flaw.kind for flaw in flaws} == {FlawKind.MOVED}
    # 3 2 1 may have come of 1 2 3 in more than one way; nothing outside is blamed.
    assert {flaw.line for flaw in flaws} <= set(range(min(one, other) + 1, max(one, other) + 2))
    if abs(one - other) != 2:
        assert {flaw.line for flaw in flaws} <= {one + 1, other + 1}


@tampering
@given(st.data())
def test_records_moved_as_a_block_are_told_as_moved_and_nothing_else(data: st.DataObject) -> None:
    kept = data.draw(journals(least=3))
    first, count = place(data, kept), data.draw(st.integers(1, 5))
    block, rest = kept.lines[first : first + count], kept.lines[:first] + kept.lines[first + count :]
    to = data.draw(st.integers(0, len(rest)))
    assume(to != first)
    kept.put(rest[:to] + block + rest[to:])
    flaws = kept.flaws()
    assert len(flaws) == 1
    assert flaws[0].kind is FlawKind.MOVED


@tampering
@given(st.data())
def test_a_copy_of_a_record_is_told_as_added(data: st.DataObject) -> None:
    kept = data.draw(journals())
    copied, to = place(data, kept), data.draw(st.integers(0, len(kept.lines)))
    lines = kept.lines
    lines.insert(to, kept.lines[copied])
    kept.put(lines)
    (flaw,) = kept.flaws()
    assert flaw.kind is FlawKind.ADDED
    assert lines[flaw.line - 1] == kept.lines[copied]


@tampering
@given(st.data())
def test_a_line_put_in_is_told_as_added(data: st.DataObject) -> None:
    kept = data.draw(journals())
    to = data.draw(st.integers(0, len(kept.lines)))
    line = data.draw(st.sampled_from([b"", b"{}", b"rubbish", b"[1]", b'{"seq":2}', b"[" * 100_000]))
    lines = kept.lines
    lines.insert(to, line)
    kept.put(lines)
    # Behind the last record it may look like what a writer leaves that dies, or like a spoilt next record.
    kinds = {FlawKind.ADDED}
    if to == len(kept.lines):
        kinds |= {FlawKind.CUT, FlawKind.CHANGED}
    assert [flaw.line for flaw in kept.flaws()] == [to + 1]
    assert {flaw.kind for flaw in kept.flaws()} <= kinds


@tampering
@given(st.data())
def test_a_record_cut_short_is_placed(data: st.DataObject) -> None:
    kept = data.draw(journals())
    cut = place(data, kept)
    lines = kept.lines
    lines[cut] = lines[cut][: data.draw(st.integers(0, len(lines[cut]) - 1))]
    kept.put(lines)
    assert kept.found() == {(cut + 1, FlawKind.CHANGED)}


@tampering
@given(st.data())
def test_a_tail_cut_at_any_byte_is_counted(data: st.DataObject) -> None:
    kept = data.draw(journals())
    size = data.draw(st.integers(0, len(kept.journal) - 1))
    kept.put(kept.journal[:size])
    left = kept.journal[:size]
    torn = 0 if left.endswith(b"\n") or not left else 1
    gone = len(kept.lines) - left.count(b"\n") - torn
    expected = {(left.count(b"\n") + 1, FlawKind.CUT)} if torn else set()
    if gone:
        expected.add((left.count(b"\n") + torn + 1, FlawKind.END_REMOVED))
    assert kept.found() == expected
    assert sum(flaw.missing for flaw in kept.flaws()) == gone


@tampering
@given(st.data())
def test_a_record_added_after_the_tail_was_cut_does_not_hide_it(data: st.DataObject) -> None:
    kept = data.draw(journals())
    left = data.draw(st.integers(0, len(kept.lines) - 1))
    kept.put(kept.lines[:left])
    new_journal(kept.path.parent).append("intent", {})
    (flaw,) = kept.flaws()
    gone = len(kept.lines) - left
    assert (flaw.line, flaw.kind, flaw.missing) == (left + 1, FlawKind.REMOVED, gone)
    # What was removed can be put back, and all is well again.
    added = kept.path.read_bytes().splitlines()[-1]
    kept.path.write_bytes(kept.journal + added + b"\n")
    assert [(flaw.kind, flaw.line) for flaw in kept.flaws()] == []


@tampering
@given(st.data())
def test_any_changed_byte_of_the_head_is_told(data: st.DataObject) -> None:
    kept = data.draw(journals())
    at = data.draw(st.integers(0, len(kept.head) - 1))
    new = data.draw(BYTE)
    assume(kept.head[at] != new)
    kept.put(None, kept.head[:at] + bytes([new]) + kept.head[at + 1 :])
    assert kept.found() == {(0, FlawKind.HEAD_CHANGED)}


@tampering
@given(st.data())
def test_two_changed_records_are_both_named(data: st.DataObject) -> None:
    kept = data.draw(journals(least=3))
    one, other = place(data, kept, "one"), place(data, kept, "other")
    assume(one != other)
    lines = kept.lines
    for index in (one, other):
        lines[index] = lines[index].replace(b'"pause"', b'"kill!"')
    kept.put(lines)
    flaws = kept.flaws()
    assert {flaw.kind for flaw in flaws} == {FlawKind.CHANGED}
    named = {flaw.line for flaw in flaws} | {flaw.unproven for flaw in flaws}
    assert named - {None} == {one + 1, other + 1}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_mixture_of_tamperings_passes(data: st.DataObject) -> None:
    kept = data.draw(journals())
    lines = kept.lines
    for _ in range(data.draw(st.integers(1, 6))):
        what = data.draw(st.sampled_from(["remove", "copy", "move", "cut", "shuffle", "rubbish"]))
        index = data.draw(st.integers(0, max(0, len(lines) - 1)))
        to = data.draw(st.integers(0, len(lines)))
        if what == "rubbish":
            lines.insert(to, data.draw(st.binary(max_size=30)).replace(b"\n", b""))
        elif what == "shuffle":
            lines = list(data.draw(st.permutations(lines)))
        elif lines:
            line = lines[index] if what == "copy" else lines.pop(index)
            if what == "cut":
                line = line[: data.draw(st.integers(0, len(line)))]
            if what != "remove":
                lines.insert(min(to, len(lines)), line)
    assume(lines != kept.lines)
    kept.put(lines)
    assert kept.flaws()


class TestFiles:
    """The journal, its head and its reserve as files."""

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Kept:
        return written(tmp_path, 5)

    def test_a_removed_head_is_told_also_after_more_records(self, kept: Kept) -> None:
        head_path(kept.path).unlink()
        assert kept.found() == {(0, FlawKind.HEAD_MISSING)}
        for _ in range(2):
            new_journal(kept.path.parent).append("intent", {})
        assert kept.found() == {(6, FlawKind.HEAD_MISSING)}

    def test_a_record_that_could_not_be_written_does_not_use_up_the_telling(
        self, kept: Kept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        head_path(kept.path).unlink()
        with monkeypatch.context() as broken:
            broken.setattr(journal_module, "_write", refuses)
            with pytest.raises(JournalError, match="Input/output error"):
                new_journal(kept.path.parent).append("intent", {})
        assert kept.found() == {(0, FlawKind.HEAD_MISSING)}
        new_journal(kept.path.parent).append("intent", {})
        assert kept.found() == {(6, FlawKind.HEAD_MISSING)}

    def test_a_changed_head_is_told_also_after_more_records(self, kept: Kept) -> None:
        head_path(kept.path).write_bytes(b"\n" * 1024)
        for _ in range(2):
            new_journal(kept.path.parent).append("intent", {})
        assert kept.found() == {(6, FlawKind.HEAD_CHANGED)}

    def test_a_removed_journal_is_told_by_its_head(self, kept: Kept) -> None:
        kept.path.unlink()
        (flaw,) = kept.flaws()
        assert (flaw.line, flaw.kind, flaw.missing) == (0, FlawKind.FILE_REMOVED, 5)
        new_journal(kept.path.parent).append("intent", {})
        (flaw,) = kept.flaws()
        assert (flaw.line, flaw.kind, flaw.missing) == (1, FlawKind.REMOVED, 5)

    def test_a_journal_removed_with_its_head_is_told_by_its_reserve(self, kept: Kept) -> None:
        kept.path.unlink()
        head_path(kept.path).unlink()
        assert kept.found() == {(0, FlawKind.FILE_REMOVED)}
        new_journal(kept.path.parent).append("intent", {})
        assert kept.found() == {(1, FlawKind.HEAD_MISSING)}

    def test_all_three_moved_away_is_a_new_beginning(self, kept: Kept) -> None:
        for path in (kept.path, *siblings(kept.path)):
            path.unlink()
        with pytest.raises(JournalError):
            verify_journal(kept.path)
        new_journal(kept.path.parent).append("intent", {})
        assert kept.flaws() == ()

    def test_an_emptied_journal_is_told_by_what_lies_beside_it(self, kept: Kept) -> None:
        head, reserve = siblings(kept.path)
        kept.path.write_bytes(b"")
        assert kept.found() == {(1, FlawKind.END_REMOVED)}
        head.unlink()
        assert kept.found() == {(0, FlawKind.HEAD_MISSING)}
        reserve.unlink()
        with pytest.raises(JournalError, match="empty"):
            verify_journal(kept.path)

    def test_a_pipe_is_no_journal(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "journal.jsonl")
        with pytest.raises(JournalError, match="no regular file"):
            verify_journal(tmp_path / "journal.jsonl")
        with pytest.raises(JournalError, match="no regular file"):
            list(read_journal(tmp_path / "journal.jsonl"))

    def test_a_last_newline_that_was_taken_comes_back_with_the_next_record(self, kept: Kept) -> None:
        kept.put(kept.journal[:-1])
        assert kept.found() == {(5, FlawKind.CUT)}
        new_journal(kept.path.parent).append("intent", {})
        assert kept.flaws() == ()

    def test_a_flaw_tells_the_records_time_and_run(self, kept: Kept) -> None:
        lines = kept.lines
        lines[2] = lines[2].replace(b'"pause"', b'"kill!"')
        kept.put(lines)
        (flaw,) = kept.flaws()
        assert (flaw.at, flaw.run) == ("2026-09-21T14:13:20.000+00:00", "r1")

    def test_a_whole_journal_tells_its_span_and_its_last_hash(self, kept: Kept) -> None:
        found = check_journal(kept.path)
        hash_of_next = new_journal(kept.path.parent).append("intent", {})
        assert (found.flaws, found.records, found.size_bytes) == ((), 5, len(kept.journal))
        assert found.first_at == found.last_at == "2026-09-21T14:13:20.000+00:00"
        assert found.last.encode() in kept.path.read_bytes().splitlines()[-1]
        assert check_journal(kept.path).last == hash_of_next


class TestWithoutNumbers:
    """Records written before they had a number."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "journal.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in old_lines(6)))
        return path

    def test_they_are_whole_and_go_on_with_numbers(self, path: Path) -> None:
        assert verify_journal(path) == ()
        journal = new_journal(path.parent)
        journal.append("intent", {})
        assert b'"seq":7' in path.read_bytes().splitlines()[-1]
        assert verify_journal(path) == ()

    @pytest.mark.parametrize("index", range(5))
    def test_a_change_or_a_gap_is_found_after_it(self, path: Path, index: int) -> None:
        lines = old_lines(6)
        for spoilt in ([*lines[:index], b"{}", *lines[index + 1 :]], lines[:index] + lines[index + 1 :]):
            path.write_bytes(b"".join(line + b"\n" for line in spoilt))
            assert verify_journal(path)
            assert verify_journal(path)[0].line in (index + 1, index + 2)

    def test_swapped_ones_are_told_as_moved(self, path: Path) -> None:
        lines = old_lines(6)
        lines[1], lines[4] = lines[4], lines[1]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        found = [(flaw.line, flaw.kind) for flaw in verify_journal(path)]
        assert found == [(2, FlawKind.MOVED), (5, FlawKind.MOVED)]

    def test_numbers_that_follow_tell_removed_from_changed(self, path: Path) -> None:
        new_journal(path.parent).append("intent", {})
        kept = keep(path)
        kept.put(kept.lines[:2] + kept.lines[4:])
        (flaw,) = kept.flaws()
        assert (flaw.line, flaw.kind, flaw.missing) == (3, FlawKind.REMOVED, 2)
        kept.put([*kept.lines[:2], kept.lines[2].replace(b'"n":2', b'"n":7'), *kept.lines[3:]])
        assert kept.found() == {(3, FlawKind.CHANGED)}

    def test_the_end_is_guarded_from_the_first_new_record_on(self, path: Path) -> None:
        new_journal(path.parent).append("intent", {})
        kept = keep(path)
        kept.put(kept.lines[:-2])
        (flaw,) = kept.flaws()
        assert (flaw.line, flaw.kind, flaw.missing) == (6, FlawKind.END_REMOVED, 2)

    def test_an_older_pooldeck_may_write_in_between(self, path: Path) -> None:
        journal: Journal = new_journal(path.parent)
        journal.append("intent", {})
        older = path.read_bytes().splitlines()[-1]
        from console.audit.lines import line_hash

        line = b'{"kind":"outcome","previous":"' + line_hash(older).encode() + b'"}'
        with path.open("ab") as handle:
            handle.write(line + b"\n")
        assert verify_journal(path) == ()
        journal.append("intent", {})
        assert b'"seq":9' in path.read_bytes().splitlines()[-1]
        assert verify_journal(path) == ()
