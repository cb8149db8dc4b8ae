"""A fleet snapshot as `pooldeck status` prints it: JSON, CSV, one fact a line, or a table. Pure text.

The keys of the JSON are a promise to scripts (docs/status.md): every key is always there, and null means that
the value is not known, never 0. The admin console's own pool is left out everywhere: its client is us.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from console.config.selector import Selected
from console.errors import SelectorError
from console.model.advisories import advisories
from console.model.derive import ADMIN_DATABASE, application_pools, pool_size
from console.model.fleet import (
    FleetSnapshot,
    Fresh,
    PoolerSnapshot,
    PostgresSnapshot,
    Stale,
    Unreachable,
)
from console.model.rows import Pool
from console.model.sample import Sample
from console.view import numbers

Record = Mapping[str, Any]
Node = PoolerSnapshot | PostgresSnapshot

_TOTALS = ("clients_active", "clients_waiting", "servers_active", "servers_idle", "maxwait_us")
_RATES = ("transactions_per_s", "queries_per_s")
_POOL_COUNTERS = (
    "cl_active",
    "cl_waiting",
    "sv_active",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait_us",
)
_CSV_COLUMNS = ("name", "kind", "version", "state", "error", "phase", *_TOTALS, *_RATES)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the selector left: whole nodes, or databases of them."""

    nodes: frozenset[str] | None
    """None: everything."""
    selected: Sequence[Selected]

    def has(self, node: str, database: str) -> bool:
        """Say whether a database of a node is chosen."""
        parts = [one for one in self.selected if one.name == node]
        return not parts or any(one.matches(database) for one in parts)

    def fits(self, node: str, sample: Sample) -> bool:
        """Say whether a node has anything of what is chosen of it; a whole node always has."""
        parts = [one for one in self.selected if one.name == node]
        return not parts or any(one.database is None or one.choose(_databases(sample)) for one in parts)

    def complaints(self, snapshot: FleetSnapshot) -> tuple[str, ...]:
        """Name the databases that were asked for and are not there.

        Raises:
            SelectorError: nothing that was asked for is there.
        """
        found = []
        for one in self.selected:
            pooler = snapshot.by_name.get(one.name)
            if pooler is None or pooler.sample is None:
                continue
            there = _databases(pooler.sample)
            if one.database is not None and not one.choose(there):
                found.append(f"{one}: {one.name} has no such database; it has {', '.join(there)}")
        if found and len(found) == len(self.selected):
            raise SelectorError(found[0])
        return tuple(found)


def all_answer(snapshot: FleetSnapshot) -> bool:
    """Say whether every node gave all that was asked of it."""
    return all(isinstance(node.freshness, Fresh) for _, node in _nodes(snapshot))


def _nodes(snapshot: FleetSnapshot) -> list[tuple[str, Node]]:
    poolers: list[tuple[str, Node]] = [(pooler.info.name, pooler) for pooler in snapshot.poolers]
    return [*poolers, *((server.name, server) for server in snapshot.postgres)]


