"""What stops clients, in all its disguises: found in a sample, dated, and whose it is."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from console.model.claims import Claim
from console.model.fleet import PoolerSnapshot, PoolerState
from console.model.rows import PauseState, Setting
from console.model.sample import Reading
from console.view.cells import Tone
from console.view.fleet import BouncerRow, bouncer_rows
from console.view.pauses import Disguise, Known, Mark, Owner, mark_cell, mark_note, marks_of, stops_of
from tests.tui.recording import MONOTONIC_S, WALL_S, Part, database, pool, pooler, snapshot

PAUSED = PauseState(paused=True, suspended=False)
DRAINED = {"sv_active": 0, "sv_idle": 0, "sv_used": 0, "cl_waiting": 9, "maxwait_us": 64_000_000}


def made(*, patience: str | None = "120", **more: object) -> PoolerSnapshot:
    usual = {"pools": (pool("app", "web", **DRAINED),), "databases": (database("app"),)}
    part = Part("edge-1a", **(usual | more))  # type: ignore[arg-type]
    found = pooler(part, 0)
    assert found.sample is not None
    assert found.sample.config is not None
    config = dict(found.sample.config.value)
    if patience is not None:
        config["query_wait_timeout"] = Setting("query_wait_timeout", patience, "120", True)
    return replace(found, sample=replace(found.sample, config=Reading(config, MONOTONIC_S)))


def claim(*, alive: bool = True, database: str | None = None, since_s: float = 240.0) -> Claim:
    who, title = "alice@bastion", "PAUSE edge-1a"
    since_wall_s, until_wall_s = WALL_S - since_s, WALL_S + 23
    return Claim("edge-1a", database, "shop", who, "r1", "l1", title, since_wall_s, until_wall_s, alive)


def mark(found: PoolerSnapshot, known: Known) -> Mark:
    return marks_of(found, known, wall_s=WALL_S, monotonic_s=MONOTONIC_S)[0]


def seen(*claims: Claim, for_s: float = 12.0, read_s: float = MONOTONIC_S) -> Known:
    first = {("edge-1a", name): MONOTONIC_S - for_s for name in (None, "app")}
    return Known(claims, (), read_s, first)


@pytest.mark.parametrize(
    ("more", "disguise", "place"),
    [
        ({"pause": PAUSED}, Disguise.PAUSED, None),
        ({"pause": PAUSED, "pools": (pool("app", "web"),)}, Disguise.PENDING, None),
        ({"pause": PauseState(paused=False, suspended=True)}, Disguise.SUSPENDED, None),
        ({"databases": (database("app", paused=True),)}, Disguise.PAUSED, "app"),
        ({"databases": (database("app", disabled=True),)}, Disguise.DISABLED, "app"),
        (
            {"version": "1.18.0", "pause": PauseState(None, None), "state": PoolerState.MAYBE_PAUSED},
            Disguise.INFERRED,
            None,
        ),
    ],
)
def test_each_disguise_is_known(more: dict[str, object], disguise: Disguise, place: str | None) -> None:
    stops = stops_of(made(**more))  # type: ignore[arg-type]
    assert [(stop.disguise, stop.database) for stop in stops] == [(disguise, place)]


def test_what_runs_stops_nobody() -> None:
    assert stops_of(made()) == ()


def test_a_pause_that_nobody_alive_owns_says_so_with_its_age_and_when_clients_are_cut() -> None:
    found = mark(made(pause=PAUSED), seen(claim(alive=False)))
    assert found.owner is Owner.DEAD
    assert mark_cell(found).text == "! paused"
    assert mark_note(found).tone is Tone.BAD
    assert mark_note(found).text.startswith(
        "paused 4m 00s, by nobody alive (PAUSE edge-1a of alice@bastion is dead)"
    )
    assert "clients are cut in 56 s" in mark_note(found).text
    assert "M plans its mend" in mark_note(found).text


def test_a_pause_without_a_lease_is_as_old_as_we_know_at_least() -> None:
    found = mark(made(pause=PAUSED), seen())
    assert found.owner is Owner.NOBODY
    expected = "paused for at least 12 s, by nobody alive that this machine knows"
    assert mark_note(found).text.startswith(expected)


def test_a_pause_under_a_lease_says_whose_and_how_long_still() -> None:
    found = mark(made(pause=PAUSED), seen(claim(alive=False), claim()))
    assert not found.forgotten
    assert mark_cell(found).text == "‖ held 23 s"
    assert "held by alice@bastion (PAUSE edge-1a), 23 s left" in mark_note(found).text


def test_the_lease_of_a_database_owns_no_pause_of_the_bouncer() -> None:
    assert mark(made(pause=PAUSED), seen(claim(database="app"))).owner is Owner.NOBODY
    paused = made(databases=(database("app", paused=True),))
    assert mark(paused, seen(claim(database="app"))).owner is Owner.ALIVE


@pytest.mark.parametrize("known", [Known(), seen(read_s=MONOTONIC_S - 13)])
def test_nobody_is_accused_before_the_leases_were_read(known: Known) -> None:
    found = mark(made(pause=PAUSED), known)
    assert found.owner is Owner.UNKNOWN
    assert not found.forgotten
    assert "by whom is not known here" in mark_note(found).text


@pytest.mark.parametrize(
    ("patience", "cut_in_s", "words"),
    [
        ("120", 56.0, "clients are cut in 56 s"),
        ("60", 0.0, "clients are cut in 0 s"),
        ("0", inf, "clients are never cut (query_wait_timeout is 0)"),
        (None, None, "when clients are cut is not known"),
    ],
)
def test_when_clients_are_cut(patience: str | None, cut_in_s: float | None, words: str) -> None:
    found = mark(made(pause=PAUSED, patience=patience), seen())
    assert found.stop.cut_in_s == cut_in_s
    assert words in mark_note(found).text


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (0, "no client is cut, what they send is not read"),
        (3, "clients that wait are cut within suspend_timeout"),
    ],
)
def test_of_a_suspended_one_no_client_is_cut_by_query_wait_timeout(waiting: int, words: str) -> None:
    pools = (pool("app", "web", **{**DRAINED, "cl_waiting": waiting}),)
    found = mark(made(pause=PauseState(paused=False, suspended=True), pools=pools), seen())
    assert (found.stop.disguise, found.stop.cut_in_s) == (Disguise.SUSPENDED, None)
    assert words in mark_note(found).text
    assert "M plans its mend" in mark_note(found).text


def test_a_pause_that_is_not_drained_may_be_a_shutdown_where_there_are_such() -> None:
    busy = (pool("app", "web"),)
    assert stops_of(made(pause=PAUSED, pools=busy))[0].may_shut_down
    assert not stops_of(made(pause=PAUSED, pools=busy, version="1.22.0"))[0].may_shut_down


def test_a_disabled_database_is_a_choice_and_not_forgotten() -> None:
    found = mark(made(databases=(database("app", disabled=True),)), seen())
    assert found.owner is Owner.CHOICE
    assert not found.forgotten


def test_forgotten_pauses_come_before_every_other_fault() -> None:
    known = Known((), (), MONOTONIC_S + 1, {("edge-2b", "reporting"): MONOTONIC_S})
    rows = bouncer_rows(snapshot(), known)
    assert rows[0].key == "edge-2b"
    assert rows[0].forgotten
    assert rows[1].key == "gone-1"


def test_what_is_old_is_not_marked() -> None:
    stale = replace(made(pause=PAUSED), state=PoolerState.UNREACHABLE)
    assert BouncerRow(stale, seen()).marks == ()
