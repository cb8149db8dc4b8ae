"""The columns real PgBouncers send are those we say they send: exactly, in order, on every version."""

from __future__ import annotations

import pytest
from psycopg import pq

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import MONITOR
from console.lab.simulator_columns import HEADERS
from console.model.version import Version
from console.poolers import columns
from console.poolers.base import Capability
from console.poolers.columns import Kind, Show
from console.poolers.dialects import dialect_for
from tests.contract.conftest import LIMIT_S, OpenReader

DIALECT = dialect_for("pgbouncer")
POOLS_118 = """database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active
    sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"""
DATABASES_124 = """name host port database force_user pool_size min_pool_size reserve_pool_size
    server_lifetime pool_mode load_balance_hosts max_connections current_connections max_client_connections
    current_client_connections paused disabled"""
PEER_118 = """type user database state addr port local_addr local_port connect_time request_time wait wait_us
    close_needed ptr link remote_pid tls application_name"""
PEER_124 = """type user database replication state addr port local_addr local_port connect_time request_time
    wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id"""
USERS_124 = """name pool_size reserve_pool_size pool_mode max_user_connections current_connections
    max_user_client_connections current_client_connections"""
STATS_118 = """database total_xact_count total_query_count total_received total_sent total_xact_time
    total_query_time total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time
    avg_query_time avg_wait_time"""
STATS_124 = """database total_server_assignment_count total_xact_count total_query_count total_received
    total_sent total_xact_time total_query_time total_wait_time total_client_parse_count
    total_server_parse_count total_bind_count avg_server_assignment_count avg_xact_count avg_query_count
    avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time avg_client_parse_count
    avg_server_parse_count avg_bind_count"""
EXPECTED: dict[str, dict[str, str]] = {
    "1.18": {
        "VERSION": "version",
        "CONFIG": "key value default changeable",
        "LISTS": "list items",
        "POOLS": POOLS_118,
        "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool pool_mode "
        "max_connections current_connections paused disabled",
        "CLIENTS": PEER_118,
        "SERVERS": PEER_118,
        "USERS": "name pool_mode",
        "STATS": STATS_118,
    },
    "1.24": {
        "VERSION": "version",
        "STATE": "key value",
        "CONFIG": "key value default changeable",
        "LISTS": "list items",
        "POOLS": f"{POOLS_118} load_balance_hosts",
        "DATABASES": DATABASES_124,
        "CLIENTS": PEER_124,
        "SERVERS": PEER_124,
        "USERS": USERS_124,
        "STATS": STATS_124,
        "PEERS": "peer_id host port pool_size",
        "PEER_POOLS": "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
    },
}
EXPECTED["1.26"] = {
    **EXPECTED["1.24"],
    "STATS": STATS_124.replace("total_bind_count", "total_bind_count total_client_login_count")
    + " avg_client_login_count",
}


def _line(version: str) -> str:
    return version.rpartition(".")[0]


async def test_each_show_has_exactly_the_columns_the_reference_says(
    bouncer: PgBouncerServer, pgbouncer_version: str, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer)
    for what, names in EXPECTED[_line(pgbouncer_version)].items():
        table = await reader.show(what, timeout_s=LIMIT_S)
        assert list(table.names) == names.split(), what
        assert table.tag == "SHOW"


@pytest.mark.parametrize("show", columns.ALL, ids=lambda show: show.what)
def test_the_tables_of_columns_agree_with_the_reference(show: Show) -> None:
    """Every column of every version is known (or an average), and `since` says which versions have it."""
    for line, expected in EXPECTED.items():
        sent = set(expected[show.what].split())
        version = Version.parse(line)
        assert version is not None
        known = {name for column in show.columns for name in (column.name, *column.older)}
        assert all(name.startswith("avg_") for name in sent - known)
        for column in show.columns:
            since = Version.parse(column.since or columns.OLDEST)
            assert since is not None
            present = bool(sent & {column.name, *column.older})
            assert present == (version >= since), (line, column.name)


async def test_nothing_but_averages_is_left_over_and_only_announced_columns_are_missing(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    """`extra` shows what is new to us; `missing_columns` explains every n/a."""
    with bouncer.connect("app") as client:
        client.execute("SELECT 1")
        reader = await open_reader(bouncer)
        version = DIALECT.parse_version(await reader.show("VERSION", timeout_s=LIMIT_S))
        missing = DIALECT.missing_columns(version)
        for show in columns.ALL:
            table = await reader.show(show.what, timeout_s=LIMIT_S)
            parse = getattr(DIALECT, f"parse_{show.what.lower()}")
            rows = parse(table)
            assert rows, show.what
            assert all(name.startswith("avg_") for row in rows for name in row.extra), show.what
            for column in show.columns:
                absent = not {column.name, *column.older} & set(table.names)
                assert absent == (f"{show.what.lower()}.{column.name}" in missing), column.name
                if absent and column.kind is not Kind.IGNORED:
                    assert all(getattr(row, column.field) is None for row in rows), column.name


async def test_show_state_is_announced_where_it_is_missing(
    bouncer: PgBouncerServer, pgbouncer_version: str, open_reader: OpenReader
) -> None:
    version = Version.parse(pgbouncer_version)
    assert version is not None
    missing = DIALECT.missing_columns(version)
    assert ("state.paused" in missing) != DIALECT.has(version, Capability.SHOW_STATE)
    reader = await open_reader(bouncer)
    assert Version.parse(reader.version_text) == version
    if DIALECT.has(version, Capability.SHOW_STATE):
        state = DIALECT.parse_state(await reader.show("STATE", timeout_s=LIMIT_S))
        assert state.paused is False
        assert state.suspended is (None if version >= Version(1, 26) else False)


def test_the_simulator_sends_what_the_real_one_sends(
    bouncer: PgBouncerServer, pgbouncer_version: str
) -> None:
    """Names, order and types of every header the simulator plays."""
    conninfo = f"host={bouncer.socket_dir} port={bouncer.port} user={MONITOR} dbname=pgbouncer password="
    connection = pq.PGconn.connect((conninfo + bouncer.secrets.password(MONITOR)).encode())
    for what, header in HEADERS[pgbouncer_version].items():
        result = connection.exec_(f"SHOW {what}".encode())
        sent = tuple(
            ((result.fname(index) or b"").decode(), result.ftype(index)) for index in range(result.nfields)
        )
        assert sent == header, what
    connection.finish()
