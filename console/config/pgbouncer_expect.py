"""What a PgBouncer would be like after a RELOAD of given files: settings, databases, peers as it shows them.

Follows libusual's cfparser.c: `[pgbouncer]` sets every setting that has a default back to it, then each line
counts as it comes. A setting without a default that left the file keeps its value until a restart; so does
the forced user of a database ("losing forced user not supported").

Pure, and only good for files without an error (`pgbouncer_lint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from console.config.pgbouncer_ini import (
    MAIN_SECTION,
    Entry,
    IniError,
    IniFile,
    Scan,
    Section,
)
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_settings import LOAD_BALANCE, atoi, microseconds, printed
from console.model.rows import Database, Setting
from console.model.version import Version

NOT_SHOWN = frozenset({"auth_ldap_options"})
"""May hold a bind password: what runs is masked, so it is never compared."""
CATCH_ALL = "*"
_OF_THE_COMMAND_LINE = frozenset({"conffile", "user", "verbose"})
"""Have no default because their values come with the command."""
_TELLS_DEFAULTS = Version(1, 15)
_SERVER_LIFETIME = Version(1, 23)
_CLIENT_LIMITS = Version(1, 24)
"""Also brought `load_balance_hosts`."""
_POSTGRES_PORT = 5432
_PEER_PORT = 6432


@dataclass(frozen=True, slots=True)
class PeerLine:
    """One line of `[peers]`, as SHOW PEERS shows it."""

    host: str
    port: int
    pool_size: int | None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What RELOAD would make of a process."""

    settings: Mapping[str, str]
    """Of settings that RELOAD changes: the value as SHOW CONFIG prints it, "" for an empty or unset one.
    Those that cannot be told are left out."""
    at_start: Mapping[str, str]
    """Of settings that only a restart changes: the value that one would bring."""
    kept: frozenset[str]
    """Settings that have a value, no default and no line: they keep it until a restart."""
    databases: Mapping[str, Database]
    """By name, as SHOW DATABASES shows them; counts and states are empty. Without `*`."""
    catch_all: Database | None
    """What `*` makes of a database called `*`; None: there is no such line."""
    peers: Mapping[int, PeerLine]

    def auto_database(self, name: str) -> Database | None:
        """Return what `*` makes of a database of this name; None without such a line."""
        star = self.catch_all
        if star is None:
            return None
        own_name = star.database == CATCH_ALL
        return replace(star, name=name, database=name if own_name else star.database)


def expected(scan: Scan, running: Mapping[str, Setting], version: Version) -> Expected:
    """Return what RELOAD would make of a process that runs with `running`."""
    apply = _Settings(running, version)
    for step in scan.steps:
        if isinstance(step, Section):
            if step.name == MAIN_SECTION:
                apply.header()
        elif step.section == MAIN_SECTION:
            apply.entry(step)
    settings = {key: value for key, value in apply.values.items() if value is not None}
    makes = _Databases(settings, version, apply.given.get("server_lifetime"))
    databases = {}
    catch_all = None
    for entry in scan.ini.section("databases"):
        database = makes.one(entry)
        if database is not None and entry.key == CATCH_ALL:
            catch_all = database
        elif database is not None:
            databases[database.name] = database
    return Expected(
        {key: value for key, value in settings.items() if key not in apply.restart_only},
        {key: value for key, value in settings.items() if key in apply.restart_only},
        frozenset(apply.kept),
        databases,
        catch_all,
        _peers(scan.ini, settings),
    )


class _Settings:
    """`[pgbouncer]`, line by line; a value that cannot be told is None."""

    def __init__(self, running: Mapping[str, Setting], version: Version) -> None:
        self.values: dict[str, str | None] = {key: setting.value or "" for key, setting in running.items()}
        self.restart_only = {key for key, setting in running.items() if setting.changeable is False}
        self.kept = {
            key
            for key, setting in running.items()
            if setting.default is None and setting.value and key not in _OF_THE_COMMAND_LINE
        }
        self.given: dict[str, str] = {}
        """As written, before it is printed with six digits."""
        self._running = running
        self._tells_defaults = version >= _TELLS_DEFAULTS
        for key in NOT_SHOWN:
            self._forget(key)

    def header(self) -> None:
        for key, setting in self._running.items():
            if key in NOT_SHOWN:
                continue
            if not self._tells_defaults:
                self.values[key] = None
            elif setting.default is not None:
                self._set(key, setting.default)

    def entry(self, entry: Entry) -> None:
        if entry.key in self.values and entry.key not in NOT_SHOWN:
            self._set(entry.key, entry.value)
            self.kept.discard(entry.key)

    def _set(self, key: str, value: str) -> None:
        self.given[key] = value
        try:
            self.values[key] = printed(key, value)
        except ValueError:
            self.values[key] = None

    def _forget(self, key: str) -> None:
        if key in self.values:
            self.values[key] = None
        self.kept.discard(key)


