"""Rows and columns from the recording: what each state looks like, and what is never shown as current."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from console.model.fleet import PoolerState
from console.model.rows import Pool
from console.view.cells import Cell, Kind, Tone, column_named
from console.view.fleet import BouncerRow, bouncer_rows
from console.view.fleet import note as bouncer_note
from console.view.fleet_columns import FLEET_COLUMNS
from console.view.pool_columns import POOL_COLUMNS
from console.view.pools import PoolRow, pool_rows
from console.view.pools import note as pool_note
from console.view.postgres import POSTGRES_COLUMNS, PostgresRow, postgres_rows
from tests.tui.recording import empty_snapshot, snapshot


def bouncer(name: str) -> BouncerRow:
    return next(row for row in bouncer_rows(snapshot()) if row.key == name)


def pool_of(name: str, database: str = "app") -> PoolRow:
    return next(row for row in pool_rows(snapshot(), {name}) if row.key[1] in (database, ""))


def cell(row: BouncerRow, key: str) -> Cell:
    column = column_named(FLEET_COLUMNS, key)
    assert column is not None
    return column.cell_of(row)


def pool_cell(row: PoolRow, key: str) -> Cell:
    column = column_named(POOL_COLUMNS, key)
    assert column is not None
    return column.cell_of(row)


def numbers_of(row: BouncerRow) -> list[str]:
    return [
        column.cell_of(row).text
        for column in FLEET_COLUMNS
        if column.kind not in (Kind.TEXT, Kind.TREND) and column.key != "age"
    ]


def test_faults_come_first_and_the_rest_in_inventory_order() -> None:
    assert [row.key for row in bouncer_rows(snapshot())] == [
        "gone-1",
        "gone-2",
        "edge-1b",
        "far-away-datacentre-bouncer-07",
        "edge-2a",
        "edge-2b",
        "lagging-1",
        "new-1",
        "legacy-118",
        "edge-1a",
    ]


def test_every_number_of_an_unreachable_bouncer_is_not_available() -> None:
    for name in ("gone-1", "gone-2", "new-1"):
        assert set(numbers_of(bouncer(name))) == {"n/a"}, name


def test_an_unreachable_bouncer_says_how_old_its_last_sample_is_and_why() -> None:
    assert cell(bouncer("gone-1"), "age") == Cell("1m 15s", Tone.BAD)
    assert cell(bouncer("gone-2"), "age").text == "n/a"
    assert "ssh: the host key of gate-3 has changed; next try in 12 s" in bouncer_note(bouncer("gone-1")).text
    assert "trying now" in bouncer_note(bouncer("gone-2")).text


def test_stale_numbers_are_dim_and_their_age_is_loud() -> None:
    row = bouncer("lagging-1")
    assert cell(row, "clients") == Cell("80", Tone.DIM)
    assert cell(row, "age") == Cell("7 s", Tone.WARN)


def test_state_is_a_glyph_and_a_word() -> None:
    assert cell(bouncer("edge-1a"), "state") == Cell("● up", Tone.GOOD)
    assert cell(bouncer("edge-2b"), "state") == Cell("‖ db pausing", Tone.WARN)
    assert cell(bouncer("gone-1"), "state") == Cell("✗ unreachable", Tone.BAD)


def test_a_queue_is_loud_and_a_quiet_bouncer_is_calm() -> None:
    assert cell(bouncer("edge-1b"), "waiting") == Cell("12", Tone.WARN)
    assert cell(bouncer("edge-1b"), "maxwait") == Cell("6.2 s", Tone.BAD)
    assert cell(bouncer("edge-1b"), "use") == Cell("100 %", Tone.BAD)
    assert cell(bouncer("edge-1a"), "waiting") == Cell("0", Tone.DIM)


def test_the_note_names_what_is_paused_and_what_an_old_version_cannot_say() -> None:
    assert (
        "edge-2b: database reporting pausing (servers are still held)"
        in bouncer_note(bouncer("edge-2b")).text
    )
    assert "needs 1.19" in bouncer_note(bouncer("legacy-118")).text
    assert "load_balance_hosts n/a (needs 1.24)" in pool_note(pool_of("legacy-118")).text


def test_the_note_of_a_pause_says_what_clients_do_and_how_it_ends() -> None:
    paused = bouncer_note(bouncer("edge-2a"))
    assert paused.tone is Tone.WARN
    assert paused.text.startswith("edge-2a: paused, by whom is not known here; ")
    assert paused.text.endswith("R plans the resume")
    old = bouncer("legacy-118").pooler
    inferred = bouncer_note(BouncerRow(replace(old, state=PoolerState.MAYBE_PAUSED))).text
    assert "seems paused" in inferred
    assert "inferred: clients wait and no server is left" in inferred


def test_the_note_hints_at_what_was_not_read() -> None:
    row = bouncer("edge-1a")
    assert row.sample is not None
    sample = replace(row.sample, unread={"CONFIG": "not allowed", "USERS": "not allowed"})
    pooler = replace(row.pooler, sample=sample)
    expected = "SHOW CONFIG not read, and 1 more (d tells all): not allowed"
    assert expected in bouncer_note(BouncerRow(pooler)).text
    pools = PoolRow(pooler, sample.pools[0], None, None, True)
    assert expected in pool_note(pools).text


def test_a_column_the_version_lacks_is_not_available_and_never_nil() -> None:
    assert pool_cell(pool_of("legacy-118"), "load_balance_hosts").text == "n/a"
    assert pool_cell(pool_of("edge-1a"), "load_balance_hosts").text == "round-robin"


def test_a_bouncer_that_was_never_read_keeps_a_row_in_the_pools() -> None:
    row = pool_of("gone-2")
    assert (row.bouncer, row.state) == ("gone-2", "unreachable")
    assert pool_cell(row, "database").text == "n/a"


def test_pools_of_an_unreachable_bouncer_have_no_numbers() -> None:
    row = pool_of("gone-1")
    assert {pool_cell(row, key).text for key in ("clients", "waiting", "use", "size", "tps")} == {"n/a"}


def test_only_the_paused_database_of_a_bouncer_is_paused() -> None:
    assert pool_of("edge-2b", "reporting").state == "db paused"
    assert pool_of("edge-2b", "app").state == "up"
    assert pool_of("edge-2a").state == "paused"


def test_a_pool_without_limit_says_so() -> None:
    row = pool_of("edge-1a")
    assert row.database is not None
    unlimited = PoolRow(row.pooler, row.pool, replace(row.database, pool_size=0), None, True)
    assert pool_cell(unlimited, "size").text == "no limit"
    assert pool_cell(unlimited, "use").text == "n/a"


def test_every_counter_of_show_pools_has_a_column() -> None:
    names = {name for column in POOL_COLUMNS for name in (column.key, *column.names)}
    counters = {field.name for field in dataclasses.fields(Pool)} - {"extra", "maxwait_us"}
    assert counters <= names
    assert "maxwait" in names


def test_no_sort_letter_opens_a_plan_and_none_is_used_twice() -> None:
    for columns in (FLEET_COLUMNS, POOL_COLUMNS, POSTGRES_COLUMNS):
        letters = [column.letter for column in columns if column.letter]
        assert len(letters) == len(set(letters))
        assert not set(letters) & set("PRLKZG")


def test_every_column_explains_itself() -> None:
    for columns in (FLEET_COLUMNS, POOL_COLUMNS, POSTGRES_COLUMNS):
        assert all(column.help.endswith(".") or "…" in column.help for column in columns)


def test_postgres_counts_only_the_room_that_applications_have() -> None:
    rows = {row.key: row for row in postgres_rows(snapshot())}
    assert rows["pg-1"].room == 97
    assert rows["pg-2"].room == 95
    assert rows["pg-3"].room is None
    lag = column_named(POSTGRES_COLUMNS, "lag")
    assert lag is not None
    assert lag.cell_of(rows["pg-2"]) == Cell("12.5 s", Tone.WARN)
    assert lag.cell_of(rows["pg-1"]).text == "n/a"


def test_a_server_whose_role_is_not_the_inventorys_is_marked() -> None:
    node = replace(snapshot().postgres[0], role="replica")
    assert PostgresRow(node).role == "primary (!)"


def test_an_empty_fleet_has_no_rows() -> None:
    assert bouncer_rows(empty_snapshot()) == []
    assert pool_rows(empty_snapshot()) == []
