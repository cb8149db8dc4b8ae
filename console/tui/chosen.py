"""What a verb would act on when rows are chosen, and why it cannot be had for them. Pure.

The verb's declaration decides; no verb is known here, but for RESUME of what is paused database by database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from console.config.schema import Inventory
from console.model.sample import Sample
from console.operations.spec import OpSpec, Scope
from console.poolers.dialects import dialect_for
from console.tui.views import selector_of
from console.view.fleet import BouncerRow
from console.view.pools import PoolRow
from console.view.postgres import PostgresRow

_KINDS = {"pgbouncer": "PgBouncer"}


def selectors(spec: OpSpec[Any], rows: Iterable[object]) -> list[str]:
    """Return how a command names these rows for a verb; rows that it cannot act on are left out.

    A bouncer is resumed by its paused databases when these are what is paused: a RESUME of the whole
    bouncer would leave them paused.
    """
    return list(dict.fromkeys(name for row in rows for name in _named(spec, row)))


def _named(spec: OpSpec[Any], row: object) -> Iterator[str]:
    if spec.verb.names_node:
        # Also where bouncers are what it acts on: those that lead to the node.
        if isinstance(row, PostgresRow):
            yield row.key
    elif isinstance(row, PoolRow) and Scope.DATABASE in spec.scopes:
        yield selector_of(row.bouncer, row.key[1])
    elif isinstance(row, PoolRow) and Scope.POOLER in spec.scopes:
        yield row.bouncer
    elif isinstance(row, BouncerRow):
        databases = row.paused_databases if spec.name == "resume" and row.state == "db paused" else ()
        if databases:
            yield from (selector_of(row.key, name) for name in databases)
        elif Scope.POOLER in spec.scopes:
            yield row.key


def named(spec: OpSpec[Any]) -> str:
    """Return what its selector names, for people."""
    if spec.verb.names_node:
        return Scope.NODE.value
    return " or ".join(sorted(scope.value for scope in spec.scopes))


def begun(spec: OpSpec[Any], rows: Sequence[object]) -> str | None:
    """Return the beginning of a selector that lacks a database, e.g. `edge-1a/`; None: it would not help."""
    if Scope.DATABASE in spec.scopes and Scope.POOLER not in spec.scopes and len(rows) == 1:
        row = rows[0]
        if isinstance(row, BouncerRow):
            return f"{row.key}/"
    return None


def cannot(spec: OpSpec[Any], rows: Sequence[object], inventory: Inventory, *, read_only: bool) -> str | None:
    """Say why a verb cannot be had for these rows; None when it can, as far as is known."""
    if read_only:
        return "this session is read-only"
    if rows and not selectors(spec, rows) and begun(spec, rows) is None:
        return f"it acts on {named(spec)}"
    admins = {bouncer.name: bouncer.admin_user for bouncer in inventory.bouncers}
    for row in rows:
        name, sample, kind = _pooler(row)
        if name is None:
            continue
        if name in admins and admins[name] is None:
            return f"the inventory names no admin_user for {name}"
        lacking = _lacking(spec, sample, kind)
        if lacking is not None:
            return lacking
    return None


def _pooler(row: object) -> tuple[str | None, Sample | None, str]:
    if isinstance(row, BouncerRow):
        return row.key, row.pooler.sample, row.pooler.info.kind
    if isinstance(row, PoolRow):
        return row.bouncer, row.pooler.sample, row.pooler.info.kind
    return None, None, ""


def _lacking(spec: OpSpec[Any], sample: Sample | None, kind: str) -> str | None:
    version = sample.version if sample is not None else None
    if spec.needs is None or version is None:
        return None
    dialect = dialect_for(kind)
    if dialect.has(version, spec.needs):
        return None
    return f"needs {_KINDS.get(kind, kind)} {dialect.since(spec.needs)}; this is {version}"
