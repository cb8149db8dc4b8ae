"""What a Postgres node is asked, and its rows as a `PostgresReading`. Pure: SQL out, rows in.

One question for PostgreSQL 12–18: names that only newer servers have are read through functions that answer
NULL on older ones. Sources: PostgreSQL manual, "The Cumulative Statistics System" and "Recovery Information
Functions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from console.errors import NodeError, Phase
from console.model.fleet import PostgresReading
from console.model.version import Version

NODE = """
SELECT current_setting('server_version') AS version,
       pg_is_in_recovery() AS in_recovery,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int AS superuser_reserved_connections,
       current_setting('reserved_connections', true)::int AS reserved_connections,
       CASE
         WHEN NOT pg_is_in_recovery() THEN NULL
         WHEN pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()
              AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN 0.0
         ELSE greatest(0.0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
       END::float8 AS replication_lag_s,
       ARRAY(SELECT application_name
               FROM pg_stat_replication
              WHERE state IS DISTINCT FROM 'backup'
              ORDER BY application_name)::text[] AS replicas
"""
"""One row. A standby whose WAL receiver is gone has replayed all it received and may yet be far behind, so it
counts from the last replayed transaction. `backup` is pg_basebackup, no standby."""

BACKENDS = """
SELECT coalesce(state, 'unknown') AS state, count(*)::int AS backends
  FROM pg_stat_activity
 WHERE backend_type = 'client backend'
    OR (backend_type IS NULL AND datid IS NOT NULL AND usesysid IS NOT NULL)
 GROUP BY 1
"""
"""One row a state. Without pg_monitor the state and kind of others' sessions are NULL: counted as `unknown`,
never as idle."""

UNKNOWN_STATE = "unknown"


def reading_from(
    node: Mapping[str, Any], backends: Sequence[Mapping[str, Any]], *, where: str
) -> PostgresReading:
    """Return the reading of the row of `NODE` and the rows of `BACKENDS`.

    Raises:
        NodeError: phase `parse`; the server's version is no version.
    """
    version = Version.parse(str(node["version"]))
    if version is None:
        raise NodeError(
            Phase.PARSE,
            f"server_version is {node['version']!r}, which has no number in it",
            where=where,
            hint="is this address a PostgreSQL server?",
        )
    lag = node["replication_lag_s"]
    return PostgresReading(
        version=version,
        in_recovery=node["in_recovery"],
        max_connections=node["max_connections"],
        superuser_reserved_connections=node["superuser_reserved_connections"],
        reserved_connections=node["reserved_connections"],
        backends_by_state={row["state"]: row["backends"] for row in backends},
        replication_lag_s=None if lag is None else float(lag),
        replicas=tuple(node["replicas"]),
    )
