"""Makes a first inventory from PgBouncer's own ini files.

What the ini cannot know is guessed on the careful side and told as a notice: the reader must check it.
Passwords are never copied, not even into notices.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from console.config.mistakes import validation_mistakes
from console.config.pgbouncer_ini import SECTIONS, Entry, IniError, IniFile
from console.config.pgbouncer_pairs import connection_pairs
from console.config.schema import Inventory
from console.errors import UsageError

Environment = Literal["development", "staging", "production"]

_SSLMODES: Mapping[str, str] = {
    "disable": "disable",
    "allow": "prefer",
    "prefer": "prefer",
    "require": "require",
    "verify-ca": "require",
    "verify-full": "require",
}
"""`client_tls_sslmode` of the pooler → our `sslmode`. Its `verify-*` verify the client, not the pooler."""

_ANYWHERE = frozenset({"*", "0.0.0.0", "::"})
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORT = 6432
_DEFAULT_UNIX_FOLDER = "/tmp"
_NO_PASSWORD_NEEDED = frozenset({"any", "trust"})
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Imported:
    """An inventory, and what the reader must check in it."""

    inventory: Inventory
    notices: tuple[str, ...]


def import_ini(
    files: Sequence[IniFile],
    *,
    fleet: str | None = None,
    name: str | None = None,
    environment: Environment = "production",
    host: str | None = None,
) -> Imported:
    """Make an inventory of the bouncers of `files` and of the Postgres servers behind them.

    Args:
        files: one for each bouncer, from `read_ini`.
        fleet: the fleet's name; None: the first bouncer's.
        name: the bouncer's name, for one file; None: the file's name without `.ini`.
        environment: how careful Pooldeck shall be; nobody can tell from an ini.
        host: `[user@]host`, an address or ~/.ssh/config alias all is reached through; None: this machine.

    Raises:
        IniError: a value or connection string that PgBouncer would refuse too, at its file and line.
        UsageError: something has no place in an inventory, such as a name that is too long.
    """
    maker = _Maker(host)
    if name is not None and len(files) > 1:
        raise UsageError("one name cannot serve several bouncers", hint="leave it out: files name them")
    for file, its_name in zip(files, _names_of(files), strict=True):
        maker.add(file, name or its_name)
    maker.finish()
    document: dict[str, Any] = {
        "fleet": _plain(fleet or maker.bouncers[0]["name"], "fleet"),
        "environment": environment,
        "hosts": _hosts(host),
        "bouncers": maker.bouncers,
        "postgres": maker.postgres,
    }
    try:
        inventory = Inventory.model_validate(_readable(document))
    except ValidationError as error:
        told = "; ".join(f"{mistake.path[-1]} {mistake.message}" for mistake in validation_mistakes(error))
        raise UsageError(f"this configuration cannot be written as an inventory: {told}") from None
    return Imported(inventory, tuple(_readable(list(dict.fromkeys(maker.notices)))))


@dataclass
class _Maker:
    host: str | None
    bouncers: list[dict[str, Any]] = field(default_factory=list)
    postgres: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _read: list[tuple[IniFile, dict[str, Any]]] = field(default_factory=list)

    def add(self, file: IniFile, name: str) -> None:
        wanted = _plain(name, "bouncer")
        bouncer: dict[str, Any] = {"name": _unused(wanted, self.bouncers), **self._via_host()}
        port = _number(file, "listen_port", _DEFAULT_PORT, lowest=1, highest=65535)
        shared = _number(file, "so_reuseport", 0, lowest=0, highest=1) == 1
        bouncer.update(self._address(file, bouncer["name"], port, shared=shared))
        if "tcp" in bouncer:
            bouncer.update(self._tls(file, bouncer["name"]))
        bouncer.update(self._users(file, bouncer["name"]))
        bouncer["config_file"] = str(file.path.absolute())
        if shared or _number(file, "peer_id", 0, lowest=0, highest=65535):
            bouncer["peer_group"] = "peers"
        self.bouncers.append(bouncer)
        self._read.append((file, bouncer))
        self._databases(file)
        self._oddities(file)

    def finish(self) -> None:
        """Add the processes that only `[peers]` tells of, name the groups, say what is guessed."""
        own_ids = {_number(file, "peer_id", 0, lowest=0, highest=65535) for file, _ in self._read}
        for file, bouncer in list(self._read):
            if _number(file, "peer_id", 0, lowest=0, highest=65535) == 0:
                continue
            for key, entry in file.effective("peers").items():
                if key.isdigit() and int(key) not in own_ids:
                    own_ids.add(int(key))
                    self._peer(entry, bouncer)
        for bouncer in self.bouncers:
            if "peer_group" in bouncer:
                bouncer["peer_group"] = f"{self.bouncers[0]['name']}-peers"[-63:].lstrip("_.-")
        if self.postgres:
            names = ", ".join(node["name"] for node in self.postgres)
            self.notices.append(
                f'postgres {names}: role = "primary" is a guess; add user = … (it reads pg_stat_activity)'
            )

    def _peer(self, entry: Entry, known: Mapping[str, Any]) -> None:
        values = dict(connection_pairs(entry))
        address = values.get("host")
        if address is None:
            raise IniError(f"peer {entry.key} has no host", where=str(entry.place))
        port = _port(values.get("port", str(_DEFAULT_PORT)), entry)
        same = ("monitor_user", "admin_user", "password_from", "host")
        peer = {
            "name": _unused(_plain(f"{known['name']}-peer{entry.key}", "peer"), self.bouncers),
            **{key: known[key] for key in same if key in known},
            **_placed(address, port),
            "peer_group": "peers",
        }
        if "tcp" in peer and "sslmode" in known:
            peer["sslmode"] = known["sslmode"]
        self.bouncers.append(peer)
        self.notices.append(
            f"bouncer {peer['name']}: known from [peers] only ({entry.place}); check it, add its config_file"
        )

    def _via_host(self) -> dict[str, str]:
        return {"host": next(iter(_hosts(self.host)))} if self.host else {}

    def _address(self, file: IniFile, name: str, port: int, *, shared: bool) -> dict[str, Any]:
        listening = _words(file, "listen_addr")
        entry = file.setting("unix_socket_dir")
        folder = entry.value if entry else _DEFAULT_UNIX_FOLDER
        if folder and not folder.startswith("@") and (shared or not listening):
            if entry is None:
                self.notices.append(
                    f"bouncer {name}: unix_socket_dir is not set; PgBouncer's default is {folder}, "
                    "that of Debian's and Red Hat's packages /var/run/postgresql"
                )
            return _placed(folder, port)
        if not listening:
            raise IniError(
                "listens on no TCP address and on no Unix socket in a folder",
                where=str(entry.place if entry else file.path),
                hint="set listen_addr or unix_socket_dir",
            )
        if shared:
            self.notices.append(
                f"bouncer {name}: a TCP connection reaches any process of a so_reuseport group; "
                "give each its own unix_socket_dir and use that"
            )
        address = next((known for known in _LOOPBACK if known in listening), listening[0])
        if address in _ANYWHERE:
            address = "::1" if address == "::" else "127.0.0.1"
        if address in _LOOPBACK and self.host is None:
            self.notices.append(
                f"bouncer {name}: reached at {address}, so from this machine only; "
                "from another one, add host = … (SSH) and a [hosts] entry"
            )
        return _placed(address, port)

    def _tls(self, file: IniFile, name: str) -> dict[str, str]:
        entry = file.setting("client_tls_sslmode")
        mode = entry.value if entry else "disable"
        if mode not in _SSLMODES:
            raise IniError(
                "client_tls_sslmode has no such value",
                where=str(entry.place if entry else file.path),
                hint=f"one of {', '.join(_SSLMODES)}",
            )
        if mode.startswith("verify-"):
            self.notices.append(f"bouncer {name}: asks for a client certificate: add sslcert and sslkey")
        if _SSLMODES[mode] == "require":
            self.notices.append(
                f'bouncer {name}: sslmode = "require" encrypts but does not prove who answers; '
                "better: verify-full with sslrootcert"
            )
        return {"sslmode": _SSLMODES[mode]}

    def _users(self, file: IniFile, name: str) -> dict[str, str]:
        admins, readers = _words(file, "admin_users"), _words(file, "stats_users")
        users: dict[str, str] = {}
        if admins:
            users["admin_user"] = admins[0]
        users["monitor_user"] = next(
            (reader for reader in readers if reader not in admins), (*readers, *admins, "pgbouncer")[0]
        )
        if not readers:
            self.notices.append(
                f"bouncer {name}: stats_users is empty, so {users['monitor_user']} polls; "
                "better: a role of its own in stats_users"
            )
        auth = file.setting("auth_type")
        if auth is None or auth.value not in _NO_PASSWORD_NEEDED:
            users["password_from"] = "pgpass"
        return users

    def _databases(self, file: IniFile) -> None:
        socket_folder = file.setting("unix_socket_dir")
        local = socket_folder.value if socket_folder and socket_folder.value else _DEFAULT_UNIX_FOLDER
        for entry in file.effective("databases").values():
            values = dict(connection_pairs(entry))
            port = _port(values.get("port", "5432"), entry)
            database = values.get("dbname", "postgres" if entry.key == "*" else entry.key)
            for address in _addresses(values.get("host", local)):
                self._server(address, port, database)

    def _server(self, address: str, port: int, database: str) -> None:
        place = {**self._via_host(), **_placed(address, port)}
        for node in self.postgres:
            if all(node.get(key) == place.get(key) for key in ("host", "tcp", "unix", "port")):
                if database not in node["databases"]:
                    node["databases"].append(database)
                return
        wanted = "postgres" if address.startswith(("/", "@")) else _plain(address, "postgres")
        if any(node["name"] == wanted for node in self.postgres):
            wanted = f"{wanted}-{port}"
        name = _unused(wanted, self.postgres)
        self.postgres.append(
            {"name": name, "role": "primary", **place, "databases": [database], "password_from": "pgpass"}
        )

    def _oddities(self, file: IniFile) -> None:
        for earlier, later in file.duplicates():
            self.notices.append(
                f"{later.place}: {later.key} of [{later.section}] is at {earlier.place} too; the last counts"
            )
        for section in file.sections:
            if section.name not in SECTIONS:
                self.notices.append(f"{section.place}: PgBouncer knows no section [{section.name}]")


def _readable(value: Any) -> Any:
    """Replace bytes that are not UTF-8, which PgBouncer takes and TOML does not."""
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {_readable(key): _readable(inner) for key, inner in value.items()}
        case list():
            return [_readable(inner) for inner in value]
        case _:
            return value


def _placed(address: str, port: int) -> dict[str, Any]:
    if address.startswith(("/", "@")):
        return {"unix": posixpath.normpath(address), "port": port}
    return {"tcp": f"[{address}]:{port}" if ":" in address else f"{address}:{port}"}


def _addresses(value: str) -> Iterable[str]:
    """PgBouncer 1.17 and later take a list with commas."""
    return (part.strip() for part in value.split(",") if part.strip())


def _words(file: IniFile, key: str) -> tuple[str, ...]:
    entry = file.setting(key)
    return (
        tuple(re.split(r"[\s,]+", entry.value.strip(", \t"))) if entry and entry.value.strip(", \t") else ()
    )


def _number(file: IniFile, key: str, default: int, *, lowest: int, highest: int) -> int:
    entry = file.setting(key)
    if entry is None:
        return default
    if not entry.value.isascii() or not entry.value.isdigit() or not lowest <= int(entry.value) <= highest:
        raise IniError(f"{key} must be a number from {lowest} to {highest}", where=str(entry.place))
    return int(entry.value)


def _port(value: str, entry: Entry) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 65535:
        raise IniError(f"the port of {entry.key} must be a number from 1 to 65535", where=str(entry.place))
    return int(value)


def _names_of(files: Sequence[IniFile]) -> list[str]:
    """Return the files' names without `.ini`; folders' names where several are called the same."""
    stems = [file.path.stem for file in files]
    folders = [file.path.absolute().parent.name for file in files]
    return stems if len(set(stems)) == len(stems) else folders


def _hosts(host: str | None) -> dict[str, dict[str, str]]:
    """Return the `[hosts]` entry for `[user@]host`."""
    if host is None:
        return {}
    user, at, hostname = host.rpartition("@")
    name = _plain(hostname, "host")
    values = {"hostname": hostname} if name != hostname else {}
    return {name: values | ({"user": user} if at and user else {})}


def _plain(text: str, otherwise: str) -> str:
    """Return `text` with what a name must not hold replaced."""
    plain = _ODD.sub("-", text).lstrip("_.-").rstrip("-")[:63] or otherwise
    return f"{plain}-1" if plain == "all" else plain


def _unused(name: str, nodes: Iterable[Mapping[str, Any]]) -> str:
    taken = {node["name"] for node in nodes}
    candidates = (name, *(f"{name[:58]}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)
