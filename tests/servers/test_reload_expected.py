"""What a RELOAD is expected to make of a process is what it makes of it: random files, real PgBouncers."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_settings import KINDS, POOL_MODES, Kind, printed
from console.errors import AdminError
from console.operations.reload_check import expected_reload, mismatches
from tests.harness.servers import MakePgBouncer
from tests.servers.reload_kit import Bench

_PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_LEFT_ALONE = frozenset({"max_packet_size", "peer_id", "syslog", "verbose"})
"""A console could not answer any more, or another log would be written to."""
_NUMBERS = st.one_of(
    st.integers(-5, 5000).map(str),
    st.sampled_from(["007", "0x1f", "+3", "00", "4294967299", "-4294967299", "9" * 30]),
)
_TIMES = st.one_of(
    st.integers(0, 10**7).map(str),
    st.floats(0, 10**6, allow_nan=False).map(lambda number: f"{number:.7f}"),
    st.floats(0, 10**6, allow_nan=False).map(repr),
    st.sampled_from([".5", "5.", "1e3", "0x1p3", "0x.8", "-0", "1E-2"]),
)
_ODD = st.one_of(
    _NUMBERS, _TIMES, st.text("0123456789+-.eExXpinfa ", max_size=8), st.sampled_from(POOL_MODES)
)
_KINDS = {key: kind for key, kind in KINDS.items() if key not in _LEFT_ALONE}


def _valid(key: str) -> st.SearchStrategy[str]:
    match _KINDS[key]:
        case Kind.INT | Kind.UINT:
            return _NUMBERS
        case Kind.TIME:
            return _TIMES
        case _:
            return st.sampled_from(POOL_MODES)


_LINES = st.sampled_from(
    sorted(
        key for key, kind in _KINDS.items() if kind in (Kind.INT, Kind.UINT, Kind.TIME) or kind is POOL_MODES
    )
).flatmap(lambda key: st.tuples(st.just(key), _valid(key)))
_PAIRS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["pool_size", "min_pool_size", "reserve_pool", "max_db_connections"]),
            st.sampled_from(["0", "1", "17", "-1", "5x", "x", "+4"]),
        ),
        st.tuples(st.just("pool_mode"), st.sampled_from(["session", "Transaction", "STATEMENT"])),
        st.tuples(st.just("host"), st.sampled_from(["127.0.0.1", "a,b", "/tmp", "'x y'"])),
        st.tuples(st.just("dbname"), st.sampled_from(["app", "'it''s'", "é"])),
        st.tuples(st.just("port"), st.sampled_from(["5432", "54x", "70000"])),
        st.tuples(st.just("password"), st.just("'a b''c'")),
    ),
    max_size=5,
)
_DATABASES = st.dictionaries(st.from_regex(r"[a-z_.\-]{1,6}", fullmatch=True), _PAIRS, max_size=4)


def test_files_give_what_is_expected_of_them(make_pgbouncer: MakePgBouncer, pgbouncer_version: str) -> None:
    with Bench(make_pgbouncer(pgbouncer_version)) as bench:
        known = bench.console.observe().config

        @_PATIENT
        @given(lines=st.lists(_LINES, max_size=12), databases=_DATABASES, catch_all=st.booleans())
        @example(lines=[("server_lifetime", "100000.75")], databases={}, catch_all=False)
        def reload_and_compare(
            lines: list[tuple[str, str]],
            databases: dict[str, list[tuple[str, str]]],
            catch_all: bool,
        ) -> None:
            text = "".join(f"{key} = {value}\n" for key, value in lines if key in known)
            listed = {
                name: " ".join(f"{key}={value}" for key, value in pairs) for name, pairs in databases.items()
            }
            listed |= {"*": "host=elsewhere"} if catch_all else {}
            text += "[databases]\n" + "".join(f"{name} = {pairs}\n" for name, pairs in listed.items())
            bench.write(bench.server.config_path, bench.ini + text.encode())
            before = bench.console.observe()
            told = bench.lint(before)
            reloaded = bench.console.reload()
            assert reloaded.failed is bool(told.errors), (told.errors, reloaded)
            if not reloaded.failed:
                after = bench.console.observe()
                assert mismatches(told.expected, before, after) == ()
                again = expected_reload(after, bench.lint(after).expected)
                assert (again.changes, again.undone, again.doomed_clients) == ((), (), 0)

        reload_and_compare()


def test_values_are_read_and_printed_as_pgbouncer_does(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str
) -> None:
    with Bench(make_pgbouncer(pgbouncer_version)) as bench:

        @settings(_PATIENT, max_examples=300)
        @given(
            key=st.sampled_from(["default_pool_size", "query_wait_timeout", "pool_mode"]),
            value=_ODD,
        )
        def set_and_compare(key: str, value: str) -> None:
            try:
                ours = printed(key, value)
            except ValueError:
                ours = "refused"
            try:
                asyncio.run(bench.console.execute(f"SET {key} = '{value}'", None))
                theirs = bench.console.observe().config[key].value
            except AdminError:
                theirs = "refused"
            assert ours is None or ours == theirs

        set_and_compare()
