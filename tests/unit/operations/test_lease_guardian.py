"""What a guardian decides, by a clock that the test moves and on a pooler that does as it is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from console.errors import AdminError, LostConnection, NodeError, Phase
from console.operations.lease.guardian import Guardian
from console.operations.lease.protocol import Beat, Expose, Limits
from console.operations.lease.store import LeasePhase, LeaseRecord, LeaseStore
from console.operations.target import Target
from tests.unit.operations.lease_kit import EDGE, Bed, CountingPooler, order_for, until

APP = Target("edge", "app")


@pytest.fixture
def pooler() -> CountingPooler:
    return CountingPooler()


@pytest.fixture
def bed(pooler: CountingPooler, tmp_path: Path) -> Bed:
    return Bed(pooler, tmp_path)


async def test_a_wall_clock_that_jumps_ends_nothing(bed: Bed, pooler: CountingPooler) -> None:
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease.held([EDGE])
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.HELD)
    for jump_s in (86_400.0, -172_800.0):
        bed.clock.wall_shift_s += jump_s
        bed.clock.shift_s += 1.0
        await asyncio.sleep(0.3)
        assert pooler.paused
    bed.clock.shift_s += 45.0
    await until(lambda: not pooler.paused)
    await lease.close()
    assert await bed.ended() == 0
    assert bed.records("outcome")[0]["why"] == "its time was up"


async def test_a_machine_that_slept_has_held_for_too_long(bed: Bed, pooler: CountingPooler) -> None:
    """Its clock went on while nobody could say a word."""
    lease = await bed.open(limits=Limits(poll_s=0.02))
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease.held([EDGE])
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.HELD)
    bed.clock.shift_s += 3600.0
    await until(lambda: not pooler.paused)
    await lease.close()
    await bed.ended()


async def test_each_target_has_its_own_time(bed: Bed, pooler: CountingPooler) -> None:
    lease = await bed.open(order_for(EDGE, APP, drain_s=5, hold_s=5))
    lease.expose([APP])
    await pooler.take('PAUSE "app"')
    await until(lambda: bed.store.list_leases()[0].targets[1].ends_boot_s is not None)
    bed.clock.shift_s += 10.0
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    await until(lambda: bed.store.list_leases()[0].targets[0].ends_boot_s is not None)
    bed.clock.shift_s += 5.5
    await until(lambda: not pooler.paused_databases)
    assert pooler.paused, "its time is not up"
    bed.clock.shift_s += 10.0
    await until(lambda: not pooler.paused)
    await lease.close()
    await bed.ended()


async def test_a_resume_whose_answer_is_lost_is_read_back_and_not_sent_twice(
    bed: Bed, pooler: CountingPooler
) -> None:
    def lose(statement: str) -> None:
        if statement == "RESUME":
            pooler.after_execute = lambda _: None
            raise LostConnection(Phase.PROTOCOL, "the connection broke")

    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    pooler.after_execute = lose
    await lease.close()
    assert await bed.ended() == 0
    assert pooler.executed.count("RESUME") == 1
    (outcome,) = bed.records("outcome")
    assert (outcome["outcome"], outcome["after"]) == ("ok", "running")


async def test_a_refused_resume_is_tried_again(bed: Bed, pooler: CountingPooler) -> None:
    refusals = iter([True, True, False])

    def refuse(statement: str) -> None:
        if statement == "RESUME" and next(refusals):
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    pooler.before_execute = refuse
    await lease.close()
    assert await bed.ended() == 0
    assert pooler.executed.count("RESUME") == 3
    assert len(bed.records("undo")) == 1, "recorded once for as often as it was tried"


async def test_what_cannot_be_lifted_is_given_up_after_a_time_and_left_on_record(
    bed: Bed, pooler: CountingPooler
) -> None:
    def refuse(statement: str) -> None:
        if statement == "RESUME":
            bed.clock.shift_s += 400.0
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    pooler.before_execute = refuse
    await lease.close()
    assert await bed.ended() == 1
    (outcome,) = bed.records("outcome")
    assert outcome["outcome"] == "unknown"
    assert "shutting down" in outcome["detail"]
    assert "pooldeck resume edge" in outcome["next_steps"]
    (left,) = bed.store.list_leases()
    assert left.targets[0].phase is LeasePhase.FAILED


async def test_an_internal_error_does_not_stop_it(bed: Bed, pooler: CountingPooler) -> None:
    errors = iter([RuntimeError("a mistake of ours"), None])

    def fail(statement: str) -> None:
        error = next(errors) if statement == "RESUME" else None
        if error is not None:
            raise error

    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    pooler.before_execute = fail
    await lease.close()
    assert await bed.ended() == 0
    assert not pooler.paused


async def test_one_that_cannot_be_lifted_does_not_hold_up_the_other(bed: Bed, pooler: CountingPooler) -> None:
    def refuse(statement: str) -> None:
        if statement == "RESUME" and pooler.paused_databases:
            raise AdminError("pooler is shutting down", sqlstate="08P01")

    lease = await bed.open(order_for(EDGE, APP))
    lease.expose([EDGE, APP])
    await pooler.take('PAUSE "app"')
    await pooler.take("PAUSE")
    pooler.before_execute = refuse
    await lease.close()
    assert await bed.ended() == 0
    assert not pooler.anything_paused


async def test_a_killed_database_counts_as_ours_although_its_counters_began_anew(
    bed: Bed, pooler: CountingPooler
) -> None:
    """KILL destroys them; the session is lost besides."""
    lease = await bed.open(order_for(APP, op="kill"))
    lease.expose([APP])
    pooler.paused_databases.add("app")
    pooler.traffic.clear()
    pooler.gone = True
    await lease.close()
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.LIFTING)
    pooler.gone = False
    assert await bed.ended() == 0
    assert not pooler.paused_databases


async def test_a_verb_that_no_resume_takes_back_has_no_guardian(bed: Bed) -> None:
    (cover,) = order_for(EDGE).covers
    lease = await bed.open(replace(order_for(EDGE), covers=(replace(cover, lift=("ENABLE",)),)))
    assert "no RESUME" in lease.uncovered[EDGE]
    await lease.close()
    await bed.ended()


async def test_a_run_that_talks_nonsense_is_over(bed: Bed, pooler: CountingPooler) -> None:
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease._link.send(b'{"say":"ready"}\n')
    await until(lambda: not pooler.paused)
    assert await bed.ended() == 0
    assert lease.lost.is_set()
    await lease.close()


async def test_a_hold_handed_over_survives_the_silence_of_its_run(bed: Bed, pooler: CountingPooler) -> None:
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease.held([EDGE])
    await lease.hand_over(100.0)
    await lease.close()
    bed.clock.shift_s += 50.0
    await asyncio.sleep(0.3)
    assert pooler.paused
    bed.clock.shift_s += 51.0
    assert await bed.ended() == 0
    assert not pooler.anything_paused
    assert [one["event"] for one in bed.records("lease")] == ["armed", "handed over", "over"]


async def test_what_is_armed_and_never_exposed_is_never_touched(bed: Bed, pooler: CountingPooler) -> None:
    lease = await bed.open()
    pooler.paused = True
    bed.clock.shift_s += 3600.0
    await lease.close()
    assert await bed.ended() == 0
    assert pooler.paused, "somebody else's"
    assert bed.records("outcome") == []


async def test_a_pooler_that_cannot_be_logged_in_to_is_not_covered(bed: Bed, pooler: CountingPooler) -> None:
    pooler.gone = True
    lease = await bed.open()
    assert lease.uncovered == {EDGE: "Connection refused (connect)"}
    with pytest.raises(NodeError, match="edge is not covered"):
        lease.expose([EDGE])
    await lease.close()
    await bed.ended()


async def test_a_session_lost_before_the_first_statement_says_nothing_of_the_pooler(
    bed: Bed, pooler: CountingPooler
) -> None:
    """It was restarted after arming; the run then paused the new process."""
    lease = await bed.open()
    await pooler.hang_up()
    pooler.traffic = {"app": 5}
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    await lease.close()
    assert await bed.ended() == 0
    assert not pooler.paused


async def test_a_pause_that_arrives_after_its_run_died_is_ended_too(bed: Bed, pooler: CountingPooler) -> None:
    pooler.pause_lag = asyncio.Event()
    lease = await bed.open()
    lease.expose([EDGE])
    on_its_way = asyncio.create_task(pooler.take("PAUSE"))
    await lease.close()
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.LIFTING)
    assert "RESUME" not in pooler.executed
    pooler.pause_lag.set()
    await on_its_way
    assert await bed.ended() == 0
    assert not pooler.paused
    assert bed.records("outcome")[0]["outcome"] == "ok"


async def test_a_pooler_seen_running_is_not_ours_when_it_is_paused_again(
    bed: Bed, pooler: CountingPooler
) -> None:
    """Nobody was served meanwhile, so the counters tell nothing."""
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease.held([EDGE])
    await until(lambda: bed.store.list_leases()[0].targets[0].phase is LeasePhase.HELD)
    await _looked(pooler)
    await pooler.take("RESUME")
    await _looked(pooler)
    await pooler.take("PAUSE")
    await lease.close()
    assert await bed.ended() == 0
    assert pooler.paused
    assert pooler.executed.count("RESUME") == 1


async def _looked(pooler: CountingPooler) -> None:
    """Wait until it was looked at, from beginning to end."""
    before = pooler.looks
    await until(lambda: pooler.looks >= before + 2)


async def test_the_last_word_of_a_run_is_heard_although_it_can_be_answered_no_more(
    bed: Bed, pooler: CountingPooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies may have said that a statement is on its way, and the guardian speaks just then."""
    lease = await bed.open()
    real = Guardian._tick

    def dies_first(self: Guardian, now_s: float) -> None:
        if not lease.lost.is_set():
            lease.lost.set()
            lease._send(Expose((0,)))
            lease.abandon()
            self._line.say(Beat())
        real(self, now_s)

    monkeypatch.setattr(Guardian, "_tick", dies_first)
    await until(lambda: lease.lost.is_set())
    await pooler.take("PAUSE")
    assert await bed.ended() == 0
    assert not pooler.paused


