"""What dead runs left in the state folder: claimed while it may be paused, gone once it is settled."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.operations.lease.legacy import LeaseLegacy
from console.operations.lease.store import LeasePhase, LeaseRecord, LeaseStore, LeaseTarget, ProcessMark
from console.operations.target import Target
from console.operations.unended import told
from tests.unit.operations.lease_kit import EDGE, order_for

ME = ProcessMark.of(Actor.current({}))
DEAD = replace(ME, started="1")
APP = Target("edge", "app")
LIMIT_S = 10.0


class Folder:
    """A state folder."""

    def __init__(self, path: Path) -> None:
        self.store = LeaseStore(path)
        self.journal = Journal(path / "journal.jsonl", SystemClock(), Actor.current({}))
        self.legacy = LeaseLegacy(path, self.journal)

    def leave(self, first: LeasePhase, second: LeasePhase, **changes: object) -> None:
        """Write the lease of a dead run over a bouncer and a database of it."""
        record = LeaseRecord(
            order=replace(order_for(EDGE, APP), lease_id="1ea5e"),
            owner=DEAD,
            guardian=DEAD,
            since_s=1000.0,
            targets=(LeaseTarget(EDGE, first), LeaseTarget(APP, second)),
        )
        self.store.write(replace(record, **changes))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_what_may_be_held_is_claimed_until_it_is_settled(folder: Folder) -> None:
    folder.leave(LeasePhase.HELD, LeasePhase.ARMED)
    claims = await folder.legacy.claims()
    assert [(claim.bouncer, claim.database, claim.alive) for claim in claims] == [
        ("edge", None, False),
        ("edge", "app", False),
    ], "what a dead guardian had armed may be paused as well"
    await folder.legacy.settled("edge", None)
    assert [claim.database for claim in await folder.legacy.claims()] == ["app"]
    await folder.legacy.settled("edge", "app")
    assert await folder.legacy.claims() == ()
    assert folder.store.list_leases() == ()


@pytest.mark.parametrize("phase", [LeasePhase.RELEASED, LeasePhase.LIFTED, LeasePhase.ENDED])
async def test_a_file_with_nothing_left_in_it_is_removed(folder: Folder, phase: LeasePhase) -> None:
    folder.leave(phase, LeasePhase.RELEASED)
    assert await folder.legacy.claims() == ()
    assert folder.store.list_leases() == ()


async def test_a_living_guardians_file_is_left_to_it(folder: Folder) -> None:
    folder.leave(LeasePhase.RELEASED, LeasePhase.RELEASED, guardian=ME)
    assert await folder.legacy.claims() == ()
    assert len(folder.store.list_leases()) == 1


async def test_what_a_guardian_could_not_record_is_recorded_at_the_end(folder: Folder) -> None:
    folder.leave(LeasePhase.FAILED, LeasePhase.RELEASED, unrecorded=("outcome of edge: no space",))
    await folder.legacy.settled("edge", None)
    assert folder.store.list_leases() == ()
    records = [json.loads(line) for line in folder.journal.path.read_text().splitlines()]
    assert [record["what"] for record in records if record["kind"] == "lease"] == [
        ["outcome of edge: no space"]
    ]


def intent_of_a_dead_process(folder: Folder, op: str, target: str) -> None:
    """Record an intent as another process, which is gone by now."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(LIMIT_S)
    actor = replace(Actor.current({}), pid=gone.pid, started="1")
    journal = Journal(folder.journal.path, SystemClock(), actor)
    journal.append("intent", {"run": f"run-{op}", "op": op, "target": target, "statements": []})


async def test_an_intent_of_a_dead_run_gets_the_end_that_is_true(folder: Folder) -> None:
    for op, target in (("pause", "edge"), ("reload", "edge"), ("pause", "edge/app"), ("pause", "other")):
        intent_of_a_dead_process(folder, op, target)
    assert await folder.legacy.unfinished("edge") == (None, "app")
    await folder.legacy.settled("edge", None)
    assert await folder.legacy.unfinished("edge") == ("app",)
    records = [json.loads(line) for line in folder.journal.path.read_text().splitlines()]
    ends = {record["op"]: (record["outcome"], record["after"]) for record in records if "outcome" in record}
    assert ends == {"pause": ("ok", "running"), "reload": ("unknown", None)}


async def test_a_lease_with_something_to_record_has_no_end_yet(folder: Folder) -> None:
    folder.leave(LeasePhase.RELEASED, LeasePhase.RELEASED, unrecorded=("outcome of edge: no space",))
    assert await folder.legacy.unfinished("edge") == (None, "app")
    assert await folder.legacy.unfinished("other") == ()
    await folder.legacy.settled("edge", None)
    assert await folder.legacy.unfinished("edge") == ()


async def test_what_a_dead_run_never_ended_is_told_with_what_shows_it(folder: Folder) -> None:
    for op, target in (("restart", "edge"), ("pause", "other/app")):
        intent_of_a_dead_process(folder, op, target)
    first, second = await folder.legacy.unended()
    assert first.words.startswith(f"restart edge of {Actor.current({}).user}@")
    assert "begun 20" in first.words
    assert told(first).endswith("next: pooldeck process edge; then pooldeck mend edge closes its record")
    assert (second.op, second.target) == ("pause", "other/app")
    assert told(second).endswith("next: pooldeck mend other")
    await folder.legacy.settled("edge", None)
    assert await folder.legacy.unended() == (second,)


async def test_what_a_guardian_still_holds_has_not_been_left(folder: Folder) -> None:
    intent_of_a_dead_process(folder, "pause", "edge")
    (left,) = await folder.legacy.unended()
    order = replace(order_for(EDGE), run_id=left.run_id)
    folder.leave(LeasePhase.HELD, LeasePhase.RELEASED, guardian=ME, order=order)
    assert await folder.legacy.unended() == ()
