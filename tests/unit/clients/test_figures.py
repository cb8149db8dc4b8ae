"""From what clients saw to figures, and from figures to a judgement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.clients.judging import judge
from tests.harness.clients.kinds import SHUTTING_DOWN, kind_of, retriable
from tests.harness.clients.record import Record
from tests.harness.clients.report import Figures, Overhead, Report, Spread
from tests.harness.clients.session import Trouble

REFUSED = (
    'connection to server at "127.0.0.1", port 6432 failed: Connection refused\n\tIs the server running?'
)


def _record(client: int, *done_s: float, began_s: float = 0.0, ended_s: float = 10.0) -> Record:
    record = Record(client, "kept", began_s=began_s, ended_s=ended_s)
    record.done_s.extend(done_s)
    return record


def _report(*records: Record, window: tuple[float, float] | None = None) -> Report:
    total = Figures.of("all", records)
    return Report(
        seconds=10,
        total=total,
        groups=(total,),
        windows=() if window is None else (Figures.of("pause", records, window),),
        overhead=Overhead(0.1, 100.0, Spread(0.1, 0.2, 0.3), None),
        done_by_client={record.client: len(record.done_s) for record in records},
        unknown_by_client={},
    )


def test_percentiles_are_by_nearest_rank() -> None:
    assert Spread.of(range(1, 201)) == Spread(100, 198, 200)
    assert Spread.of([7]) == Spread(7, 7, 7)
    assert Spread.of([]) == Spread(None, None, None)


def test_first_and_last_gap_count_and_each_client_has_one_longest() -> None:
    figures = Figures.of("all", [_record(1, 1, 2, 9.5), _record(2, 6, 7, 8, 9, 9.9)])
    assert figures.stall_ms.max == 7_500
    assert figures.stall_ms.p50 == 6_000, "the second client waited 6 s for its first success"


def test_a_window_takes_the_gaps_that_touch_it_in_full_length() -> None:
    record = _record(1, 1, 2, 5, 5.5, 6, ended_s=6.2)
    assert Figures.of("pause", [record], (3, 4)).stall_ms.max == 3_000
    assert Figures.of("pause", [record], (5.6, 5.7)).stall_ms.max == 500
    assert Figures.of("pause", [record], (5.6, 5.7)).done == 0


@pytest.mark.parametrize(
    ("trouble", "kind", "again"),
    [
        (Trouble("connect", REFUSED), "connect: connection refused", "refused"),
        (
            Trouble("connect", "server closed the connection unexpectedly"),
            "connect: connection reset",
            "reset",
        ),
        (
            Trouble("connect", 'connection to server at "::1", port 5 failed: FATAL:  no such user 77'),
            "connect: FATAL:  no such user N",
            None,
        ),
        (
            Trouble(
                "connect", 'connection to server at "::1", port 5 failed: FATAL:  pooler is shutting down'
            ),
            "connect: FATAL:  pooler is shutting down",
            SHUTTING_DOWN,
        ),
        (
            Trouble("idle", "consuming input failed: SSL connection has been closed unexpectedly"),
            "idle: connection reset",
            None,
        ),
        (Trouble("COMMIT", "terminated", "57P01"), "COMMIT: 57P01 terminated", None),
        (Trouble("BEGIN", "server closed the connection unexpectedly"), "BEGIN: connection reset", None),
        (Trouble("BEGIN", ""), "BEGIN: no message", None),
    ],
)
def test_kinds(trouble: Trouble, kind: str, again: str | None) -> None:
    assert kind_of(trouble) == kind
    assert retriable(trouble) == again


def test_a_report_survives_json() -> None:
    report = _report(_record(1, 1, 2), window=(0, 3))
    assert Report.from_json(report.to_json()) == report


def test_judged_by_failures_stall_and_closed_connections() -> None:
    good = _report(_record(1, *(n / 2 for n in range(1, 20))))
    assert all(finding.ok for finding in judge(good))
    stalled = _report(_record(1, 1, 5.1, 9.9), window=(9.5, 9.6))
    assert [finding.what for finding in judge(stalled) if not finding.ok] == ["longest stall"]
    assert all(finding.ok for finding in judge(stalled, stall_s=None))
    assert [f.figure for f in judge(stalled, window="pause") if f.what == "longest stall"] == ["4.80 s"]
    broken = replace(good, total=replace(good.total, failed={"BEGIN: x": 1}, lost_idle={"idle: y": 2}))
    assert len([finding for finding in judge(broken) if not finding.ok]) == 2
    assert [f.what for f in judge(broken, closed_idle=None) if not f.ok] == ["failed transactions"]


def test_a_client_that_never_had_a_success_is_no_proof() -> None:
    silent = _report(_record(1, *(n / 2 for n in range(1, 20))), _record(2, began_s=9.9))
    assert [finding.what for finding in judge(silent) if not finding.ok] == ["clients without a success"]