def taken_at(snapshot: FleetSnapshot) -> str:
    """Return the snapshot's time, ISO 8601, UTC, in milliseconds."""
    moment = datetime.fromtimestamp(snapshot.taken_at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document(snapshot: FleetSnapshot, choice: Choice) -> dict[str, Any]:
    """Return the snapshot in the shape of docs/status.md."""
    return {
        "fleet": snapshot.fleet,
        "environment": snapshot.environment,
        "taken_at": taken_at(snapshot),
        "bouncers": [_bouncer(pooler, choice) for pooler in snapshot.poolers],
        "postgres": [_postgres(node) for node in snapshot.postgres],
    }


def _bouncer(pooler: PoolerSnapshot, choice: Choice) -> dict[str, Any]:
    name = pooler.info.name
    sample = pooler.sample
    chosen: list[Pool] | None = None
    if sample is not None and choice.fits(name, sample):
        chosen = [pool for pool in application_pools(sample) if choice.has(name, pool.database)]
    error, phase = _trouble(pooler)
    return {
        "name": name,
        "kind": pooler.info.kind,
        "version": str(sample.version) if sample is not None and sample.version is not None else None,
        "state": str(pooler.state),
        "error": error,
        "phase": phase,
        "clients_active": _sum(chosen, "cl_active"),
        "clients_waiting": _sum(chosen, "cl_waiting"),
        "servers_active": _sum(chosen, "sv_active"),
        "servers_idle": _sum(chosen, "sv_idle"),
        "maxwait_us": None if chosen is None else max((pool.maxwait_us for pool in chosen), default=0),
        **_rates(pooler, choice),
        "advisories": _advisories(sample),
        "pools": None if sample is None or chosen is None else [_pool(pool, sample) for pool in chosen],
    }


def _advisories(sample: Sample | None) -> list[str] | None:
    if sample is None or sample.version is None:
        return None
    return [one.name for one in advisories(sample.version)]


def _databases(sample: Sample) -> list[str]:
    return [database.name for database in sample.databases if database.name != ADMIN_DATABASE]


def _sum(pools: list[Pool] | None, counter: str) -> int | None:
    return None if pools is None else sum(getattr(pool, counter) for pool in pools)


def _rates(pooler: PoolerSnapshot, choice: Choice) -> dict[str, float | None]:
    """Add up the chosen databases' rates; None without two readings, or when no chosen one has them."""
    name = pooler.info.name
    if pooler.rates is None:
        return dict.fromkeys(_RATES)
    rates = [rate for rate in pooler.rates.values() if choice.has(name, rate.database)]
    if not rates and pooler.rates:
        return dict.fromkeys(_RATES)
    return {
        "transactions_per_s": round(sum(rate.xact_per_s for rate in rates), 3),
        "queries_per_s": round(sum(rate.query_per_s for rate in rates), 3),
    }


def _pool(pool: Pool, sample: Sample) -> dict[str, Any]:
    users = sample.users.value if sample.users is not None else None
    return {
        "database": pool.database,
        "user": pool.user,
        "pool_mode": pool.pool_mode,
        "pool_size": pool_size(pool, sample.databases, users),
        **{counter: getattr(pool, counter) for counter in _POOL_COUNTERS},
    }


def _postgres(node: PostgresSnapshot) -> dict[str, Any]:
    reading = node.reading
    if reading is None:
        known: dict[str, Any] = dict.fromkeys(("version", "max_connections", "backends", "replication_lag_s"))
    else:
        lag_s = reading.replication_lag_s
        known = {
            "version": f"{reading.version.major}.{reading.version.minor}",
            "max_connections": reading.max_connections,
            "backends": reading.backends,
            "replication_lag_s": None if lag_s is None else round(lag_s, 3),
        }
    return {
        "name": node.name,
        "role": _role(node),
        "version": known["version"],
        "state": str(node.state),
        "max_connections": known["max_connections"],
        "backends": known["backends"],
        "replication_lag_s": known["replication_lag_s"],
    }


def _role(node: PostgresSnapshot) -> str:
    """Return what the server says it is; what the inventory says when it says nothing."""
    if node.reading is None:
        return node.role
    return "replica" if node.reading.in_recovery else "primary"


def _trouble(node: Node) -> tuple[str | None, str | None]:
    if isinstance(node.freshness, Stale | Unreachable):
        return node.freshness.error, str(node.freshness.phase)
    return None, None


def as_json(snapshot: FleetSnapshot, choice: Choice) -> str:
    """Return the document as JSON, two spaces deep."""
    return json.dumps(document(snapshot, choice), indent=2, ensure_ascii=False)


def as_csv(snapshot: FleetSnapshot, choice: Choice) -> str:
    """Return a header and one line for each bouncer (RFC 4180); what is not known is empty."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _CSV_COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_bouncer(pooler, choice) for pooler in snapshot.poolers)
    return buffer.getvalue()


def as_plain(snapshot: FleetSnapshot, choice: Choice) -> str:
    """Return one fact a line, each complete in itself."""
    whole = document(snapshot, choice)
    lines = [
        f"fleet: {whole['fleet']}",
        f"environment: {whole['environment']}",
        f"taken at: {whole['taken_at']}",
    ]
    for bouncer in whole["bouncers"]:
        where = f"bouncer {bouncer['name']}"
        lines += _facts(where, bouncer, leave_out=("name", "pools"))
        for pool in bouncer["pools"] or ():
            pool_where = f"{where} pool {pool['database']} of {pool['user']}"
            lines += _facts(pool_where, pool, leave_out=("database", "user"))
    for node, seen in zip(whole["postgres"], snapshot.postgres, strict=True):
        error, phase = _trouble(seen)
        lines += _facts(
            f"postgres {node['name']}", {**node, "error": error, "phase": phase}, leave_out=("name",)
        )
    return "\n".join(lines)


def _facts(where: str, record: Record, *, leave_out: tuple[str, ...]) -> list[str]:
    return [
        f"{where} {_label(key)}: {_spoken(key, value)}"
        for key, value in record.items()
        if key not in leave_out and not (key in ("error", "phase") and value is None)
    ]


def _label(key: str) -> str:
    """Return a key in words, without the unit: the value tells it."""
    return key.removesuffix("_us").removesuffix("_s").replace("_per", " per second").replace("_", " ")


def _spoken(key: str, value: object) -> str:
    if value is None:
        return numbers.NOT_AVAILABLE
    if key.endswith("_us") and isinstance(value, int):
        return numbers.duration_us(value)
    if key.endswith("_lag_s") and isinstance(value, float | int):
        return numbers.duration_s(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def as_table(snapshot: FleetSnapshot, choice: Choice, *, width: int | None = None) -> str:
    """Return aligned columns, closer together where `width` has no room; what is wrong is told below them.

    Args:
        snapshot: of the fleet.
        choice: what of it.
        width: columns of the terminal; None: it is none.
    """
    whole = document(snapshot, choice)
    lines = [f"{whole['fleet']}  {whole['environment']}  {whole['taken_at']}"]
    if whole["bouncers"]:
        lines += ["", *_aligned(_BOUNCER_HEAD, [_bouncer_cells(one) for one in whole["bouncers"]], width)]
    if whole["postgres"]:
        lines += ["", *_aligned(_POSTGRES_HEAD, [_postgres_cells(one) for one in whole["postgres"]], width)]
    notes = [
        f"{name}: {node.freshness.phase}: {node.freshness.error}{_hint(node)}"
        for name, node in _nodes(snapshot)
        if isinstance(node.freshness, Stale | Unreachable)
    ]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


_BOUNCER_HEAD = (
    "<BOUNCER",
    "<STATE",
    "<VERSION",
    ">CLIENTS",
    ">WAITING",
    ">MAXWAIT",
    ">SERVERS",
    ">IDLE",
    ">TX/S",
    ">QUERIES/S",
)
_POSTGRES_HEAD = ("<POSTGRES", "<STATE", "<ROLE", "<VERSION", ">BACKENDS", ">MAX", ">LAG")


def _bouncer_cells(record: Record) -> tuple[str, ...]:
    return (
        record["name"],
        record["state"],
        record["version"] or numbers.NOT_AVAILABLE,
        numbers.count(record["clients_active"]),
        numbers.count(record["clients_waiting"]),
        numbers.duration_us(record["maxwait_us"]),
        numbers.count(record["servers_active"]),
        numbers.count(record["servers_idle"]),
        numbers.rate(record["transactions_per_s"]),
        numbers.rate(record["queries_per_s"]),
    )


def _postgres_cells(record: Record) -> tuple[str, ...]:
    return (
        record["name"],
        record["state"],
        record["role"],
        record["version"] or numbers.NOT_AVAILABLE,
        numbers.count(record["backends"]),
        numbers.count(record["max_connections"]),
        numbers.duration_s(record["replication_lag_s"]),
    )


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return head and rows in columns; `<` and `>` in the head say to which side each leans."""
    titles = [title[1:] for title in head]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    gap = " " if width is not None and sum(widths) + 2 * (len(widths) - 1) > width else "  "
    return [
        gap.join(
            f"{cell:<{size}}" if title.startswith("<") else f"{cell:>{size}}"
            for title, cell, size in zip(head, row, widths, strict=True)
        ).rstrip()
        for row in [titles, *rows]
    ]


def _hint(node: Node) -> str:
    hint = node.freshness.hint if isinstance(node.freshness, Unreachable) else None
    return f"; {hint}" if hint else ""
