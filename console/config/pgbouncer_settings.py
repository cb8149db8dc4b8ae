"""What PgBouncer's settings and connection options are: their kinds, how each version reads and prints them.

Source: `bouncer_params` of main.c, `parse_database`, `parse_user` and `parse_peer` of loader.c, and
libusual's cfparser.c, at 1.18.0, 1.24.1 and 1.25.2; held against running 1.18, 1.24 and 1.26. Which settings
a process knows, and their defaults, are asked of the process itself (SHOW CONFIG): distributions patch both.

Pure. Nothing here reads files or shows a value.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from console.model.version import Version


class Kind(Enum):
    """How PgBouncer reads a setting."""

    INT = auto()
    UINT = auto()
    TIME = auto()
    """Seconds, with a fraction."""
    AUTH_DATABASE = auto()


_INTS = (
    "application_name_add_host default_pool_size disable_pqexec listen_backlog listen_port log_connections "
    "log_disconnections log_pooler_errors log_stats max_client_conn max_db_client_connections "
    "max_db_connections max_prepared_statements max_user_client_connections max_user_connections "
    "min_pool_size peer_id pkt_buf query_wait_notify reserve_pool_size sbuf_loopcnt scram_iterations "
    "server_fast_close server_reset_query_always server_round_robin so_reuseport stats_period syslog "
    "tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_socket_buffer "
    "tcp_user_timeout unix_socket_mode verbose"
)
_TIMES = (
    "autodb_idle_timeout cancel_wait_timeout client_idle_timeout client_login_timeout dns_max_ttl "
    "dns_nxdomain_ttl dns_zone_check_period idle_transaction_timeout pool_idle_timeout query_timeout "
    "query_wait_timeout reserve_pool_timeout server_check_delay server_connect_timeout server_idle_timeout "
    "server_lifetime server_login_retry suspend_timeout transaction_timeout"
)
_TEXTS = (
    "admin_users auth_file auth_hba_file auth_ident_file auth_ldap_options auth_query auth_user "
    "client_tls13_ciphers client_tls_ca_file client_tls_cert_file client_tls_ciphers client_tls_dheparams "
    "client_tls_ecdhcurve client_tls_key_file client_tls_protocols conffile ignore_startup_parameters "
    "job_name listen_addr logfile login_notify_message pidfile resolv_conf server_check_query "
    "server_reset_query server_tls13_ciphers server_tls_ca_file server_tls_cert_file server_tls_ciphers "
    "server_tls_key_file server_tls_protocols stats_users syslog_facility syslog_ident "
    "track_extra_parameters unix_socket_dir unix_socket_group user"
)
POOL_MODES = ("session", "transaction", "statement")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
AUTH_TYPES = ("any", "trust", "plain", "md5", "cert", "hba", "ldap", "pam", "scram-sha-256")
LOAD_BALANCE = ("disable", "round-robin")
BUILD_DEPENDENT = frozenset({"pam", "ldap"})
"""Auth types that only some builds know."""
KINDS: Mapping[str, Kind | tuple[str, ...] | None] = MappingProxyType(
    {
        **dict.fromkeys(_INTS.split(), Kind.INT),
        **dict.fromkeys(_TIMES.split(), Kind.TIME),
        **dict.fromkeys(_TEXTS.split()),
        "max_packet_size": Kind.UINT,
        "auth_dbname": Kind.AUTH_DATABASE,
        "auth_type": AUTH_TYPES,
        "pool_mode": POOL_MODES,
        "client_tls_sslmode": SSL_MODES,
        "server_tls_sslmode": SSL_MODES,
    }
)
"""By setting: how it is read, or the words it may be; None: any text."""
SINCE: Mapping[str, Version] = MappingProxyType(
    {
        **dict.fromkeys(("auth_dbname", "cancel_wait_timeout", "peer_id"), Version(1, 19)),
        "track_extra_parameters": Version(1, 20),
        "max_prepared_statements": Version(1, 21),
        "auth_ident_file": Version(1, 23),
        **dict.fromkeys(("max_db_client_connections", "max_user_client_connections"), Version(1, 24)),
        **dict.fromkeys(
            (
                *("auth_ldap_options", "client_tls13_ciphers", "server_tls13_ciphers"),
                *("query_wait_notify", "scram_iterations", "transaction_timeout"),
            ),
            Version(1, 25),
        ),
        **dict.fromkeys(("login_notify_message", "pool_idle_timeout"), Version(1, 26)),
    }
)
"""Settings that came after 1.18."""
GONE_SINCE: Mapping[str, Version] = MappingProxyType({"suspend_timeout": Version(1, 26)})
_ALWAYS = Version(1, 0)
OPTIONS: Mapping[str, Mapping[str, Version]] = MappingProxyType(
    {
        "databases": {
            **dict.fromkeys(
                (
                    *("dbname", "host", "port", "user", "password", "auth_user", "pool_size", "reserve_pool"),
                    *("pool_mode", "max_db_connections", "connect_query", "client_encoding", "datestyle"),
                    *("timezone", "application_name"),
                ),
                _ALWAYS,
            ),
            "min_pool_size": Version(1, 16),
            "auth_dbname": Version(1, 19),
            "auth_query": Version(1, 22),
            "server_lifetime": Version(1, 23),
            **dict.fromkeys(
                ("reserve_pool_size", "max_db_client_connections", "load_balance_hosts"), Version(1, 24)
            ),
            "query_wait_timeout": Version(1, 26),
        },
        "users": {
            **dict.fromkeys(("pool_mode", "max_user_connections"), _ALWAYS),
            "pool_size": Version(1, 23),
            **dict.fromkeys(
                (
                    *("reserve_pool_size", "query_timeout", "idle_transaction_timeout"),
                    *("client_idle_timeout", "max_user_client_connections"),
                ),
                Version(1, 24),
            ),
            "transaction_timeout": Version(1, 25),
            "query_wait_timeout": Version(1, 26),
        },
        "peers": dict.fromkeys(("host", "port", "pool_size"), Version(1, 19)),
    }
)
"""By section and option: the version that brought it."""
NUMBERS = frozenset(
    {
        *("port", "pool_size", "min_pool_size", "reserve_pool", "reserve_pool_size", "max_db_connections"),
        *("max_db_client_connections", "server_lifetime", "query_wait_timeout", "max_user_connections"),
        *("query_timeout", "idle_transaction_timeout", "client_idle_timeout", "transaction_timeout"),
        "max_user_client_connections",
    }
)
"""Options that are read with atoi(): digits at the beginning count, the rest is ignored."""
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pool_mode": POOL_MODES, "load_balance_hosts": LOAD_BALANCE}
)
"""Options that are one of a few words."""
RESERVED_DATABASE = "pgbouncer"

_C_INT = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_C_DOUBLE = re.compile(
    r"\s*[+-]?(0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?\d+)?"
    r"|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity|nan)",
    re.ASCII | re.IGNORECASE,
)
_ATOI = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_LONG = 2**63


def printed(key: str, value: str) -> str | None:
    """Return `value` of a setting as SHOW CONFIG prints it.

    None: it is not known how (a setting of a later version, or a number too large to count with).

    Raises:
        ValueError: PgBouncer refuses it; the message says what it has to be.
    """
    if key not in KINDS:
        return None
    match KINDS[key]:
        case None:
            # As console.poolers reads bytes that are no UTF-8.
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        case Kind.INT:
            number = c_long(value)
            return str((number + 2**31) % 2**32 - 2**31)
        case Kind.UINT:
            return str(c_long(value, limit=2**64) % 2**32)
        case Kind.TIME:
            return _time(value)
        case Kind.AUTH_DATABASE:
            if value == RESERVED_DATABASE:
                raise ValueError(f"must not be {RESERVED_DATABASE}, the admin console")
            return value
        case words:
            return word(value, words)


def c_long(value: str, limit: int = _LONG) -> int:
    """Read a number as C's strtol() with base 0 does: octal behind a 0, sixteens behind 0x; clamped.

    Raises:
        ValueError: it is none, or something follows it.
    """
    found = _C_INT.fullmatch(value)
    if found is None:
        raise ValueError("must be a whole number, without a unit")
    digits = found[2]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    number = int(digits, base)
    if limit > _LONG and number >= limit:
        return limit - 1
    number = -number if found[1] == "-" else number
    return number if limit > _LONG else max(-_LONG, min(_LONG - 1, number))


def word(value: str, words: tuple[str, ...]) -> str:
    """Return the one of `words` that `value` is, capitals or not.

    Raises:
        ValueError: it is none of them.
    """
    lower = value.lower() if value.isascii() else value
    if lower not in words:
        raise ValueError(f"must be one of {', '.join(words)}")
    return lower


def atoi(value: str) -> int:
    """Return what C makes of digits at the beginning of a text: 0 when there are none."""
    found = _ATOI.match(value)
    return int(found[1]) if found else 0


def is_whole(value: str) -> bool:
    """Say whether atoi() takes all of `value`."""
    return _ATOI.fullmatch(value) is not None


def seconds(usec: int) -> str:
    """Return a time as SHOW CONFIG prints it."""
    return f"{usec / 1_000_000:g}"


def microseconds(text: str) -> int | None:
    """Read a time as PgBouncer does; None when it is too large to count with.

    Raises:
        ValueError: PgBouncer refuses it.
    """
    if _C_DOUBLE.fullmatch(text) is None:
        raise ValueError("must be a number of seconds, without a unit")
    bare = text.strip().lower()
    is_hex = "0x" in bare
    number = float.fromhex(bare) if is_hex else float(bare)
    mantissa = re.split("p" if is_hex else "e", bare)[0].replace("0x", "")
    is_nothing = re.search("[1-9a-f]" if is_hex else "[1-9]", mantissa) is None
    underflow = abs(number) < sys.float_info.min and not is_nothing
    if number < 0 or underflow or (math.isinf(number) and "inf" not in bare):
        raise ValueError("must be a number of seconds, 0 or more")
    if not math.isfinite(number) or number * 1_000_000 >= _LONG:
        return None
    return int(number * 1_000_000)


def _time(value: str) -> str | None:
    usec = microseconds(value)
    return None if usec is None else seconds(usec)
