"""Lease files and locks: what one process leaves is what the next one reads, however the first one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.processes import process_start
from console.errors import JournalError, RefusedError
from console.operations.lease.locks import BouncerLocks, Holder
from console.operations.lease.store import (
    BootClock,
    LeasePhase,
    LeaseRecord,
    LeaseStore,
    LeaseTarget,
    ProcessMark,
    with_target,
)
from console.operations.target import Target
from tests.unit.operations.lease_kit import EDGE, order_for

ME = ProcessMark.of(Actor.current({}))
DEAD = replace(ME, started="1")
APP = Target("edge", "app")


def _record(lease_id: str = "1ea5e", **changes: object) -> LeaseRecord:
    made = LeaseRecord(
        order=replace(order_for(EDGE, APP), lease_id=lease_id),
        owner=ME,
        guardian=ME,
        since_s=1000.0,
        targets=(
            LeaseTarget(EDGE, LeasePhase.HELD, "", 5000.0, 2000.0),
            LeaseTarget(APP, LeasePhase.ARMED),
        ),
        keepers=(("far", "1ea5e-edge"),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> LeaseStore:
    return LeaseStore(tmp_path)


def test_a_lease_is_read_as_it_was_written(store: LeaseStore) -> None:
    record = _record()
    store.write(record)
    assert store.list_leases() == (record,)
    assert store.read("1ea5e") == record
    assert [one.target for one in record.open_targets] == [EDGE]
    changed = with_target(record, 1, phase=LeasePhase.FAILED, detail="gave up")
    store.write(changed)
    assert store.list_leases() == (changed,)
    store.forget("1ea5e")
    store.forget("1ea5e")
    assert store.list_leases() == ()
    assert store.read("1ea5e") is None


def test_only_its_owner_may_read_it(store: LeaseStore) -> None:
    store.write(_record())
    (file,) = store.folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_no_folder_is_no_lease(store: LeaseStore) -> None:
    told: list[str] = []
    assert store.list_leases(told.append) == ()
    assert told == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"order":{}}', b"null", b"\xff", b"[" * 50_000])
def test_a_broken_file_is_told_and_hides_no_other(store: LeaseStore, content: bytes) -> None:
    store.write(_record())
    (store.folder / "bad.json").write_bytes(content)
    told: list[str] = []
    assert [record.id for record in store.list_leases(told.append)] == ["1ea5e"]
    assert len(told) == 1
    assert "bad.json is cut or was overwritten" in told[0]


def test_a_file_that_cannot_be_read_is_told(store: LeaseStore) -> None:
    store.folder.mkdir()
    (store.folder / "dir.json").mkdir()
    told: list[str] = []
    assert store.list_leases(told.append) == ()
    assert "dir.json cannot be read: Is a directory" in told[0]


def test_a_write_that_fails_leaves_what_was_there(store: LeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _record()
    store.write(record)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(replace(record, handed_over=True))
    assert store.list_leases() == (record,)
    assert [file.name for file in store.folder.iterdir()] == ["1ea5e.json"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a.json"])
def test_a_lease_of_another_name_leads_nowhere(store: LeaseStore, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a lease"):
        store.forget(name)


@pytest.mark.parametrize(
    ("owner", "guardian", "orphan"),
    [
        (ME, ME, False),
        (DEAD, ME, False),
        (ME, DEAD, False),
        (DEAD, DEAD, True),
        (replace(ME, boot="another boot"), replace(ME, boot="another boot"), True),
        (replace(DEAD, host="elsewhere"), replace(DEAD, host="elsewhere"), False),
    ],
)
def test_an_orphan_is_a_lease_nobody_alive_sees_to(
    store: LeaseStore, owner: ProcessMark, guardian: ProcessMark, orphan: bool
) -> None:
    """Another machine's processes cannot be looked at, so its leases are left to it."""
    store.write(_record(owner=owner, guardian=guardian))
    assert bool(store.orphans()) is orphan


def test_how_long_it_lasts_is_told_by_the_clock_of_this_boot(store: LeaseStore) -> None:
    record = _record()
    assert record.remaining_s(4990.0) == 10.0
    assert record.remaining_s(6000.0) == 0.0
    assert replace(record, guardian=replace(ME, boot="another boot")).remaining_s(0.0) is None
    over = with_target(record, 0, phase=LeasePhase.LIFTED)
    assert over.remaining_s(4990.0) is None
    assert BootClock().monotonic_s() >= time.monotonic() - 1.0


# -- locks ----------------------------------------------------------------------------------------


def _holder(title: str = "PAUSE edge") -> Holder:
    return Holder.of(Actor.current({}), title, "run", 1_790_000_000.0)


def test_a_bouncer_is_one_consoles_at_a_time(tmp_path: Path) -> None:
    locks = BouncerLocks(tmp_path, "test")
    with locks.acquire(["edge", "edge"], _holder()):
        with pytest.raises(RefusedError, match=r"PAUSE edge of .* is still running on edge") as caught:
            BouncerLocks(tmp_path, "test").acquire(["other", "edge"], _holder("RELOAD"))
        assert caught.value.where == "operations.busy"
        assert str(os.getpid()) in caught.value.message
        assert "since 14:13:20 UTC" in caught.value.message
        locks.acquire(["other"], _holder()).release()
        BouncerLocks(tmp_path, "another fleet").acquire(["edge"], _holder()).release()
        assert locks.holder("edge") == _holder()
    assert locks.holder("edge") is None
    assert locks.holder("never used") is None
    locks.acquire(["edge"], _holder()).release()


def test_names_lead_out_of_no_folder(tmp_path: Path) -> None:
    held = BouncerLocks(tmp_path, "../fleet").acquire(["../../etc/passwd"], _holder())
    assert [file.name for file in (tmp_path / "locks").iterdir()] == [
        "..%2Ffleet@..%2F..%2Fetc%2Fpasswd.lock"
    ]
    held.release()
    held.release()


def test_locks_that_cannot_be_kept_stop_the_operation(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where the folder should be")
    with pytest.raises(JournalError, match="locks of bouncers cannot be kept"):
        BouncerLocks(tmp_path, "test").acquire(["edge"], _holder())


_HOLD = """
import sys, time
from pathlib import Path
from console.audit.actor import Actor
from console.operations.lease.locks import BouncerLocks, Holder
who = Holder.of(Actor.current({}), "PAUSE", "r", 0)
held = BouncerLocks(Path(sys.argv[1]), "test").acquire(["edge"], who)
print("held", flush=True)
time.sleep(60)
"""


def test_the_kernel_gives_a_dead_consoles_locks_back(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        locks = BouncerLocks(tmp_path, "test")
        with pytest.raises(RefusedError, match=str(process.pid)):
            locks.acquire(["edge"], _holder())
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        locks.acquire(["edge"], _holder()).release()


def test_a_mark_of_this_process_lives() -> None:
    assert ME.alive(ME.host) is True
    assert ME.started == process_start(os.getpid())
