"""Rules of an inventory that span keys and tables: names that must differ, hosts that must exist.

They read the parsed document, not the models, so that they speak even while another key of the same table
is wrong, and everything is told at once. A value of the wrong type is passed over here; the schema tells it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from console.config.lines import KeyPath
from console.config.mistakes import Mistake, did_you_mean, nearest_key
from console.config.schema import PROCESS_KEYS, address_mistake

_NODE_ARRAYS = ("bouncers", "postgres")
_ADDRESS_KEYS = frozenset({"tcp", "unix", "port"})
_NO_TLS_MODES = frozenset({"disable", "allow", "prefer"})
_LOOPBACK = {"localhost": "127.0.0.1"}
RESERVED_NAMES = frozenset({"all"})
"""Words of the selector grammar."""

Table = Mapping[str, Any]


def semantic_mistakes(document: Table) -> list[Mistake]:
    """Return what the schema cannot see."""
    meant = {nearest_key(key, ()) for key in document if nearest_key(key, ()) != key}
    found: list[Mistake] = []
    if not document.get("bouncers") and "bouncers" not in meant:
        found.append(Mistake(("bouncers",), "there is no bouncer to look after", "add a [[bouncers]] table"))
    for array in _NODE_ARRAYS:
        tables = list(_tables(document, array))
        found.extend(_names(array, tables))
        for path, table in tables:
            if "hosts" not in meant:
                found.extend(_host(path, table, document.get("hosts")))
            found.extend(_address(path, table))
            found.extend(_tls(path, table, _as_table(document.get("defaults"))))
    found.extend(_shared_addresses(list(_tables(document, "bouncers"))))
    found.extend(_monitor_users(document))
    found.extend(_processes(document))
    return found


def _tables(document: Table, array: str) -> Iterator[tuple[KeyPath, Table]]:
    listed = document.get(array)
    if isinstance(listed, list):
        for position, table in enumerate(listed):
            if isinstance(table, dict):
                yield (array, position), table


def _as_table(value: object) -> Table:
    return value if isinstance(value, dict) else {}


def _text(table: Table, key: str) -> str | None:
    value = table.get(key)
    return value.strip() if isinstance(value, str) else None


def _names(array: str, tables: list[tuple[KeyPath, Table]]) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for place, (path, table) in enumerate(tables, start=1):
        name = _text(table, "name")
        if name is None:
            continue
        if name in RESERVED_NAMES:
            yield Mistake((*path, "name"), f"{name!r} is a word of selectors, so no node can have it")
        elif name in first:
            yield Mistake((*path, "name"), f"{name!r} is already the name of number {first[name]} in {array}")
        else:
            first[name] = place


def _host(path: KeyPath, table: Table, hosts: object) -> Iterator[Mistake]:
    name = _text(table, "host")
    known = _as_table(hosts)
    if name is None or name in known:
        return
    hint = did_you_mean(name, known) or f"add [hosts.{name}], or leave host out to connect directly"
    yield Mistake((*path, "host"), f"there is no [hosts.{name}]", hint)


def _address(path: KeyPath, table: Table) -> Iterator[Mistake]:
    if any(nearest_key(key, path) in _ADDRESS_KEYS - {key} for key in table if key not in _ADDRESS_KEYS):
        return  # A misspelt address key is told as such; that it is absent too is no news.
    message = address_mistake(tcp="tcp" in table, unix="unix" in table, port="port" in table)
    if message is not None:
        yield Mistake(path, message)
    directory = _text(table, "unix")
    if directory and "host" in table and not directory.startswith("/"):
        yield Mistake((*path, "unix"), "must be absolute: it is a directory on the host, not here")


def _tls(path: KeyPath, table: Table, defaults: Table) -> Iterator[Mistake]:
    own_mode = _text(table, "sslmode")
    if "unix" in table:
        if own_mode is not None and own_mode not in _NO_TLS_MODES:
            yield Mistake(
                (*path, "sslmode"),
                "libpq speaks no TLS on a Unix socket",
                "leave it out: over SSH the way to the host is encrypted already",
            )
        return
    mode = own_mode or _text(defaults, "sslmode")
    roots_here = "sslrootcert" in table
    roots = _text(table, "sslrootcert") or _text(defaults, "sslrootcert")
    if roots == "system" and mode not in (None, "verify-full"):
        place: KeyPath = (*path, "sslrootcert" if roots_here else "sslmode")
        yield Mistake(place, 'sslrootcert = "system" needs sslmode = "verify-full"', "libpq refuses less")


def _shared_addresses(tables: list[tuple[KeyPath, Table]]) -> Iterator[Mistake]:
    """Two bouncers at one address would be the same process twice, or a random one of two."""
    first: dict[tuple[str | None, str], str] = {}
    for path, table in tables:
        address = _normal_address(table)
        if address is None:
            continue
        place = (_text(table, "host"), address)
        name = _text(table, "name") or f"number {int(path[1]) + 1}"
        if place in first:
            key = "tcp" if "tcp" in table else "unix"
            yield Mistake(
                (*path, key),
                f"is the address of {first[place]} too",
                "so_reuseport peers share their TCP port: give each its own unix directory instead"
                if key == "tcp"
                else "each bouncer has a socket of its own",
            )
        else:
            first[place] = name


def _normal_address(table: Table) -> str | None:
    tcp = _text(table, "tcp")
    if tcp is not None:
        host, _, port = tcp.rpartition(":")
        return f"{_LOOPBACK.get(host.lower(), host.lower())}:{port}" if host else None
    directory = _text(table, "unix")
    return f"{posixpath.normpath(directory)}:{table.get('port')}" if directory and "port" in table else None


def _monitor_users(document: Table) -> Iterator[Mistake]:
    if "monitor_user" in _as_table(document.get("defaults")):
        return
    for path, table in _tables(document, "bouncers"):
        if "monitor_user" in table or any(nearest_key(key, path) == "monitor_user" for key in table):
            continue
        yield Mistake(
            path,
            "monitor_user is missing, here and in [defaults]",
            "a role of this bouncer's stats_users: it reads the numbers",
        )


def _processes(document: Table) -> Iterator[Mistake]:
    for path, bouncer in _tables(document, "bouncers"):
        process = _as_table(bouncer.get("process"))
        place: KeyPath = (*path, "process")
        needed = PROCESS_KEYS.get(_text(process, "kind") or "")
        if needed is not None and all(nearest_key(key, place) != needed for key in process):
            yield Mistake(place, f"kind = {process['kind']!r} needs {needed!r}")
