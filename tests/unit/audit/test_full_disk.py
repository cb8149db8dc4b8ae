"""A disk that fills: nothing is begun that could not be told, and what was begun is told all the same."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.audit import journal as journal_module
from console.audit.head import head_path
from console.audit.journal import Journal
from console.audit.lines import parse_line
from console.audit.reserve import RESERVE_BYTES, reserve_path
from console.audit.verify import verify_journal
from console.errors import JournalError
from tests.harness.disks import LIMIT_S, fill, small_disk, use_up
from tests.unit.audit.kit import new_journal


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def kinds(journal: Journal) -> list[str]:
    records = [parse_line(line) for line in journal.path.read_bytes().splitlines()]
    return [record["kind"] for record in records if record is not None]


def test_the_reserve_is_really_set_aside_and_for_its_owner_alone(tmp_path: Path) -> None:
    journal = new_journal(tmp_path)
    journal.append("intent", {})
    for path in (reserve_path(journal.path), head_path(journal.path)):
        assert path.stat().st_mode & 0o777 == 0o600
    found = reserve_path(journal.path).stat()
    assert found.st_blocks * 512 >= found.st_size == RESERVE_BYTES


def test_an_outcome_is_recorded_on_a_disk_that_filled_up_meanwhile(disk: Path) -> None:
    journal = new_journal(disk)
    journal.append("intent", {"n": 1})
    fill(disk)
    before = journal.path.read_bytes()
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append("intent", {"detail": "x" * 8_000})
    assert journal.path.read_bytes() == before
    journal.append("outcome", {"detail": "x" * 8_000}, last_resort=True)
    # No more of it is given up than the record needs: others are filling the same disk.
    assert reserve_path(journal.path).stat().st_size >= RESERVE_BYTES - 8_000 - 3 * 4_096
    assert kinds(journal) == ["intent", "outcome"]
    assert verify_journal(journal.path) == ()


def test_nothing_is_begun_again_before_the_reserve_is_whole(disk: Path) -> None:
    journal = new_journal(disk)
    journal.append("intent", {})
    filler = fill(disk)
    journal.append("outcome", {"detail": "x" * 8_000}, last_resort=True)
    # The record itself would fit into what is left of the last page.
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append("intent", {})
    journal.append("outcome", {}, last_resort=True)
    filler.unlink()
    journal.append("intent", {})
    assert reserve_path(journal.path).stat().st_size == RESERVE_BYTES
    assert kinds(journal) == ["intent", "outcome", "outcome", "intent"]
    assert verify_journal(journal.path) == ()


def test_without_room_for_a_reserve_nothing_is_begun_and_no_room_is_taken(disk: Path) -> None:
    journal = new_journal(disk)
    filler = fill(disk, leave_bytes=RESERVE_BYTES // 2)
    free = os.statvfs(disk).f_bfree
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append("intent", {})
    assert journal.path.read_bytes() == b""
    # The head, of one page, stays: it says that nothing was recorded yet.
    assert os.statvfs(disk).f_bfree >= free - 1
    filler.unlink()
    journal.append("intent", {})
    assert verify_journal(journal.path) == ()


_OUTCOMES = """
import sys
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
journal = Journal(Path(sys.argv[1]), SystemClock(), Actor.current({}))
for number in range(20):
    journal.append("outcome", {"n": number, "detail": "x" * 2_000}, last_resort=True)
"""


def test_the_outcomes_of_many_consoles_fit_though_the_disk_is_filled_again_and_again(disk: Path) -> None:
    journal = new_journal(disk)
    journal.append("intent", {})
    fill(disk)
    writers = [
        subprocess.Popen([sys.executable, "-c", _OUTCOMES, str(journal.path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    with (disk / "greedy").open("ab", buffering=0) as greedy:
        while any(writer.poll() is None for writer in writers):
            use_up(greedy)
    told = [writer.communicate(timeout=LIMIT_S)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0], told
    assert kinds(journal) == ["intent", *["outcome"] * 80]
    assert verify_journal(journal.path) == ()


def test_when_even_the_reserve_is_used_up_it_is_an_error_and_the_journal_is_whole(disk: Path) -> None:
    journal = new_journal(disk)
    journal.append("intent", {})
    fill(disk)
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append("outcome", {"detail": "x" * (RESERVE_BYTES * 2)}, last_resort=True)
    assert kinds(journal) == ["intent"]
    assert verify_journal(journal.path) == ()


_LIMITED = """
import resource, sys
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.errors import JournalError
journal = Journal(Path(sys.argv[1]), SystemClock(), Actor.current({}))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    journal.append(sys.argv[3], {"detail": "x" * 9_000}, last_resort=sys.argv[3] == "outcome")
except JournalError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["intent", "outcome"])
@pytest.mark.parametrize("limit", [100, 4_096, 8_000])
def test_a_limit_of_the_files_size_is_like_a_full_disk(tmp_path: Path, kind: str, limit: int) -> None:
    """No right to mount is needed for this one: the kernel refuses in the middle of the record."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    journal = new_journal(tmp_path)
    journal.append("intent", {})
    before = journal.path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(journal.path), str(limit), kind],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert "the journal cannot be written: File too large" in done.stdout
    assert journal.path.read_bytes() == before
    assert verify_journal(journal.path) == ()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = new_journal(tmp_path)
    journal.append("intent", {"n": 0})
    before = journal.path.read_bytes()
    real = os.pwrite

    def fills_up(handle: int, data: bytes, offset: int) -> int:
        real(handle, data[:10], offset)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "pwrite", fills_up)
    for last_resort in (False, True):
        with pytest.raises(JournalError, match="Disk quota exceeded"):
            journal.append("intent", {"n": 1}, last_resort=last_resort)
        assert journal.path.read_bytes() == before


def test_a_head_that_cannot_be_written_stops_an_intent_and_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = new_journal(tmp_path)
    journal.append("intent", {"n": 0})

    def refuses(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(journal_module, "move_head", refuses)
        with pytest.raises(JournalError, match="Input/output error"):
            journal.append("intent", {"n": 1})
        journal.append("outcome", {"n": 0}, last_resort=True)
        journal.append("outcome", {"n": 0}, last_resort=True)
    assert kinds(journal) == ["intent", "outcome", "outcome"]
    assert verify_journal(journal.path) == ()
    journal.append("intent", {"n": 2})
    assert verify_journal(journal.path) == ()
