"""The table the clients write to, and the check that what they were told is true."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.harness.clients.client import LEDGER
from tests.harness.clients.report import Report


def create(owner: psycopg.Connection[Any]) -> None:
    """Make the table anew; `owner` is a session of the role that the clients log in as, or of its group."""
    owner.execute(f"DROP TABLE IF EXISTS {LEDGER}")
    owner.execute(f"CREATE TABLE {LEDGER} (client int NOT NULL, seq bigint NOT NULL)")
    owner.execute(f"GRANT INSERT ON {LEDGER} TO PUBLIC")


def differences(session: psycopg.Connection[Any], report: Report) -> list[str]:
    """Return where table and report disagree, in words; an unanswered COMMIT may have either end."""
    rows = dict(session.execute(f"SELECT client, count(*) FROM {LEDGER} GROUP BY client").fetchall())
    twice = session.execute(
        f"SELECT client, seq FROM {LEDGER} GROUP BY client, seq HAVING count(*) > 1"
    ).fetchall()
    found = [f"client {client}: transaction {sequence} is there twice" for client, sequence in twice]
    for client, done in report.done_by_client.items():
        there = rows.get(client, 0)
        if not done <= there <= done + report.unknown_by_client.get(client, 0):
            found.append(f"client {client}: {done} confirmed, {there} there")
    return found
