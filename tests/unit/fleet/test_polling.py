"""The poll budget: what a pooler is asked and how often, however big or broken it is."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from console.errors import Phase
from console.fleet.polling import Backoff, Beat, Due, PollBudget

BUDGET = PollBudget()


def test_clients_are_asked_less_often_the_more_there_are_and_not_at_all_above_the_limit() -> None:
    assert BUDGET.clients_interval_s(10, None) == 2.0
    assert BUDGET.clients_interval_s(4_000, 0.009) == 5.0
    assert BUDGET.clients_interval_s(20_000, None) == 5.0
    assert BUDGET.clients_interval_s(20_001, None) is None


@given(clients=st.integers(0, 20_000), answer_s=st.none() | st.floats(0, 2))
def test_clients_never_cost_more_than_a_hundredth_of_a_pooler_s_time(
    clients: int, answer_s: float | None
) -> None:
    interval_s = BUDGET.clients_interval_s(clients, answer_s)
    assert interval_s is not None
    assert (answer_s or 0) <= interval_s * 0.01 + 1e-9


def test_a_question_is_due_at_once_then_early_then_every_period() -> None:
    due = Due(5.0, early_s=1.0, rng=random.Random(1))
    assert due.now(100.0)
    due.done(100.0)
    assert not due.now(100.9)
    assert due.now(101.0)
    due.done(101.0)
    assert not due.now(103.4)
    assert due.now(106.0), "the third turn comes within a period, at a random moment"
    due.done(106.0)
    assert not due.now(110.9)
    assert due.now(111.0)
    due.done(111.0)
    due.hasten()
    assert due.now(111.0)


@given(seed=st.integers(), phases=st.lists(st.sampled_from(list(Phase)), min_size=1, max_size=30))
def test_backoff_grows_and_stays_within_half_a_minute(seed: int, phases: list[Phase]) -> None:
    backoff = Backoff(BUDGET, random.Random(seed))
    waits = [backoff.next_s(phase) for phase in phases]
    assert all(0.5 <= wait <= 30.0 for wait in waits)
    assert all(wait >= 15.0 for wait in waits[6:]), "after a few failures it knocks rarely"
    backoff.reset()
    assert backoff.next_s(Phase.CONNECT) <= 1.0


def test_a_refused_login_is_not_tried_again_at_once() -> None:
    assert Backoff(BUDGET, random.Random(3)).next_s(Phase.AUTH) >= 2.5


def test_two_poolers_do_not_come_back_in_step() -> None:
    rng = random.Random(5)
    assert Backoff(BUDGET, rng).next_s(Phase.CONNECT) != Backoff(BUDGET, rng).next_s(Phase.CONNECT)


@given(start_s=st.floats(0, 1e6), later_s=st.floats(0, 1e5))
def test_ticks_keep_their_beat_and_missed_ones_are_not_made_up_for(start_s: float, later_s: float) -> None:
    beat = Beat(start_s, 1.0)
    now_s = start_s + later_s
    wait_s = beat.next_s(now_s)
    assert 0 < wait_s <= 1.0 + 1e-5
    assert beat.index(now_s + wait_s) == beat.index(now_s) + 1


def test_a_timer_that_fires_a_hair_early_counts_as_its_own_tick() -> None:
    beat = Beat(100.0, 1.0)
    assert beat.index(104.999_999_999) == 5
    assert beat.next_s(104.999_999_999) > 0.9
