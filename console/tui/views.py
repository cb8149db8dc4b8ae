"""The three tables as panels show them: which rows, columns and notes belong together.

Data only; it must not import a widget.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from console.tui.tables import TableView
from console.view import fleet, pools, postgres
from console.view.fleet import BouncerRow
from console.view.fleet_columns import FLEET_COLUMNS
from console.view.pool_columns import POOL_COLUMNS
from console.view.pools import PoolRow
from console.view.postgres import POSTGRES_COLUMNS, PostgresRow

_BARE = re.compile(r"[A-Za-z0-9_.@%+=:^~#$-]+\Z")


def selector_of(bouncer: str, database: str) -> str:
    """Write a target as selectors do; a database name that could be read as something else is quoted.

    >>> selector_of("edge-1a", "app"), selector_of("edge-1a", 'a,b"c'), selector_of("edge-1a", "")
    ('edge-1a/app', 'edge-1a/"a,b""c"', 'edge-1a')
    """
    if not database:
        return bouncer
    if _BARE.match(database):
        return f"{bouncer}/{database}"
    doubled = database.replace('"', '""')
    return f'{bouncer}/"{doubled}"'


BOUNCERS: TableView[BouncerRow] = TableView(
    name="bouncers",
    columns=FLEET_COLUMNS,
    rows=fleet.bouncer_rows,
    note=fleet.note,
    empty="This inventory has no bouncers yet: add [[bouncers]] to it, or run pooldeck inventory import.",
)
POSTGRES: TableView[PostgresRow] = TableView(
    name="Postgres nodes",
    columns=POSTGRES_COLUMNS,
    rows=lambda snapshot, _known: postgres.postgres_rows(snapshot),
    note=postgres.note,
    empty="This inventory has no Postgres nodes.",
)


def pools_view(bouncers: Collection[str] | None) -> TableView[PoolRow]:
    """Return the pools table of some bouncers; None is the whole fleet."""
    return TableView(
        name="pools",
        columns=POOL_COLUMNS,
        rows=lambda snapshot, _known: pools.pool_rows(snapshot, bouncers),
        note=pools.note,
        fixed=3,
        empty="No pools: no application has connected to these bouncers since they started.",
    )
