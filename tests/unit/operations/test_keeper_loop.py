"""What a keeper decides, against poolers that do what no real one can be made to do at the right moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from console.operations.lease import keeper_script
from console.operations.lease.keeper_pooler import (
    ANOTHER_PROCESS,
    FAILED,
    NOT_PAUSED,
    RELEASED,
    RESUMED,
    Look,
    Over,
    Pooler,
    Stranger,
)
from console.operations.lease.keeper_script import Keeper
from console.operations.lease.keeper_wire import Refused, Trouble

ORDER: dict[str, Any] = {
    "database": "app",
    "lift": ["SET server_login_retry = 0", 'RESUME "app"', "SET server_login_retry = 15"],
    "query_timeout_s": 2.0,
    "rescue_s": 60.0,
}
PAUSED, RUNNING = Look(True, {"app": 10, "other": 5}), Look(False, {"app": 10, "other": 5})
BUSY_ELSEWHERE = Look(True, {"app": 10, "other": 99})
SERVED_AND_PAUSED = Look(True, {"app": 11, "other": 5})
LOST = Trouble("protocol", "the connection broke")


class Scripted(Pooler):
    """Sees and answers what a test wrote down, in turn; the last one for ever."""

    def __init__(self, looks: Sequence[Look | Exception], replies: dict[str, list[Exception | None]]) -> None:
        super().__init__(ORDER, None)
        self.looks = list(looks)
        self.replies = replies
        self.sent: list[str] = []
        self.up = True

    @property
    def connected(self) -> bool:
        return self.up

    def look(self, limit_s: float, sure: bool) -> Look:  # noqa: ARG002
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        self.up = True
        return found

    def send(self, statement: str) -> str:
        self.sent.append(statement)
        answers = self.replies.get(statement)
        answer = answers.pop(0) if answers else None
        if answer is not None:
            self.up = isinstance(answer, Refused)
            raise answer
        return "OK"

    def warm_up(self) -> None:
        return

    def drop(self) -> None:
        self.up = False


class Ticks:
    """A keeper under a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(keeper_script, "clock", lambda: self.now_s)

    def keeper(self, *looks: Look | Exception, **replies: list[Exception | None]) -> tuple[Keeper, Scripted]:
        statements = {"before": 0, "main": 1, "after": 2}
        named = {ORDER["lift"][statements[name]]: answers for name, answers in replies.items()}
        keeper = Keeper(ORDER, None)
        keeper.pooler = pooler = Scripted(looks, named)
        keeper.hear(["renew 30"])
        return keeper, pooler

    def run(self, keeper: Keeper, for_s: float) -> Over | None:
        """Let time pass; None: it is not over yet."""
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            try:
                self.now_s += max(0.05, keeper.tick())
            except Over as over:
                return over
        return None

    def outcome(self, keeper: Keeper) -> tuple[str, str]:
        over = self.run(keeper, 200)
        assert over is not None
        return over.outcome, str(over)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(monkeypatch)


