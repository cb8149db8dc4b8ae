"""How two readings of a pooler differ, and whether it looks as if its file could not be read whole. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.config.pgbouncer_expect import Expected
from console.model.rows import Database, Setting
from console.operations.observe import Observation, definition
from console.operations.reload_check import setting_line

FALLEN_AT_LEAST = 3
"""So many settings back at their defaults at once are taken for an unreadable file."""
TELLTALE_SETTINGS = frozenset({"admin_users", "auth_file"})
"""One of these back at its default is enough: it locks people out."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two readings of a pooler."""

    lines: tuple[str, ...]
    """For people, e.g. `default_pool_size: 20 → 30`."""
    fallen: tuple[str, ...]
    """Settings that had a value of their own, are at their compiled default now, and were not to be."""

    @property
    def fell_to_defaults(self) -> bool:
        """Whether this looks like a file that could not be read whole."""
        return len(self.fallen) >= FALLEN_AT_LEAST or not TELLTALE_SETTINGS.isdisjoint(self.fallen)


def changes_between(before: Observation, after: Observation, expected: Expected | None = None) -> Changes:
    """Compare settings and databases; `expected` None: what the file says is not known."""
    fallen = []
    lines = []
    for key in sorted(before.config.keys() | after.config.keys()):
        old, new = before.config.get(key), after.config.get(key)
        if _value(old) == _value(new):
            continue
        lines.append(setting_line(key, old, None if new is None else new.value or "", after.config))
        if _is_default(new) and (expected is None or expected.settings.get(key) != (_value(new) or "")):
            fallen.append(key)
    lines += _database_lines(_by_name(before.databases), _by_name(after.databases))
    return Changes(tuple(lines), tuple(fallen))


def _is_default(setting: Setting | None) -> bool:
    return setting is not None and (setting.value or "") == (setting.default or "")


def _database_lines(before: Mapping[str, Database], after: Mapping[str, Database]) -> list[str]:
    lines = [f"database {name}: removed" for name in sorted(before.keys() - after.keys())]
    lines += [
        f"database {name}: added, {definition(after[name])}" for name in sorted(after.keys() - before.keys())
    ]
    for name in sorted(before.keys() & after.keys()):
        old, new = definition(before[name]), definition(after[name])
        if old != new:
            lines.append(f"database {name}: {old} → {new}")
    return lines


def _by_name(databases: tuple[Database, ...]) -> dict[str, Database]:
    return {database.name: database for database in databases}


def _value(setting: Setting | None) -> str | None:
    return None if setting is None else setting.value
