"""Which of a lab's two Postgres servers leads, and what puts a lab right after somebody worked on it.

Told by the data folders, so it is known of servers that do not run too. A server without `standby.signal` is
a primary; of two, the one that was promoted last counts (a promotion writes its timeline's history file at
once), and the other one was left behind by a switchover.
"""

from __future__ import annotations

from psycopg import sql

from console.lab.postgres import PostgresServer
from console.lab.secrets import ROLES, Secrets


def take_roles(primary: PostgresServer, replica: PostgresServer) -> tuple[PostgresServer, PostgresServer]:
    """Tell both servers who follows whom; return the one that leads, and the other."""
    leading = [one for one in (primary, replica) if one.data_dir.exists() and not one.is_standby]
    leader = max(leading, key=lambda one: one.timeline, default=primary)
    follower = replica if leader is primary else primary
    leader.primary, follower.primary = None, leader
    return leader, follower


def was_left(follower: PostgresServer) -> bool:
    """Say whether a server that is to follow still is the primary that it was."""
    return follower.data_dir.exists() and not follower.is_standby


def mend(leader: PostgresServer, secrets: Secrets) -> tuple[str, ...]:
    """Give the leader the lab's own passwords again, and take a fence off; return what was mended.

    Otherwise the password file would no longer open it, after a `pooldeck rotate` for instance.
    """
    mended = []
    with leader.connect() as session:
        rows = session.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
        for role, verifier in rows.fetchall():
            if role in ROLES and verifier != secrets.verifier(role):
                session.execute("SET default_transaction_read_only = off")
                own = sql.Literal(secrets.verifier(role))
                session.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), own))
                mended.append(f"the password of {role}")
        fenced = session.execute(
            "SELECT EXISTS (SELECT FROM pg_file_settings WHERE name = 'default_transaction_read_only')"
        ).fetchone()
        if fenced == (True,):
            session.execute("ALTER SYSTEM RESET default_transaction_read_only")
            session.execute("SELECT pg_reload_conf()")
            mended.append(f"{leader.name} takes writes again")
    return tuple(mended)
