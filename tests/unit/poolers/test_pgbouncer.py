"""The dialect by itself: names are quoted so that the console reads them back, answers are read by name."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import NodeError, Phase
from console.lab.simulator_columns import HEADERS, VERSIONS
from console.model.rows import Pool
from console.model.table import ResultTable
from console.model.version import Version
from console.poolers import columns
from console.poolers.base import Capability
from console.poolers.columns import Kind, Show
from console.poolers.dialects import dialect_for
from console.poolers.pgbouncer import HIDDEN

DIALECT = dialect_for("pgbouncer")
# The console's own grammar (admin.c, admin_handle_query): a word, then one optional argument.
GRAMMAR = re.compile(r'\s*([A-Za-z_]+)(?:\s+("(?:[^"]|"")*"|[0-9A-Za-z_]+))?\s*;?\s*', re.DOTALL)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(
    lambda name: len(name.encode()) <= 63
)
CELLS = {Kind.FLAG: st.sampled_from(["0", "1"])}
NUMBERS = st.integers(0, 2**53).map(str)


@given(NAMES)
def test_a_quoted_name_is_read_back_as_the_same_name(name: str) -> None:
    for statement, word in ((DIALECT.pause(name), "PAUSE"), (DIALECT.resume(name), "RESUME")):
        found = GRAMMAR.fullmatch(statement)
        assert found is not None
        assert found[1] == word
        assert found[2][1:-1].replace('""', '"') == name


@given(NAMES)
def test_no_name_can_end_its_quotes_early(name: str) -> None:
    inner = DIALECT.quote(name)[1:-1]
    assert '"' not in inner.replace('""', "")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32])
def test_a_name_the_console_cannot_take_is_refused_here(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        DIALECT.quote(name)


def test_a_whole_pooler_is_named_by_naming_nothing() -> None:
    assert (DIALECT.pause(None), DIALECT.resume(None), DIALECT.reload()) == ("PAUSE", "RESUME", "RELOAD")


def cells_of(show: Show, name: str) -> st.SearchStrategy[str | None]:
    """Text such as the real console sends in a column."""
    for column in show.columns:
        if name in (column.name, *column.older):
            if column.kind in (Kind.TEXT, Kind.IGNORED):
                return st.text(max_size=8)
            if column.kind is Kind.TEXT_OR_NULL:
                return st.none() | st.text(max_size=8)
            if column.kind is Kind.INT_OR_NULL:
                return st.none() | st.just("") | NUMBERS | NUMBERS.map(lambda text: text.rjust(9))
            return CELLS.get(column.kind, NUMBERS)
    return st.none() | st.text(max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Show, ResultTable]:
    """An answer of some version with its columns shuffled, unknown ones among them, optional ones gone."""
    show = draw(st.sampled_from(columns.ALL))
    version = draw(st.sampled_from(VERSIONS))
    names = [name for name, _ in HEADERS[version][show.what]]
    optional = {
        name
        for name in names
        if any(name in (column.name, *column.older) and column.since for column in show.columns)
        or name.startswith("avg_")
    }
    gone = draw(st.sets(st.sampled_from(sorted(optional)))) if optional else set()
    unknown = draw(st.lists(st.from_regex(r"new_[a-z]{1,5}", fullmatch=True), unique=True, max_size=3))
    shuffled = tuple(draw(st.permutations([name for name in names if name not in gone] + unknown)))
    rows = draw(st.lists(st.tuples(*(cells_of(show, name) for name in shuffled)), max_size=4))
    return show, ResultTable(shuffled, tuple(rows))


@given(tables())
def test_columns_may_come_in_any_order_be_new_or_be_gone(made: tuple[Show, ResultTable]) -> None:
    show, table = made
    parse = getattr(DIALECT, f"parse_{show.what.lower()}")
    rows = parse(table, Version(1, 26)) if show.what == "USERS" else parse(table)
    assert len(rows) == len(table.rows)
    known = {name: column for column in show.columns for name in (column.name, *column.older)}
    seconds = {column.field for column in show.columns if column.kind is Kind.SECONDS_PART}
    for row, cells in zip(rows, table.rows, strict=True):
        raw = dict(zip(table.names, cells, strict=True))
        assert dict(row.extra) == {name: cell for name, cell in raw.items() if name not in known}
        for name, column in known.items():
            if name not in raw or column.kind in (Kind.IGNORED, Kind.SECONDS_PART) or column.field in seconds:
                continue
            assert getattr(row, column.field) == expected(column.kind, raw[name])
        for column in show.columns:
            if column.since and not {column.name, *column.older} & raw.keys():
                assert getattr(row, column.field) is None


def expected(kind: Kind, cell: str | None) -> Any:
    if kind is Kind.FLAG:
        return cell == "1"
    if kind in (Kind.INT, Kind.INT_OR_NULL):
        return int(cell) if cell and cell.strip() else None
    return cell


def pools_table(**changes: str | None) -> ResultTable:
    """One row of SHOW POOLS of 1.26 with some cells changed."""
    names = tuple(name for name, _ in HEADERS["1.26.1"]["POOLS"])
    cells: dict[str, str | None] = {"database": "app", "user": "u", "pool_mode": "transaction"}
    return ResultTable(names, (tuple({**cells, **changes}.get(name, "0") for name in names),))


def test_seconds_and_microseconds_of_a_wait_are_added_up() -> None:
    (pool,) = DIALECT.parse_pools(pools_table(maxwait="3", maxwait_us="250000"))
    assert pool.maxwait_us == 3_250_000


def test_a_number_may_be_padded_or_numeric() -> None:
    (pool,) = DIALECT.parse_pools(pools_table(cl_active="        7", cl_waiting="12.0"))
    assert (pool.cl_active, pool.cl_waiting) == (7, 12)


@pytest.mark.parametrize("odd", ["many", "1.5", "NaN", "Infinity", "", None])
def test_what_is_no_number_is_named_with_its_column(odd: str | None) -> None:
    with pytest.raises(NodeError, match=r'SHOW POOLS, column "cl_active"') as caught:
        DIALECT.parse_pools(pools_table(cl_active=odd))
    assert caught.value.phase is Phase.PARSE


@pytest.mark.parametrize("show", columns.ALL, ids=lambda show: show.what)
def test_a_column_every_version_has_is_missed_by_name(show: Show) -> None:
    parse = getattr(DIALECT, f"parse_{show.what.lower()}")
    names = [name for name, _ in HEADERS["1.18.0"][show.what]]
    for column in show.columns:
        if column.since is None:
            left = tuple(name for name in names if name not in (column.name, *column.older))
            with pytest.raises(NodeError, match=f'SHOW {show.what} has no column "{column.name}"') as caught:
                parse(ResultTable(left, ()))
            assert caught.value.phase is Phase.PARSE


def test_a_flag_is_zero_or_one() -> None:
    names = tuple(name for name, _ in HEADERS["1.18.0"]["DATABASES"])
    table = ResultTable(names, (tuple("maybe" if name == "paused" else "0" for name in names),))
    with pytest.raises(NodeError, match='column "paused"'):
        DIALECT.parse_databases(table)


def test_cancel_requests_of_1_16_are_read_by_their_old_name() -> None:
    """`cl_cancel_req` of 1.16 and 1.17 counted requests that were not forwarded yet."""
    clients = ("cl_active", "cl_waiting", "cl_cancel_req")
    servers = ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")
    names = ("database", "user", *clients, *servers, "maxwait", "maxwait_us", "pool_mode")
    (pool,) = DIALECT.parse_pools(ResultTable(names, (("app", "u", *("4",) * 10, "session"),)))
    assert (pool.cl_waiting_cancel_req, pool.cl_active_cancel_req) == (4, None)
    assert "cl_cancel_req" not in pool.extra


@pytest.mark.parametrize(
    ("version", "sizes"),
    [
        (Version(1, 23), [7, None, 9]),
        (Version(1, 25, 2), [7, None, 9]),
        (None, [7, None, 9]),
        (Version(1, 26), [7, 7, 9]),
    ],
)
def test_a_repeated_pool_size_is_believed_only_where_the_version_can_be(
    version: Version | None, sizes: list[int | None]
) -> None:
    names = tuple(name for name, _ in HEADERS["1.24.1"]["USERS"])
    rows = [
        tuple({"name": user, "pool_size": size.rjust(9)}.get(name, "") or None for name in names)
        for user, size in (("a", "7"), ("b", "7"), ("c", "9"))
    ]
    users = DIALECT.parse_users(ResultTable(names, tuple(rows)), version)
    assert [user.pool_size for user in users] == sizes
    assert [user.name for user in users] == ["a", "b", "c"]


def test_values_that_may_be_secret_are_hidden_and_their_absence_is_not() -> None:
    rows = (
        ("auth_ldap_options", "ldapbindpasswd=x", None, "yes"),
        ("auth_ldap_parameter", "", "", "yes"),
        ("client_tls_key_file", "/etc/key.pem", "", "yes"),
        ("auth_query", "SELECT 1", "SELECT 2", "no"),
    )
    config = DIALECT.parse_config(ResultTable(("key", "value", "default", "changeable"), rows))
    assert config["auth_ldap_options"].value == HIDDEN
    assert config["auth_ldap_options"].default is None
    assert config["auth_ldap_parameter"].value == ""
    assert config["client_tls_key_file"].value == "/etc/key.pem"
    assert config["auth_query"].changeable is False


def test_state_of_1_26_does_not_know_suspended() -> None:
    state = DIALECT.parse_state(ResultTable(("key", "value"), (("active", "no"), ("paused", "yes"))))
    assert (state.paused, state.suspended) == (True, None)


def test_a_state_that_does_not_say_is_an_error_not_a_no() -> None:
    with pytest.raises(NodeError, match="paused"):
        DIALECT.parse_state(ResultTable(("key", "value"), (("active", "yes"),)))


@pytest.mark.parametrize(
    ("capability", "first"),
    [
        (Capability.SHOW_STATE, "1.19.0"),
        (Capability.PEERS, "1.19.0"),
        (Capability.SHUTDOWN_MODES, "1.23.0"),
        (Capability.KILL_CLIENT, "1.24.0"),
        (Capability.RELOAD_REPORTS_FAILURE, "1.25.0"),
        (Capability.CONSOLE_DURING_SHUTDOWN, "1.25.0"),
    ],
)
def test_a_capability_begins_with_its_version(capability: Capability, first: str) -> None:
    version = Version.parse(first)
    assert version is not None
    assert DIALECT.has(version, capability)
    assert not DIALECT.has(Version(version.major, version.minor - 1, 99), capability)
    assert first.startswith(DIALECT.since(capability))


def test_missing_columns_name_the_version_that_brings_them() -> None:
    old, new = DIALECT.missing_columns(Version(1, 18)), DIALECT.missing_columns(Version(1, 26, 1))
    assert old["pools.load_balance_hosts"] == "1.24"
    assert old["state.paused"] == "1.19"
    assert "databases.reserve_pool_size" not in old
    assert dict(new) == {}


def test_rows_that_were_made_fast_are_like_any_other() -> None:
    """Equal to what the constructor makes, hashable as before, and frozen."""
    (pool,) = DIALECT.parse_pools(pools_table(cl_active="3"))
    made = Pool(**{field.name: getattr(pool, field.name) for field in fields(Pool)})
    assert pool == made
    assert type(pool) is Pool
    assert repr(pool) == repr(made)
    with pytest.raises(AttributeError):
        pool.cl_active = 4  # type: ignore[misc]
    assert pool.servers == made.servers
