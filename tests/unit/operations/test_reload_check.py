"""What a RELOAD would change, in words and numbers; that it is what happens is shown on real servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.config.pgbouncer_expect import Expected, PeerLine
from console.model.rows import Database, PauseState, Pool, Setting
from console.model.table import ResultTable
from console.model.version import Version
from console.operations.observe import Observation
from console.operations.reload_changes import changes_between
from console.operations.reload_check import ExpectedReload, expected_reload, mismatches, read_peers

APP = Database(
    name="app",
    host="db",
    port=5432,
    database="app",
    force_user=None,
    pool_size=20,
    pool_mode=None,
    max_connections=0,
    current_connections=3,
    paused=False,
    disabled=False,
    min_pool_size=0,
    reserve_pool_size=5,
)
POOL = Pool(
    "app",
    "u",
    cl_active=3,
    cl_waiting=1,
    sv_active=2,
    sv_idle=1,
    sv_used=0,
    sv_tested=0,
    sv_login=0,
    maxwait_us=0,
)
CONFIG = {
    "default_pool_size": ("20", "20"),
    "query_wait_timeout": ("33", "120"),
    "auth_ldap_options": ("hidden", None),
    "auth_user": ("lookup", None),
    "listen_port": ("6432", "6432"),
    "stats_period": ("60", "60"),
}


def seen(
    version: str = "1.24.1", *databases: Database, pools: tuple[Pool, ...] = (POOL,), **values: str
) -> Observation:
    config = {
        key: Setting(key, values.get(key, value), default, changeable=key != "listen_port")
        for key, (value, default) in CONFIG.items()
    }
    return Observation(
        bouncer="edge",
        version=Version.parse(version) or Version(0, 0),
        state=PauseState(paused=False, suspended=None),
        databases=databases or (APP,),
        pools=pools,
        config=config,
    )


def files(
    *databases: Database,
    star: Database | None = None,
    kept: frozenset[str] = frozenset(),
    peers: dict[int, PeerLine] | None = None,
    at_start: dict[str, str] | None = None,
    **values: str,
) -> Expected:
    settings = {
        key: value for key, (value, _) in CONFIG.items() if key not in ("auth_ldap_options", "listen_port")
    }
    return Expected(
        {**settings, **values},
        at_start or {"listen_port": "6432"},
        kept,
        {database.name: database for database in databases or (APP,)},
        star,
        peers or {},
    )


def test_nothing_to_change_is_said_by_nothing() -> None:
    assert expected_reload(seen(), files()) == ExpectedReload(files(), (), (), (), (), (), 0)


def test_each_setting_that_changes_is_a_line_and_its_default_is_marked() -> None:
    found = expected_reload(seen(), files(query_wait_timeout="120", default_pool_size="7"))
    assert found.changes == ("default_pool_size: 20 → 7", "query_wait_timeout: 33 → 120 (its default)")


def test_a_value_that_the_last_good_files_had_too_was_set_by_somebody() -> None:
    found = expected_reload(
        seen(),
        files(query_wait_timeout="120", default_pool_size="7"),
        last_good=files(query_wait_timeout="120"),
    )
    assert found.undone == ("query_wait_timeout: 33 → 120 (its default)",)
    assert found.changes == ("default_pool_size: 20 → 7",)


def test_what_only_a_restart_takes_is_apart() -> None:
    found = expected_reload(seen(), files(at_start={"listen_port": "7000"}))
    assert (found.changes, found.restart) == ((), ("listen_port: 6432 → 7000",))


def test_a_setting_without_a_default_is_said_to_stay() -> None:
    found = expected_reload(seen(), files(kept=frozenset({"auth_user"})))
    assert found.warnings == (
        "auth_user is not in the file and has no default: it stays lookup until a restart",
    )


@pytest.mark.trap("T25")
def test_a_setting_that_surprises_is_explained() -> None:
    found = expected_reload(seen(), files(stats_period="30"))
    assert "its timer is set at the start" in found.warnings[0]


def test_clients_of_a_removed_database_are_counted() -> None:
    found = expected_reload(seen(), files(replace(APP, name="other")))
    assert [(gone.name, gone.clients, gone.automatic) for gone in found.removed] == [("app", 4, False)]
    assert found.doomed_clients == 4
    assert "database app: removed, 4 clients to be cut" in found.changes


def test_a_database_like_the_line_for_all_others_is_taken_for_an_automatic_one() -> None:
    star = replace(APP, name="*", database="*")
    found = expected_reload(seen(), files(replace(APP, name="other"), star=star))
    assert [gone.automatic for gone in found.removed] == [True]
    assert found.doomed_clients == 0
    assert "if it was until now, 4 clients to be cut" in found.warnings[0]
    other = expected_reload(seen(), files(replace(APP, name="other"), star=replace(star, host="elsewhere")))
    assert other.doomed_clients == 4, "the line for all others has changed: nobody can tell"


def test_the_admin_console_itself_is_never_removed() -> None:
    console = replace(APP, name="pgbouncer", database="pgbouncer")
    assert expected_reload(seen("1.24.1", APP, console), files()).removed == ()


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({"host": "other"}, True),
        ({"port": 5433}, True),
        ({"database": "other"}, True),
        ({"force_user": "bob"}, True),
        ({"pool_size": 7}, False),
        ({"pool_mode": "session"}, False),
        ({"max_connections": 9}, False),
    ],
)
def test_only_some_changes_replace_the_server_connections(change: dict[str, object], replaced: bool) -> None:
    new = replace(APP, **change)  # type: ignore[arg-type]
    (line,) = (line for line in expected_reload(seen(), files(new)).changes if line.startswith("database"))
    assert line.endswith("; 3 server connections to be replaced when released") is replaced


def test_a_forced_user_cannot_be_taken_away() -> None:
    found = expected_reload(seen("1.24.1", replace(APP, force_user="bob")), files())
    assert found.changes == ()
    assert found.warnings == ("database app: its user left the file, but stays bob until a restart",)


@pytest.mark.parametrize(("version", "doomed"), [("1.24.1", 0), ("1.25.2", 0), ("1.26.1", 4)])
def test_a_changed_forced_user_kills_from_1_26_on(version: str, doomed: int) -> None:
    found = expected_reload(seen(version), files(replace(APP, force_user="bob")))
    assert found.doomed_clients == doomed
    assert any("dies at the next query: 4 clients" in warning for warning in found.warnings) is bool(doomed)


@pytest.mark.trap("T20")
def test_more_room_in_the_pools_asks_for_room_in_postgres() -> None:
    two = (POOL, replace(POOL, user="v"))
    found = expected_reload(seen(pools=two), files(replace(APP, pool_size=40)))
    assert "its pools may hold 90 server connections afterwards, 50 now" in found.warnings[0]
    assert expected_reload(seen(pools=two), files(replace(APP, pool_size=10))).warnings == ()
    capped = replace(APP, pool_size=400, max_connections=30)
    assert expected_reload(seen(pools=two), files(capped)).warnings == ()


def test_peers_are_compared_by_number() -> None:
    now = {1: PeerLine("/a", 6432, 20), 2: PeerLine("/b", 6432, 20)}
    wanted = {1: PeerLine("/a", 6432, None), 3: PeerLine("/c", 7000, 5)}
    found = expected_reload(seen(), files(peers=wanted), peers=now)
    assert found.changes == (
        "peer 2: /b:6432 pool_size=20 → none",
        "peer 3: none → /c:7000 pool_size=5",
    )
    assert expected_reload(seen(), files(peers=wanted), peers=None).changes == ()


def test_show_peers_is_read_by_name_and_odd_rows_are_left_out() -> None:
    table = ResultTable(
        ("pool_size", "peer_id", "host", "port", "new"),
        (("20", "1", "/a", "6432", "x"), ("20", None, "/b", "6432", "x"), ("20", "2", None, "6432", None)),
    )
    assert read_peers(table) == {1: PeerLine("/a", 6432, 20), 2: PeerLine("", 6432, 20)}


def test_afterwards_all_that_is_not_as_the_files_say_is_told() -> None:
    wanted = files(APP, replace(APP, name="new"), default_pool_size="7")
    after = seen("1.24.1", replace(APP, pool_size=1), replace(APP, name="old"))
    assert mismatches(wanted, seen(), after) == (
        "default_pool_size: 20, the file says 7",
        "database app: pool_size 1 → 20",
        "database new: it is in the file and not in SHOW DATABASES",
        "database old: it is not in the file and still in SHOW DATABASES",
    )
    assert mismatches(files(), seen(), seen()) == ()


def test_what_was_to_fall_to_its_default_did_not_fall() -> None:
    before = seen(default_pool_size="7", stats_period="9")
    after = seen(default_pool_size="20", query_wait_timeout="120")
    blind = changes_between(before, after)
    assert blind.fell_to_defaults
    told = changes_between(before, after, files(query_wait_timeout="120"))
    assert (told.fallen, told.fell_to_defaults) == ((), False)
    assert len(told.lines) == len(blind.lines) == 3
