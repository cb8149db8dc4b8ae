"""Totals say what they leave out."""

from __future__ import annotations

from console.view.fleet import bouncer_rows
from console.view.totals import fleet_totals, strip
from tests.tui.recording import empty_snapshot, snapshot


def lines() -> list[str]:
    return ["  ".join(cell.text for cell in line) for line in strip(fleet_totals(bouncer_rows(snapshot())))]


def test_a_total_names_how_many_bouncers_it_covers() -> None:
    first = lines()[0]
    assert "active clients on 7 of 10 bouncers" in first
    assert "2 PAUSED" in first
    assert "2 not answering" in first
    assert "1 connecting" in first
    assert "1 stale" in first
    assert "1.93M waiting up to 3m 10s" in lines()[1]


def test_bouncers_that_do_not_answer_are_not_counted_as_nil() -> None:
    totals = fleet_totals(bouncer_rows(snapshot()))
    assert totals.clients.known == 7
    silent = [row for row in bouncer_rows(snapshot()) if row.key in ("gone-2", "new-1")]
    assert fleet_totals(silent).clients.value is None


def test_an_empty_fleet_has_no_totals() -> None:
    totals = fleet_totals(bouncer_rows(empty_snapshot()))
    assert totals.bouncers == 0
    assert "n/a active clients on 0 bouncers" in strip(totals)[0][0].text
