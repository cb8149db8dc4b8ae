"""The mistakes that tests of the lint make in a bouncer's files, and what PgBouncer does with each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from console.lab.secrets import ADMIN
from console.model.version import Version
from tests.servers.reload_kit import Bench

Edit = Callable[[Bench], None]
FAILS = "fails"
"""RELOAD fails: on 1.25 and later it says so, on all the log does."""
LOCKS = "locks out"
"""RELOAD succeeds, and a new login to the console is refused."""
FINE = "is taken"
ALWAYS = Version(1, 0)
NEVER = Version(9, 0)


@dataclass(frozen=True)
class Row:
    """One mistake."""

    name: str
    edit: Edit
    does: str = FINE
    rule: str | None = None
    """The rule that must tell of it; None: nothing is to be told."""
    since: Version = ALWAYS
    until: Version = NEVER
    """From `since` on and before `until` versions do this."""
    before: str | None = None
    """The rule by which the others fail; None: they take it."""

    def expected(self, version: Version) -> tuple[str, str | None]:
        """What this version does, and the rule that must tell of it."""
        if self.since <= version < self.until:
            return self.does, self.rule
        return (FINE, None) if self.before is None else (FAILS, self.before)


def below(text: str) -> Edit:
    """Add lines at the end of the ini, in [pgbouncer]."""
    return lambda bench: bench.write(
        bench.server.config_path, bench.ini + text.encode("utf-8", "surrogateescape") + b"\n"
    )


def setting(key: str, value: str) -> Edit:
    """Give a setting of the ini another value."""
    line = f"{key} = {value}\n".encode()
    return lambda bench: bench.write(
        bench.server.config_path, re.sub(rf"(?m)^{key} = .*\n".encode(), line, bench.ini)
    )


def top(text: str) -> Edit:
    """Add lines at the beginning of [pgbouncer]."""
    new = b"[pgbouncer]\n" + text.encode() + b"\n"
    return lambda bench: bench.write(bench.server.config_path, bench.ini.replace(b"[pgbouncer]\n", new))


def database(line: str) -> Edit:
    """Add a line to [databases]."""
    new = b"[databases]\n" + line.encode("utf-8", "surrogateescape") + b"\n"
    return lambda bench: bench.write(bench.server.config_path, bench.ini.replace(b"[databases]\n", new))


def whole(change: Callable[[bytes], bytes]) -> Edit:
    """Change the ini as a whole."""
    return lambda bench: bench.write(bench.server.config_path, change(bench.ini))


def users(change: Callable[[bytes], bytes]) -> Edit:
    """Change the auth_file; the admin is its first entry."""
    return lambda bench: bench.write(bench.server.userlist_path, change(bench.users))


def including(text: bytes, name: str = "more.ini", line: str = "%include {folder}/{name}") -> Edit:
    """Add an include at the end of the ini, of a file that holds `text`."""

    def edit(bench: Bench) -> None:
        bench.write(bench.folder / name, text.replace(b"{folder}", str(bench.folder).encode()))
        below(line.format(folder=bench.folder, name=name))(bench)

    return edit


def nested(depth: int) -> Edit:
    def edit(bench: Bench) -> None:
        for number in range(depth):
            last = number == depth - 1
            text = "query_timeout = 9" if last else f"%include {bench.folder}/deep-{number + 1}.ini"
            bench.write(bench.folder / f"deep-{number}.ini", text.encode())
        below(f"%include {bench.folder}/deep-0.ini")(bench)

    return edit


def hba(text: bytes | None) -> Edit:
    def edit(bench: Bench) -> None:
        path = bench.folder / "hba.conf"
        path.unlink(missing_ok=True)
        if text is not None:
            bench.write(path, text)
        named = f"auth_type = hba\nauth_hba_file = {path}".encode()
        bench.write(bench.server.config_path, bench.ini.replace(b"auth_type = scram-sha-256", named))

    return edit


V1_19, V1_22, V1_23, V1_24, V1_25, V1_26 = (Version(1, minor) for minor in (19, 22, 23, 24, 25, 26))
_NO_KEYS = "client_tls_key_file = /nonexistent/k\nclient_tls_cert_file = /nonexistent/c"
SETTINGS = (
    Row("nothing changed", whole(lambda ini: ini)),
    Row("unknown key", below("no_such_setting = 1"), FAILS, "unknown-key"),
    Row("unknown key on top", top("no_such_setting = 1"), FAILS, "unknown-key"),
    Row("key of databases", below("reserve_pool = 5"), FAILS, "unknown-key"),
    Row("key that is gone", below("suspend_timeout = 5"), FAILS, "unknown-key", since=V1_26),
    Row("key of 1.19", below("peer_id = 0"), since=V1_19, before="unknown-key"),
    Row("key of 1.25", below("transaction_timeout = 9"), since=V1_25, before="unknown-key"),
    Row("word for a number", below("log_connections = yes"), FAILS, "bad-value"),
    Row("number with a tail", below("default_pool_size = 2x"), FAILS, "bad-value"),
    Row("bad octal", below("default_pool_size = 08"), FAILS, "bad-value"),
    Row("no number", below("default_pool_size ="), FAILS, "bad-value"),
    Row("negative number", setting("default_pool_size", "-2")),
    Row("sixteens", setting("default_pool_size", "0x10")),
    Row("too large a number", setting("default_pool_size", "99999999999999999999")),
    Row("unlimited pools", setting("default_pool_size", "0"), FINE, "unlimited", since=V1_24),
    Row("time with a unit", below("query_wait_timeout = 30s"), FAILS, "bad-value"),
    Row("negative time", below("query_wait_timeout = -1"), FAILS, "bad-value"),
    Row("time with a comma", below("query_wait_timeout = 1,5"), FAILS, "bad-value"),
    Row("time with a fraction", below("query_wait_timeout = 1.5")),
    Row("time that is printed short", below("server_lifetime = 1234567.25")),
    Row("time without end", below("query_wait_timeout = inf"), FINE, "odd-value"),
    Row("unknown mode", below("pool_mode = transactional"), FAILS, "bad-value"),
    Row("mode in capitals", setting("pool_mode", "SESSION")),
    Row("unknown auth type", below("auth_type = scram"), FAILS, "bad-value"),
    Row("auth type of hba only", below("auth_type = peer"), FAILS, "bad-value"),
    Row("bad value that only a start reads", below("listen_port = x"), FINE, "bad-value-at-start"),
    Row("reserved", below("auth_dbname = pgbouncer"), FAILS, "bad-value", since=V1_19, before="unknown-key"),
    Row("twice", below("default_pool_size = 8\ndefault_pool_size = 9"), FINE, "double"),
    Row("another file the next time", below("conffile = /nonexistent.ini"), FINE, "conffile"),
    Row("second header", below(f"[pgbouncer]\nadmin_users = {ADMIN}"), FINE, "second-header"),
    Row("second header locks out", below("[pgbouncer]"), LOCKS, "lock-out"),
    Row("no admins", below("admin_users ="), LOCKS, "lock-out"),
    Row("other admins", below("admin_users = somebody"), LOCKS, "lock-out"),
    Row("bytes of another encoding", below("syslog_ident = caf\udce9")),
)
GRAMMAR = (
    Row("no equals sign", below("hello"), FAILS, "syntax"),
    Row("key of another encoding", below("\udce9 = 1"), FAILS, "syntax"),
    Row("no bracket", below("[users"), FAILS, "syntax"),
    Row("unknown section", below("[foo]\na = 1"), FAILS, "unknown-section"),
    Row("key before any section", whole(lambda ini: b"x = 1\n" + ini), FAILS, "no-section"),
    Row("no main section", whole(lambda _: b"[databases]\nx = host=1\n"), FAILS, "no-main-section"),
    Row("empty file", whole(lambda _: b""), FAILS, "no-main-section"),
    Row("file is gone", lambda bench: bench.server.config_path.unlink(), FAILS, "missing"),
    Row("byte order mark", whole(lambda ini: b"\xef\xbb\xbf" + ini), FAILS, "byte-order-mark"),
    Row("carriage returns", whole(lambda ini: ini.replace(b"\n", b"\r\n"))),
    Row("old line ends", whole(lambda ini: ini.replace(b"\n", b"\r")), FAILS, "connection-string"),
    Row("include", including(b"query_timeout = 3\n")),
    Row("relative include", including(b"query_timeout = 3\n", line="%include {name}")),
    Row("include with an odd name", including(b"query_timeout = 3\n", "a b'c\"d;%.ini")),
    Row("include is gone", below("%include /nonexistent/x.ini"), FAILS, "include-missing"),
    Row("include in quotes", including(b"", line='%include "{folder}/{name}"'), FAILS, "include-missing"),
    Row("include without a name", below("%include "), FAILS, "include-missing"),
    Row("include of a folder", below("%include /tmp"), FINE, "folder"),
    Row("include of itself", including(b"%include {folder}/more.ini\n"), FAILS, "include-circle"),
    Row("includes ten deep", nested(10)),
    Row("includes eleven deep", nested(11), FAILS, "include-depth"),
    Row(
        "include that changes the section",
        including(b"[databases]\nz = host=1\n", line="%include {folder}/{name}\ndefault_pool_size = 4"),
        FAILS,
        "connection-string",
    ),
    Row("mistake in an include", including(b"\n\nno_such_setting = 1\n"), FAILS, "unknown-key"),
)
_NEWER_OPTIONS = (
    ("auth_dbname=y", V1_19),
    ("auth_query='select 1'", V1_22),
    ("server_lifetime=9", V1_23),
    ("reserve_pool_size=9", V1_24),
    ("max_db_client_connections=9", V1_24),
    ("load_balance_hosts=disable", V1_24),
    ("query_wait_timeout=9", V1_26),
)
_NEWER_USER_OPTIONS = (
    ("pool_size=1", V1_23),
    ("query_timeout=1", V1_24),
    ("transaction_timeout=1", V1_25),
    ("query_wait_timeout=1", V1_26),
)
OPTIONS = (
    Row("unknown option", database("x = host=1 foo=2"), FAILS, "unknown-option"),
    Row("no pair", database("x = host"), FAILS, "connection-string"),
    Row("empty value", database("x = host="), FAILS, "connection-string"),
    Row("unquoted password", database("x = host=1 password=my secret"), FAILS, "connection-string"),
    Row("no port", database("x = host=1 port=abc"), FAILS, "bad-option"),
    Row("port with a tail", database("x = host=1 port=54x"), FINE, "odd-option"),
    Row("port beyond all", database("x = host=1 port=99999"), FINE, "odd-option"),
    Row("pool size that is none", database("x = host=1 pool_size=abc"), FINE, "odd-option"),
    Row("negative pool size", database("x = host=1 pool_size=-5")),
    Row("unknown pool mode", database("x = host=1 pool_mode=tx"), FAILS, "bad-option"),
    Row("pool mode in capitals", database("x = host=1 pool_mode=Statement")),
    *(
        Row(option, database(f"x = host=a,b {option}"), since=since, before="unknown-option")
        for option, since in _NEWER_OPTIONS
    ),
    Row(
        "hosts in no way",
        database("x = host=a,b load_balance_hosts=no"),
        FAILS,
        "bad-option",
        since=V1_24,
        before="unknown-option",
    ),
    Row("console's own name", database("pgbouncer = host=1"), FAILS, "reserved"),
    Row("name of 63 bytes", database(f"{'a' * 63} = host=1")),
    Row("name of 64 bytes", database(f"{'a' * 64} = host=1"), FAILS, "long-name"),
    Row("database twice", database("app = host=1"), FINE, "double"),
    Row("name in single quotes", database("'a b' = host=1"), since=V1_25, before="quoted-key"),
    Row("name in double quotes", database('"a b" = host=1'), FAILS, "syntax"),
    Row("all the rest", database("* = host=1")),
    Row("all the rest, wrongly", database("* = host=1 foo=2"), FINE, "bad-catch-all"),
    Row("user's option", below("[users]\nbob = pool_mode=session")),
    Row("user's unknown option", below("[users]\nbob = foo=1"), FAILS, "unknown-option"),
    *(
        Row(f"user's {option}", below(f"[users]\nbob = {option}"), since=since, before="unknown-option")
        for option, since in _NEWER_USER_OPTIONS
    ),
    Row(
        "peers",
        below("[peers]\n1 = host=/tmp port=3 pool_size=4\n2 = host=x"),
        since=V1_19,
        before="unknown-section",
    ),
    Row(
        "peer nobody",
        below("[peers]\n0 = host=/tmp"),
        FAILS,
        "peer-id",
        since=V1_19,
        before="unknown-section",
    ),
    Row(
        "peer nowhere",
        below("[peers]\n1 = port=3"),
        FAILS,
        "peer-host",
        since=V1_19,
        before="unknown-section",
    ),
)
OTHER_FILES = (
    Row("TLS without a key", below("client_tls_sslmode = allow"), FAILS, "tls"),
    Row("TLS keys are gone", below(f"client_tls_sslmode = allow\n{_NO_KEYS}"), FAILS, "tls-file"),
    Row("certificates without TLS", below("auth_type = cert"), FAILS, "tls"),
    Row("auth_file is gone", lambda bench: bench.server.userlist_path.unlink(), FINE, "auth-file-missing"),
    Row("empty auth_file", users(lambda _: b""), LOCKS, "lock-out"),
    Row("auth_file with carriage returns", users(lambda text: text.replace(b"\n", b"\r\n"))),
    Row("auth_file with a byte order mark", users(lambda text: b"\xef\xbb\xbf" + text), LOCKS, "auth-file"),
    Row("auth_file with #", users(lambda text: b"# mine\n" + text), LOCKS, "auth-file"),
    Row("auth_file with ;", users(lambda text: b"; mine\n" + text)),
    Row("auth_file without quotes", users(lambda text: b"bob secret\n" + text), LOCKS, "auth-file"),
    Row("auth_file, endless name", users(lambda text: b'"bob\n' + text), LOCKS, "auth-file"),
    Row("auth_file, no secret", users(lambda text: b'"bob"\n' + text), LOCKS, "auth-file"),
    Row("auth_file, long name", users(lambda text: b'"%s" "x"\n' % (b"a" * 128) + text), LOCKS, "auth-file"),
    Row(
        "auth_file, long secret",
        users(lambda text: b'"bob" "%s"\n' % (b"a" * 2048) + text),
        LOCKS,
        "auth-file",
        until=V1_26,
    ),
    Row(
        "auth_file, admin twice",
        users(lambda text: text + f'"{ADMIN}" "x"\n'.encode()),
        LOCKS,
        "double-user",
    ),
    Row("auth_file, no way in", users(lambda text: text + f'"{ADMIN}" ""\n'.encode()), LOCKS, "lock-out"),
    Row(
        "auth_file, admin is gone",
        users(lambda text: text.partition(b"\n")[2]),
        LOCKS,
        "lock-out",
    ),
    Row("hba", hba(b"local all all scram-sha-256\nhost all all 127.0.0.0/8 md5\n")),
    Row("hba is gone", hba(None), LOCKS, "hba-missing"),
    Row("hba without a rule", hba(b"# local all all md5\n"), LOCKS, "hba-empty"),
    Row("hba, unknown type", hba(b"socket all all md5\nhost all all ::1/128 md5\n"), LOCKS, "hba-line"),
    Row("hba, unknown method", hba(b"local all all scram\nhost all all ::1/128 md5\n"), LOCKS, "hba-line"),
    Row("hba, roles", hba(b"local samerole all md5\nhost all all ::1/128 md5\n"), LOCKS, "hba-line"),
    Row("hba, a host's name", hba(b"local all all md5\nhost all all localhost md5\n"), FINE, "hba-line"),
)
