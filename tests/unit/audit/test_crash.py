"""A writer killed at any moment leaves a journal that verifies, but for the one line it was writing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from console.audit.head import head_path
from console.audit.lines import parse_line
from console.audit.verify import FlawKind, verify_journal
from tests.unit.audit.kit import new_journal

LIMIT_S = 30.0

_ENDLESS = """
import sys
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
journal = Journal(Path(sys.argv[1]), SystemClock(), Actor.current({}))
number = 0
while True:
    number += 1
    print(journal.append("intent", {"n": number, "detail": "x" * (number * 9973 % 60_000)}), flush=True)
"""

_DIES_WRITING = """
import os, signal, sys
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
path, call, file, part = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
real_write, real_sync = os.pwrite, os.fsync

def die_at(now, handle):
    if now == call and os.readlink(f"/proc/self/fd/{handle}").endswith(file):
        os.kill(os.getpid(), signal.SIGKILL)

def write(handle, data, offset):
    if call == "write":
        real_write(handle, data[: int(len(data) * part)], offset)
    die_at("write", handle)
    return real_write(handle, data, offset)

def sync(handle):
    die_at("sync", handle)
    real_sync(handle)

os.pwrite, os.fsync = write, sync
Journal(path, SystemClock(), Actor.current({})).append("intent", {"detail": "y" * 500})
"""


def _acknowledged(path: Path, size: int) -> list[bytes]:
    """Run a writer until the journal has grown to `size`, kill it, and return the hashes it was given."""
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(path)], stdout=subprocess.PIPE)
    with writer:
        try:
            deadline = time.monotonic() + LIMIT_S
            while not path.exists() or path.stat().st_size < size:
                assert time.monotonic() < deadline
        finally:
            writer.kill()
        told, _ = writer.communicate(timeout=LIMIT_S)
    # The last one is cut when it died in the middle of telling it.
    return [line for line in told.split(b"\n")[:-1] if len(line) == 64]


def test_killed_at_random_moments_it_verifies_and_goes_on(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "journal.jsonl"
    told: list[bytes] = []
    for _ in range(12):
        size = path.stat().st_size if path.exists() else 0
        told += _acknowledged(path, size + chance.randrange(1, 400_000))
        assert {flaw.kind for flaw in verify_journal(path)} <= {FlawKind.CUT}
    new_journal(tmp_path).append("outcome", {})
    assert {flaw.kind for flaw in verify_journal(path)} <= {FlawKind.CUT}
    content = path.read_bytes()
    assert len(told) > 12
    # Each hash stands in the record that follows it: nothing that was acknowledged is lost.
    assert all(one in content for one in told)


def _kinds(path: Path) -> set[FlawKind]:
    """Return what is wrong with a journal; one that nothing was written to yet is well."""
    if not path.stat().st_size and not head_path(path).exists():
        return set()
    return {flaw.kind for flaw in verify_journal(path)}


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(
    ("call", "file", "parts"),
    [
        ("write", ".jsonl", (0.0, 0.002, 0.3, 0.7, 1.0)),
        ("sync", ".jsonl", (1.0,)),
        # Never in the middle: so few bytes reach the page cache in one go.
        ("write", ".head", (0.0, 1.0)),
        ("write", ".head-new", (0.0, 0.5, 1.0)),
        ("sync", ".head-new", (1.0,)),
        ("write", ".reserve", (0.0, 0.5)),
    ],
)
def test_killed_at_each_step(
    tmp_path: Path, before: int, call: str, file: str, parts: tuple[float, ...]
) -> None:
    journal = new_journal(tmp_path)
    for _ in range(before):
        journal.append("intent", {})
    ends = set()
    for part in parts:
        command = [sys.executable, "-c", _DIES_WRITING, str(journal.path), call, file, str(part)]
        ends.add(subprocess.run(command, timeout=LIMIT_S, check=False).returncode)
        torn = bool(journal.path.stat().st_size) and not journal.path.read_bytes().endswith(b"\n")
        assert _kinds(journal.path) <= {FlawKind.CUT}
        assert bool(_kinds(journal.path)) >= torn
    # Head and reserve are made once: then there is nothing to be killed at.
    assert ends == ({0} if before and file in (".head-new", ".reserve") else {-signal.SIGKILL})
    journal.append("outcome", {"last": True})
    lines = journal.path.read_bytes().splitlines()
    spoilt = [number for number, line in enumerate(lines, start=1) if parse_line(line) is None]
    assert [flaw.line for flaw in verify_journal(journal.path)] == spoilt
    assert parse_line(lines[-1]) is not None
    assert _kinds(journal.path) <= {FlawKind.CUT}


def test_what_lies_before_a_torn_line_is_still_vouched_for(tmp_path: Path) -> None:
    journal = new_journal(tmp_path)
    for number in range(3):
        journal.append("intent", {"n": number})
    with journal.path.open("ab") as handle:
        handle.write(b'{"kind":"int')
    journal.append("outcome", {})
    journal.append("outcome", {})
    content = journal.path.read_bytes()
    journal.path.write_bytes(content.replace(b'"n":2', b'"n":7'))
    assert {(flaw.line, flaw.kind) for flaw in verify_journal(journal.path)} == {
        (3, FlawKind.CHANGED),
        (4, FlawKind.CUT),
    }
    journal.path.write_bytes(b"".join(content.splitlines(keepends=True)[index] for index in (0, 1, 3, 4, 5)))
    assert {(flaw.line, flaw.kind, flaw.missing) for flaw in verify_journal(journal.path)} == {
        (3, FlawKind.CUT, 0),
        (4, FlawKind.REMOVED, 1),
    }
