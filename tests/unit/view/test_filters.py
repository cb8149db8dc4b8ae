"""The filter language over the recording's pools."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from console.view.filters import FilterError, parse_filter
from console.view.fleet_columns import FLEET_COLUMNS
from console.view.pool_columns import POOL_COLUMNS
from console.view.pools import PoolRow, pool_rows
from tests.tui.recording import snapshot

ROWS = pool_rows(snapshot())


def places(text: str) -> set[str]:
    wanted = parse_filter(text, POOL_COLUMNS)
    return {f"{row.bouncer}/{row.key[1]}" for row in ROWS if wanted(row)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db:report bouncer=edge-1a", {"edge-1a/reporting"}),
        ("wait>5", {"edge-1b/app", "far-away-datacentre-bouncer-07/analytics_warehouse_production"}),
        ("wait>5s wait<1m", {"edge-1b/app"}),
        ("wait>6100ms wait<1m", {"edge-1b/app"}),
        ("use>=100", {"edge-1b/app"}),
        ("clients>=40k", {"far-away-datacentre-bouncer-07/analytics_warehouse_production"}),
        ("paused", {"edge-2a/app", "edge-2b/reporting"}),
        ("paused !db:app", {"edge-2b/reporting"}),
        ("@zone=b !paused", {"edge-2b/app"}),
        ("state:unreach !db:app", {"gone-1/reporting", "gone-2/"}),
        ("^edge-1.*analyst", {"edge-1a/reporting", "edge-1b/reporting"}),
        ("bouncer:edge-?a user:web", {"edge-1a/app", "edge-2a/app"}),
        ("waiting", {"edge-1b/app", "far-away-datacentre-bouncer-07/analytics_warehouse_production"}),
        ("DB:APP USER=WEB mode:trans bouncer:edge-1a", {"edge-1a/app"}),
    ],
)
def test_terms(text: str, expected: set[str]) -> None:
    assert places(text) == expected


def test_nothing_typed_hides_nothing() -> None:
    assert len(places("")) == len({(row.bouncer, row.key[1]) for row in ROWS})
    assert not parse_filter("  ", POOL_COLUMNS)


def test_a_number_that_is_not_available_passes_no_comparison() -> None:
    assert not any(place.startswith("gone") for place in places("clients>=0"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dabatase:app", "there is no column 'dabatase'; did you mean database?"),
        ("wait>soon", "'soon' is no number for wait"),
        ("db>5", "db is text: compare it with : (contains) or = (equals)"),
        ("use>", "use> wants a value after it"),
        ("!", "'!' wants a term after it"),
        ("edge-(", "'edge-(' is no regular expression"),
        ('db:"app', "a quote is not closed yet"),
        ("@", "'@' is no label"),
    ],
)
def test_what_cannot_be_read_is_told_kindly(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=re.escape(message)):
        parse_filter(text, POOL_COLUMNS)


def test_a_quoted_term_may_hold_spaces() -> None:
    assert parse_filter('"edge-1a/app web"', POOL_COLUMNS)(_row("edge-1a", "app"))


def _row(bouncer: str, database: str) -> PoolRow:
    return next(row for row in ROWS if row.key[:2] == (bouncer, database))


@example("[[a]")
@example("[a||b]")
@given(st.text(max_size=30))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    assert said_of(text) is None or said_of(text)


def said_of(text: str) -> str | None:
    try:
        parse_filter(text, FLEET_COLUMNS)
    except FilterError as error:
        return str(error)
    return None
