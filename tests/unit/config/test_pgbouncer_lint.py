"""The lint of PgBouncer's files: what it says, of which line, and what it must never say.

That each rule is what PgBouncer does is shown on real servers (tests/servers/test_reload_check.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_auth import read_auth_file
from console.config.pgbouncer_expect import expected
from console.config.pgbouncer_hba import read_hba_file
from console.config.pgbouncer_ini import IniError, read_ini, scan_ini
from console.config.pgbouncer_lint import Severity
from console.config.pgbouncer_lint_files import Lint, lint, wanted
from console.config.pgbouncer_texts import ConfigTexts, HostFile, Trouble, scan
from console.model.rows import Setting
from console.model.version import Version

ROOT = "/etc/pgbouncer/pgbouncer.ini"
USERS = "/etc/pgbouncer/users.txt"
V1_18, V1_24, V1_26 = Version(1, 18, 0), Version(1, 24, 1), Version(1, 26, 1)
DEFAULTS: dict[str, str | None] = {
    **{"admin_users": "", "auth_dbname": None, "auth_file": None, "auth_hba_file": "", "auth_type": "md5"},
    **{"auth_user": None, "client_tls_ca_file": "", "client_tls_cert_file": "", "client_tls_key_file": ""},
    **{"client_tls_sslmode": "disable", "default_pool_size": "20", "listen_port": "6432"},
    **{"max_db_client_connections": "0", "max_db_connections": "0", "min_pool_size": "0"},
    **{"pool_mode": "session", "query_wait_timeout": "120", "reserve_pool_size": "0"},
    **{"server_lifetime": "3600", "server_tls_sslmode": "prefer", "stats_users": "", "conffile": None},
}
RUNNING = {
    **DEFAULTS,
    **{"admin_users": "root, boss", "stats_users": "watch", "auth_file": USERS, "conffile": ROOT},
    **{"pool_mode": "transaction", "server_tls_sslmode": "disable"},
}
HEAD = (
    "[pgbouncer]\nadmin_users = root, boss\nstats_users = watch\nauth_file = users.txt\n"
    "pool_mode = transaction\nserver_tls_sslmode = disable\n"
)
AUTH = b'"root" "secret-1"\n"boss" "secret-2"\n'


def running(**changes: str | None) -> dict[str, Setting]:
    values = {**RUNNING, **changes}
    return {
        key: Setting(key, value, DEFAULTS.get(key), changeable=key != "listen_port")
        for key, value in values.items()
    }


def texts(ini: str | bytes, **files: bytes | Trouble) -> ConfigTexts:
    content = ini if isinstance(ini, bytes) else ini.encode("utf-8", "surrogateescape")
    given: dict[str, bytes | Trouble] = {USERS: AUTH, **{f"/{name}": text for name, text in files.items()}}
    read = {
        path: HostFile(path, None, text) if isinstance(text, Trouble) else HostFile(path, text)
        for path, text in given.items()
    }
    return ConfigTexts(ROOT, "/etc/pgbouncer", {ROOT: HostFile(ROOT, content), **read})


def judge(ini: str | bytes, version: Version = V1_24, /, **files: Any) -> Lint:
    return lint(texts(ini, **files), running(), version, admin_user="boss", monitor_user="watch")


def told(ini: str | bytes, version: Version = V1_24, /, **files: Any) -> list[str]:
    return [f"{finding.severity}: {finding}" for finding in judge(ini, version, **files).findings]


def test_a_file_without_a_mistake_has_no_finding() -> None:
    found = judge(f"[databases]\napp = host=db user=x password='it''s'\n{HEAD}")
    assert found.findings == ()
    assert found.users is not None
    assert [user.name for user in found.users.users] == ["root", "boss"]


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    ini = (
        f"{HEAD}pol_mode = x\nhello\ndefault_pool_size = many\n[databases]\napp = host=db pol_size=1\n[foo]\n"
    )
    assert told(ini) == [
        f"error: {ROOT}:7: PgBouncer 1.24.1 knows no setting pol_mode (did you mean pool_mode?)",
        f"error: {ROOT}:8: syntax error: neither key = value, [section], %include FILE nor a comment on a "
        "line of its own",
        f"error: {ROOT}:9: default_pool_size must be a whole number, without a unit",
        f"error: {ROOT}:11: app: there is no option pol_size (did you mean pool_size?)",
        f"error: {ROOT}:12: PgBouncer knows no section [foo]",
    ]


def test_a_mistake_in_an_include_stands_at_its_own_line() -> None:
    assert told(f"{HEAD}%include /more.ini\n", **{"more.ini": b"\n\nnope = 1\n"}) == [
        "error: /more.ini:3: PgBouncer 1.24.1 knows no setting nope"
    ]


@pytest.mark.parametrize(
    ("line", "version", "words"),
    [
        ("transaction_timeout = 1", V1_24, "transaction_timeout (1.25 and later do)"),
        ("suspend_timeout = 1", V1_26, "suspend_timeout (it is gone since 1.26)"),
        ("[peers]", V1_18, "before 1.19 PgBouncer knows no section [peers]"),
        ("[databases]\n'a b' = host=x", V1_24, "before 1.25 a key in quotes is a syntax error"),
        ("[databases]\na = host=x load_balance_hosts=disable", V1_18, "load_balance_hosts came with 1.24"),
        ("[databases]\na = host=x reserve_pool_size=1", V1_18, "reserve_pool_size came with 1.24"),
        ('[databases]\n"a b" = host=x', V1_26, "syntax error"),
        ("auth_type = ldap", V1_24, "auth_type must be one of any, trust"),
    ],
)
@pytest.mark.trap("T24", "T29")
def test_what_a_version_does_not_know_is_told_with_the_one_that_does(
    line: str, version: Version, words: str
) -> None:
    found = told(f"{HEAD}{line}\n", version)
    assert len(found) == 1
    assert words in found[0]


def test_files_that_are_not_there_or_may_not_be_read_are_two_things() -> None:
    gone = judge(f"{HEAD}%include /gone.ini\n", **{"gone.ini": Trouble.MISSING})
    assert [str(finding) for finding in gone.errors] == [
        f"{ROOT}:7: the included file /gone.ini: there is no such file"
    ]
    denied = judge(f"{HEAD}%include /closed.ini\n", **{"closed.ini": Trouble.DENIED})
    assert denied.errors == ()
    assert [str(finding) for finding in denied.unread] == [
        f"{ROOT}:7: cannot be read off-line: the included file /closed.ini: permission denied"
    ]


def test_a_file_with_a_byte_order_mark_says_so() -> None:
    first = told(b"\xef\xbb\xbf" + HEAD.encode())[0]
    assert first == f"error: {ROOT}:1: a byte order mark: to PgBouncer it is a syntax error"


def test_a_zero_byte_ends_the_file() -> None:
    assert told(f"{HEAD}\0default_pool_size = 3\n") == [
        f"error: {ROOT}:7: a zero byte: PgBouncer takes it for the end of the file"
    ]


def test_whoever_pooldeck_is_must_still_be_let_in() -> None:
    assert "admin_users would be empty" in told(HEAD.replace("admin_users = root, boss\n", ""))[0]
    assert "no longer name boss" in told(HEAD.replace("root, boss", "root"))[0]
    assert "no longer name boss" in told(HEAD.replace("root, boss", "root, bossy"))[0]
    monitor = told(HEAD.replace("stats_users = watch\n", ""))
    assert monitor == [f"warning: {ROOT}: stats_users would no longer name watch, whom Pooldeck polls as"]
    gone = judge(HEAD, **{USERS.removeprefix("/"): b'"root" "x"\n'})
    assert [finding.rule for finding in gone.errors] == ["lock-out"]


def test_an_admin_who_comes_without_a_password_needs_no_entry() -> None:
    found = lint(texts(HEAD, **{USERS[1:]: b""}), running(auth_type="any"), V1_24, admin_user="pgbouncer")
    assert found.errors == ()


def test_an_assumed_working_folder_is_told_only_where_it_counts() -> None:
    def assumed(ini: str) -> list[str]:
        found = texts(ini, **{"more.ini": b"", "etc/pgbouncer/../../more.ini": b""})
        guess = ConfigTexts(found.root, found.working_folder, found.files, folder_assumed=True)
        return [finding.rule for finding in lint(guess, running(), V1_24).findings]

    whole = HEAD.replace("users.txt", USERS)
    assert assumed(f"{whole}%include /more.ini\n") == []
    assert assumed(f"{whole}%include ../../more.ini\n") == ["working-folder"]
    assert assumed(HEAD) == ["working-folder"]


def test_what_is_wanted_is_found_step_by_step() -> None:
    nothing = ConfigTexts(ROOT, "/etc/pgbouncer", {})
    assert wanted(nothing, running(), V1_24).files == (ROOT,)
    ini = f"{HEAD}%include more.ini\nclient_tls_sslmode = require\nclient_tls_key_file = k\n"
    first = texts(ini)
    more = "/etc/pgbouncer/more.ini"
    assert wanted(first, running(), V1_24).files == (more,)
    second = first.with_files({more: HostFile(more, b"auth_file = others.txt\n")})
    found = wanted(second, running(), V1_24)
    assert (found.files, found.looks) == (("/etc/pgbouncer/others.txt",), ("/etc/pgbouncer/k",))


# -- secrets ----------------------------------------------------------------------------------------

SECRET = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        f"app = host=db password={SECRET} and more",
        f"app = host=db password=my {SECRET}=x",
        f"app = host=db password='{SECRET}",
        f"app = host=db password=x {SECRET}",
        f"app = host=db port={SECRET} password=y",
        f"password={SECRET}",
        f"{SECRET}",
        f"app = host=db pool_size={SECRET}",
    ],
)
def test_no_finding_holds_what_may_be_a_password(line: str) -> None:
    found = judge(f"[databases]\n{line}\n{HEAD}")
    assert found.errors or found.warnings
    assert SECRET not in " ".join(told(f"[databases]\n{line}\n{HEAD}"))
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "content",
    [
        f'"bob" {SECRET}\n',
        f'"bob" "{SECRET}\n',
        f"{SECRET}\n",
        f'"bob"\n"{SECRET}"\n',
        f'"{SECRET}\n',
        f'"bob" "{SECRET}"\n"bob" "{SECRET}"\n',
    ],
)
def test_no_line_of_an_auth_file_is_quoted(content: str) -> None:
    found = judge(HEAD, **{USERS[1:]: content.encode() + AUTH})
    assert SECRET not in f"{found!r}{[str(finding) for finding in found.findings]}"


# -- anything at all --------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    [
        *("[pgbouncer]", "[databases]", "[users]", "[peers]", "[x", "%include ", "%include a.ini", "=", " "),
        *(
            "\n",
            "\r\n",
            "\t",
            "'",
            '"',
            ";",
            "#",
            "*",
            "app",
            "1",
            "host=x",
            "pool_size=1",
            "password=",
            "\0",
        ),
        *("pool_mode", "session", "default_pool_size", "é", "\udce9", "\ufeff", "admin_users = boss"),
    ]
)
_TEXTS = st.lists(_WORDS, max_size=30).map("".join)


@settings(max_examples=400, deadline=None)
@given(ini=_TEXTS, more=_TEXTS, users=st.binary(max_size=60), version=st.sampled_from([V1_18, V1_24, V1_26]))
def test_no_file_is_too_odd_to_be_judged(ini: str, more: str, users: bytes, version: Version) -> None:
    found = texts(
        HEAD + ini,
        **{"etc/pgbouncer/a.ini": more.encode("utf-8", "surrogateescape"), USERS[1:]: users},
    )
    judged = lint(found, running(), version, admin_user="boss", monitor_user="watch")
    assert all(finding.file and str(finding) for finding in judged.findings)
    order = [list(Severity).index(finding.severity) for finding in judged.findings]
    assert order == sorted(order), "worst first"


@settings(max_examples=300, deadline=None)
@given(ini=_TEXTS)
def test_going_on_after_a_mistake_sees_what_the_strict_reader_sees(
    ini: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "scan.ini"
    path.write_bytes(ini.encode("utf-8", "surrogateescape"))
    found = scan_ini(path, Path.read_bytes, working_folder=folder)
    try:
        strict = read_ini(path, working_folder=folder)
    except IniError:
        assert found.mistakes or all(section.name != "pgbouncer" for section in found.ini.sections)
    else:
        assert (found.mistakes, found.ini) == ((), strict)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=80), version=st.sampled_from([V1_18, V1_26]))
def test_auth_and_hba_files_of_any_bytes_are_read(content: bytes, version: Version) -> None:
    read_auth_file(content, version)
    read_hba_file(content, version)


def test_files_that_include_one_another_many_times_do_not_run_away() -> None:
    loop = b"%include /a.ini\n%include /b.ini\n" * 50
    found = judge(f"{HEAD}%include /a.ini\n", **{"a.ini": loop, "b.ini": loop})
    assert [finding.rule for finding in found.errors] == ["include-circle"]


# -- what would run ---------------------------------------------------------------------------------


def of(ini: str, version: Version = V1_24, **now: str | None) -> tuple[dict[str, str], frozenset[str]]:
    found, _ = scan(texts(ini))
    makes = expected(found, running(**now), version)
    return {**makes.settings, **makes.at_start}, makes.kept


def test_a_setting_that_left_the_file_is_back_at_its_default_or_stays() -> None:
    settings_, kept = of("[pgbouncer]\n", auth_user="lookup", default_pool_size="7")
    assert (settings_["default_pool_size"], settings_["pool_mode"]) == ("20", "session")
    assert settings_["auth_user"] == "lookup"
    assert kept == {"auth_user", "auth_file"}


def test_a_second_header_takes_all_above_it_back() -> None:
    settings_, _ = of("[pgbouncer]\npool_mode = statement\nauth_user = a\n[pgbouncer]\n")
    assert (settings_["pool_mode"], settings_["auth_user"]) == ("session", "a")


def test_only_a_start_takes_what_cannot_be_reloaded() -> None:
    found, _ = scan(texts("[pgbouncer]\nlisten_port = 7000\n"))
    makes = expected(found, running(), V1_24)
    assert makes.at_start == {"listen_port": "7000"}
    assert "listen_port" not in makes.settings


def test_before_1_15_nobody_tells_the_defaults() -> None:
    settings_, _ = of("[pgbouncer]\npool_mode = statement\n", Version(1, 14))
    assert settings_ == {"pool_mode": "statement"}


def test_a_line_of_databases_becomes_a_row_of_show_databases() -> None:
    ini = (
        "[databases]\na = host=h,i port=7 dbname=x user=u pool_size=3 reserve_pool=1 pool_mode=Session\n"
        "* = host=all\n[pgbouncer]\nmax_db_connections = 9\n"
    )
    found, _ = scan(texts(ini))
    makes = expected(found, running(), V1_24)
    row = makes.databases["a"]
    assert (row.host, row.port, row.database, row.force_user) == ("h,i", 7, "x", "u")
    assert (row.pool_size, row.reserve_pool_size, row.min_pool_size) == (3, 1, 0)
    assert (row.pool_mode, row.load_balance_hosts, row.max_connections) == ("session", "round-robin", 9)
    assert row.server_lifetime_s == 3600
    assert expected(found, running(), V1_18).databases["a"].load_balance_hosts is None
    automatic = makes.auto_database("shop")
    assert automatic is not None
    assert (automatic.name, automatic.database, automatic.host) == ("shop", "shop", "all")