def test_the_wall_clock_is_not_asked(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    def jumped() -> float:
        raise AssertionError("a wall clock that jumps would end leases")

    monkeypatch.setattr(time, "time", jumped)
    keeper, _ = ticks.keeper(PAUSED)
    assert ticks.run(keeper, 29) is None
    keeper.hear(["renew 30"])
    assert ticks.run(keeper, 29) is None


def test_other_databases_traffic_is_nobody_s_resume(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, BUSY_ELSEWHERE)
    keeper.hear(["held 10"])
    assert ticks.run(keeper, 29) is None
    pooler.looks = [BUSY_ELSEWHERE, RUNNING]
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent == ORDER["lift"]


@pytest.mark.parametrize("held", ["held 10", "held"])
def test_the_pause_of_somebody_else_is_not_lifted(ticks: Ticks, held: str) -> None:
    keeper, pooler = ticks.keeper(PAUSED, SERVED_AND_PAUSED)
    keeper.hear([held])
    outcome, detail = ticks.outcome(keeper)
    assert (outcome, pooler.sent) == (NOT_PAUSED, [])
    assert "not ours" in detail


def test_what_was_served_before_the_keeper_looked_counts_too(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(SERVED_AND_PAUSED)
    keeper.hear(["held 10"])
    assert ticks.outcome(keeper)[0] == NOT_PAUSED
    assert pooler.sent == []


def test_counters_that_went_with_their_pool_hide_nothing(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, Look(True, {}), Look(True, {"app": 3}))
    keeper.hear(["held 10"])
    assert ticks.outcome(keeper)[0] == NOT_PAUSED
    assert pooler.sent == []


def test_a_pause_of_others_right_after_our_resume_is_theirs(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED)
    keeper.hear(["held 10"])
    outcome, detail = ticks.outcome(keeper)
    assert (outcome, pooler.sent) == (RESUMED, ORDER["lift"])
    assert "paused it again" in detail


def test_a_late_pause_of_our_own_after_our_resume_is_lifted_as_well(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(*[PAUSED] * 40, RUNNING)
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent.count('RESUME "app"') > 1


@pytest.mark.parametrize(("looks_before", "outcome"), [(10, RESUMED), (20, NOT_PAUSED)])
def test_a_pause_is_waited_for_a_moment_after_its_console_died(
    ticks: Ticks, looks_before: int, outcome: str
) -> None:
    keeper, pooler = ticks.keeper(*[RUNNING] * looks_before, PAUSED, RUNNING)
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == outcome
    assert bool(pooler.sent) == (outcome == RESUMED)


def test_an_unlisted_database_is_resumed_all_the_same(ticks: Ticks) -> None:
    """An automatic database without clients is hidden, still paused."""
    keeper, pooler = ticks.keeper(PAUSED, Look(None, {}))
    keeper.hear(["held 10"])
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent == ORDER["lift"]


def test_a_refused_setting_is_not_put_back(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, RUNNING, before=[Refused("SET failed")])
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent == ORDER["lift"][:2]


def test_a_resume_that_somebody_did_first_is_theirs(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, RUNNING, main=[Refused("database app is not paused")])
    keeper.terminated = True
    outcome, detail = ticks.outcome(keeper)
    assert (outcome, pooler.sent) == (NOT_PAUSED, ORDER["lift"])
    assert "is not paused" in detail


def test_a_setting_is_put_back_on_a_new_session_before_anything_else(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, RUNNING, after=[LOST])
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent == [*ORDER["lift"], ORDER["lift"][2]]


def test_a_refusal_that_lasts_is_told_with_what_is_left_to_do(ticks: Ticks) -> None:
    refusals: list[Exception | None] = [Refused("pooler is shutting down")] * 100
    keeper, _ = ticks.keeper(PAUSED, main=refusals, after=[LOST] * 100)
    keeper.terminated = True
    outcome, detail = ticks.outcome(keeper)
    assert outcome == FAILED
    assert "shutting down" in detail or "connection broke" in detail
    assert "put back by hand: SET server_login_retry = 15" in detail


def test_what_nobody_foresaw_is_tried_again(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(MemoryError(), KeyError("x"), PAUSED, RUNNING)
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == RESUMED
    assert pooler.sent == ORDER["lift"]


def test_a_neighbour_behind_a_shared_port_is_not_it(ticks: Ticks) -> None:
    stranger = Stranger("protocol", "another process answered (pidfile differ)")
    keeper, pooler = ticks.keeper(stranger, stranger, PAUSED, RUNNING)
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == RESUMED
    keeper, pooler = ticks.keeper(stranger)
    keeper.terminated = True
    assert ticks.outcome(keeper)[0] == ANOTHER_PROCESS
    assert pooler.sent == []


def test_a_console_that_lives_after_all_has_it_wait_again(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(LOST)
    assert ticks.run(keeper, 40) is None
    keeper.hear(["renew 1000"])
    pooler.looks = [PAUSED]
    assert ticks.run(keeper, 60) is None
    assert pooler.sent == []
    assert keeper.trouble is None


def test_a_release_is_heard_until_a_resume_was_sent(ticks: Ticks) -> None:
    keeper, pooler = ticks.keeper(PAUSED, before=[LOST])
    pooler.looks = [PAUSED, LOST]
    keeper.terminated = True
    assert ticks.run(keeper, 5) is None
    with pytest.raises(Over) as caught:
        keeper.hear(["release"])
    assert caught.value.outcome == RELEASED
    assert pooler.sent == [ORDER["lift"][0], ORDER["lift"][2]], "what it changed is put back"
    keeper, pooler = ticks.keeper(PAUSED, main=[LOST])
    pooler.looks = [PAUSED, LOST]
    keeper.terminated = True
    assert ticks.run(keeper, 5) is None
    keeper.hear(["release"])
