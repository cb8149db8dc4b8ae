"""A pooler that is left alone: what proves that another process answers, and what does not."""

from __future__ import annotations

import pytest

from console.errors import DeadlineError, NodeError, Phase
from console.fleet.rest import Rest
from console.model.rows import Stats
from tests.unit.fleet.fakes import stats


def read(app: int | None, logins: int) -> tuple[Stats, ...]:
    rows = [] if app is None else [stats("app", total_received_bytes=app)]
    return (*rows, stats("pgbouncer", total_query_count=logins))


@pytest.mark.parametrize(
    ("before", "now", "another"),
    [
        (read(500, 9), read(500, 10), False),
        (read(500, 9), read(800, 10), False),
        (read(500, 9), read(3, 10), True),
        (read(500, 9), read(None, 10), True),
        (read(500, 9), read(500, 2), True),
        (read(None, 9), read(None, 10), False),
        (read(None, 9), read(None, 2), True),
        ((), read(500, 1), False),
    ],
    ids=["idle", "drains", "fewer bytes", "no bytes", "fewer logins", "unused", "unused anew", "never read"],
)
def test_a_restarted_process_counts_from_0_again(
    before: tuple[Stats, ...], now: tuple[Stats, ...], another: bool
) -> None:
    assert Rest("shutting down", lets_consoles_in=True, stats=before).is_another(now) is another


def test_one_database_that_lost_its_counters_is_no_restart() -> None:
    both = (stats("app", total_sent_bytes=7), stats("tiny", total_sent_bytes=9))
    rest = Rest("shutting down", lets_consoles_in=True, stats=both)
    assert not rest.is_another((stats("app", total_sent_bytes=7),))


@pytest.mark.parametrize(
    ("phase", "consoles", "ended"),
    [
        (Phase.CONNECT, True, True),
        (Phase.TUNNEL, True, True),
        (Phase.CONNECT, False, False),
        (Phase.SSH, True, False),
        (Phase.AUTH, True, False),
    ],
)
def test_a_refusal_proves_the_end_only_where_the_old_process_would_let_us_in(
    phase: Phase, consoles: bool, ended: bool
) -> None:
    rest = Rest("shutting down", lets_consoles_in=consoles)
    assert rest.ended_with(NodeError(phase, "no")) is ended
    assert not rest.ended_with(DeadlineError(phase, "no answer", limit_s=1))


def test_who_insists_takes_whoever_answers() -> None:
    assert Rest("shutting down", lets_consoles_in=True).needs_evidence
    assert not Rest("shutting down", lets_consoles_in=True, insisted=True).needs_evidence
    assert not Rest("shutting down", lets_consoles_in=False).needs_evidence