class _SlowStore(LeaseStore):
    """Its disk takes its time."""

    def write(self, record: LeaseRecord) -> None:
        time.sleep(0.2)
        super().write(record)


async def test_a_slow_disk_brings_no_lease_back_that_is_over(
    bed: Bed, pooler: CountingPooler, tmp_path: Path
) -> None:
    bed.store = _SlowStore(tmp_path)
    lease = await bed.open()
    lease.expose([EDGE])
    await lease.release([EDGE])
    await lease.close()
    assert await bed.ended() == 0
    await asyncio.sleep(0.5)
    assert bed.store.list_leases() == ()


async def test_a_mistake_in_its_own_loop_ends_what_is_held(
    bed: Bed, pooler: CountingPooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("console.operations.lease.guardian.Guardian._tick", fail)
    assert await bed.ended() == 0
    assert not pooler.paused
    assert lease.lost.is_set()
    await lease.close()
    assert bed.records("outcome")[0]["why"] == "its guardian failed"


async def test_a_mistake_while_looking_costs_no_lift(
    bed: Bed, pooler: CountingPooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("console.operations.lease.ward.Ward._see", fail)
    lease = await bed.open()
    lease.expose([EDGE])
    await pooler.take("PAUSE")
    lease.held([EDGE])
    await asyncio.sleep(0.1)
    await lease.close()
    assert await bed.ended() == 0
    assert not pooler.paused