class _Databases:
    """`[databases]`: what `parse_database` fills in and `admin_show_databases` prints."""

    def __init__(self, settings: Mapping[str, str], version: Version, server_lifetime: str | None) -> None:
        self._settings = settings
        self._version = version
        self._server_lifetime = server_lifetime

    def one(self, entry: Entry) -> Database | None:
        pairs = _pairs(entry)
        if pairs is None:
            return None
        given = dict(pairs)
        host = given.get("host")
        reserve = [value for key, value in pairs if key in ("reserve_pool", "reserve_pool_size")]
        newer = self._version >= _CLIENT_LIMITS
        mode = given.get("pool_mode")
        balance = given.get("load_balance_hosts", LOAD_BALANCE[1]).lower()
        return Database(
            name=_shown(entry.key),
            host=_shown(host) if host is not None else None,
            port=atoi(given["port"]) if "port" in given else _POSTGRES_PORT,
            database=_shown(given.get("dbname", entry.key)),
            force_user=_shown(given["user"]) if "user" in given else None,
            pool_size=self._size(given.get("pool_size"), "default_pool_size"),
            min_pool_size=self._size(given.get("min_pool_size"), "min_pool_size"),
            reserve_pool_size=self._size(reserve[-1] if reserve else None, "reserve_pool_size"),
            server_lifetime_s=self._lifetime(given.get("server_lifetime")),
            pool_mode=mode.lower() if mode is not None else None,
            load_balance_hosts=balance if newer and host is not None and "," in host else None,
            max_connections=self._limit(given.get("max_db_connections"), "max_db_connections"),
            max_client_connections=(
                self._limit(given.get("max_db_client_connections"), "max_db_client_connections")
                if newer
                else None
            ),
            current_connections=None,
            paused=False,
            disabled=False,
        )

    def _size(self, value: str | None, setting: str) -> int | None:
        own = atoi(value) if value is not None else -1
        return own if own >= 0 else _whole(self._settings.get(setting))

    def _limit(self, value: str | None, setting: str) -> int | None:
        own = atoi(value) if value is not None else 0
        return own if own > 0 else _whole(self._settings.get(setting))

    def _lifetime(self, value: str | None) -> int | None:
        if self._version < _SERVER_LIFETIME:
            return None
        own = atoi(value) if value is not None else 0
        if own > 0:
            return own
        if "server_lifetime" not in self._settings or self._server_lifetime is None:
            return _whole(self._settings.get("server_lifetime"))
        usec = microseconds(self._server_lifetime)
        return None if usec is None else usec // 1_000_000


def _peers(ini: IniFile, settings: Mapping[str, str]) -> dict[int, PeerLine]:
    found = {}
    for entry in ini.section("peers"):
        given = dict(_pairs(entry) or ())
        if "host" not in given or not entry.key.isdigit():
            continue
        own = atoi(given["pool_size"]) if "pool_size" in given else -1
        found[int(entry.key)] = PeerLine(
            _shown(given["host"]),
            atoi(given["port"]) if "port" in given else _PEER_PORT,
            own if own >= 0 else _whole(settings.get("default_pool_size")),
        )
    return found


def files_named(settings: Mapping[str, str], working_folder: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the absolute paths that settings name, by setting; empty ones are left out."""
    return {key: str(Path(working_folder) / settings[key]) for key in keys if settings.get(key)}


def _pairs(entry: Entry) -> tuple[tuple[str, str], ...] | None:
    try:
        return connection_pairs(entry)
    except IniError:
        return None


def _whole(text: str | None) -> int | None:
    """Return a printed number without its fraction; None when digits were lost in printing."""
    if text is None or "e" in text:
        return None
    try:
        return int(float(text))
    except ValueError:
        return None


def _shown(text: str) -> str:
    """Return a text of the file as console.poolers reads it back."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
