"""The journal: chained, complete under concurrency, honest about tampering, and never half written."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from console.audit import journal as journal_module
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.audit.lines import FIRST, line_hash
from console.audit.processes import boot_id, is_alive, process_start
from console.audit.verify import FlawKind, verify_journal
from console.clock import FixedClock
from console.errors import JournalError
from tests.unit.audit.kit import siblings

WHO = Actor(user="ann", uid=1, host="bastion", pid=7, sudo_user=None, ssh_client="10.0.0.1 5 22")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.jsonl", FixedClock(), WHO)


def _lines(journal: Journal) -> list[bytes]:
    return journal.path.read_bytes().splitlines()


def test_each_record_carries_the_hash_of_the_one_before(journal: Journal) -> None:
    hashes = [journal.append("intent", {"n": n}) for n in range(3)]
    lines = _lines(journal)
    records = [json.loads(line) for line in lines]
    assert [record["previous"] for record in records] == [FIRST, *hashes[:2]]
    assert hashes == [line_hash(line) for line in lines]
    assert records[0]["who"] == {
        "user": "ann",
        "uid": 1,
        "host": "bastion",
        "pid": 7,
        "ssh_client": "10.0.0.1 5 22",
    }
    assert [record["seq"] for record in records] == [1, 2, 3]
    assert verify_journal(journal.path) == ()


def test_a_field_cannot_pass_for_the_journals_own(journal: Journal) -> None:
    journal.append("intent", {"who": {"user": "eve"}, "seq": 9, "previous": "x", "at": "never", "kind": "k"})
    record = json.loads(_lines(journal)[0])
    assert (record["who"]["user"], record["seq"], record["previous"]) == ("ann", 1, FIRST)
    assert (record["kind"], record["at"]) == ("intent", "2026-09-21T14:13:20.000+00:00")


def test_bytes_that_are_not_utf8_are_recorded_as_they_came(journal: Journal) -> None:
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x98")
    journal.append("intent", {"selector": name})
    journal.append("outcome", {})
    assert json.loads(_lines(journal)[0])["selector"] == name
    assert verify_journal(journal.path) == ()


def test_it_is_for_its_owner_alone(journal: Journal) -> None:
    journal.append("intent", {})
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_line_torn_by_a_crash_stays_as_evidence_and_the_chain_goes_on(journal: Journal) -> None:
    journal.append("intent", {"n": 0})
    with journal.path.open("ab") as handle:
        handle.write(b'{"kind":"int')
    assert [flaw.line for flaw in verify_journal(journal.path)] == [2]
    journal.append("intent", {"n": 1})
    assert [(flaw.line, flaw.kind) for flaw in verify_journal(journal.path)] == [(2, FlawKind.CUT)]
    assert [json.loads(line)["seq"] for line in (_lines(journal)[0], _lines(journal)[2])] == [1, 3]


def test_records_longer_than_one_read_are_chained(journal: Journal) -> None:
    journal.append("outcome", {"text": "x" * 200_000})
    journal.append("outcome", {"text": "y" * 70_000})
    journal.append("outcome", {})
    assert verify_journal(journal.path) == ()


def test_a_lock_held_by_another_process_is_an_error_not_a_hang(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_LOCK_PAUSES_S", (0.01, 0.01))
    journal.append("intent", {})
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; held = open(sys.argv[1]); fcntl.flock(held, 2); print(flush=True); input()",
            str(journal.path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(JournalError, match="lock"):
            journal.append("intent", {})
        holder.communicate(b"\n", timeout=10)
    journal.append("intent", {})


def test_a_symbolic_link_is_not_followed(journal: Journal, tmp_path: Path) -> None:
    journal.path.parent.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("")
    journal.path.symlink_to(victim)
    with pytest.raises(JournalError):
        journal.append("intent", {})
    assert victim.read_text() == ""


_WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
journal = Journal(Path(sys.argv[1]), SystemClock(), Actor.current({}))
for number in range(40):
    kind = "outcome" if number % 2 else "intent"
    journal.append(kind, {"writer": sys.argv[2], "n": number}, last_resort=kind == "outcome")
"""


def test_many_processes_write_at_once_while_others_read(journal: Journal) -> None:
    names = ("a", "b", "c", "d", "e", "f")
    journal.append("lease", {})
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(journal.path), name]) for name in names]
    while any(writer.poll() is None for writer in writers):
        assert verify_journal(journal.path) == ()
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 6
    assert verify_journal(journal.path) == ()
    records = [json.loads(line) for line in _lines(journal)]
    assert [record["seq"] for record in records] == list(range(1, 242))
    for name in names:
        assert [r["n"] for r in records if r.get("writer") == name] == list(range(40))


def test_a_record_that_is_being_written_is_waited_for(journal: Journal) -> None:
    journal.append("intent", {})
    whole = journal.path.read_bytes()
    with journal.path.open("r+b") as writing, ThreadPoolExecutor(1) as pool:
        fcntl.flock(writing, fcntl.LOCK_EX)
        writing.write(whole[:-20])
        writing.truncate()
        writing.flush()
        verified = pool.submit(verify_journal, journal.path)
        with pytest.raises(TimeoutError):
            verified.result(timeout=0.2)
        writing.write(whole[-20:])
        writing.flush()
        fcntl.flock(writing, fcntl.LOCK_UN)
        assert verified.result(timeout=30) == ()


def test_many_threads_write_at_once(journal: Journal) -> None:
    with ThreadPoolExecutor(16) as pool:
        hashes = list(pool.map(lambda number: journal.append("intent", {"n": number}), range(160)))
    assert len(set(hashes)) == 160
    assert [json.loads(line)["seq"] for line in _lines(journal)] == list(range(1, 161))
    assert verify_journal(journal.path) == ()


def test_a_journal_moved_away_while_a_writer_waits_gets_no_record_that_nobody_sees(journal: Journal) -> None:
    journal.append("intent", {"n": 0})
    with journal.path.open("rb") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = pool.submit(journal.append, "intent", {"n": 1})
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        for path in (journal.path, *siblings(journal.path)):
            path.rename(path.with_name(f"old-{path.name}"))
        fcntl.flock(held, fcntl.LOCK_UN)
        waiting.result(timeout=30)
    assert [json.loads(line)["n"] for line in _lines(journal)] == [1]
    assert verify_journal(journal.path) == ()


def test_the_actor_tells_sudo_and_ssh() -> None:
    actor = Actor.current({"SUDO_USER": "bea", "SSH_CLIENT": "192.0.2.7 50000 22"})
    assert (actor.sudo_user, actor.ssh_client) == ("bea", "192.0.2.7 50000 22")
    assert "sudo_user" not in Actor.current({}).as_dict()


def test_the_actor_tells_this_process_from_a_later_one_of_its_id() -> None:
    actor = Actor.current({})
    assert is_alive(actor.pid, actor.started)
    assert (actor.started, actor.boot) == (process_start(os.getpid()), boot_id())
    assert actor.started is not None
    assert actor.boot is not None
