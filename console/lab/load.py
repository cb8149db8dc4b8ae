"""Load for a lab: pgbench through the bouncers, long transactions, and a queue made on purpose.

Bounded twice: pgbench's own rate and time, and `timeout` around it, since a client that waits on a paused
pooler does not look at the clock. Passwords go by PGPASSFILE, never by argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.lab.bouncer import PgBouncerServer
from console.lab.layout import BouncerPlan
from console.lab.postgres import APP_DATABASE, PACKAGE, PostgresServer
from console.lab.process import Launcher
from console.lab.secrets import APP_USERS
from console.lab.server import program

GRACE_S = 12
"""Longer than one transaction of any script, so that a load which is not held up ends by itself."""
MAX_PLAIN_JOBS = 8
SCALE = 1
LONG_SCRIPT = """\
\\set pause random(3, 8)
BEGIN;
SELECT count(*) FROM pgbench_branches;
\\sleep :pause s
END;
\\sleep 500 ms
"""
QUEUE_SCRIPT = "SELECT pg_sleep(0.4);\n"
QUEUE_CLIENTS = 10
# pgbench ends when its clients lose their connection; after a restart of the bouncer the load comes back.
_LOOP = """\
end=$(($(date +%s) + $1)); shift
while left=$((end - $(date +%s))); [ "$left" -gt 0 ]; do "$@" -T "$left"; sleep 1; done
"""


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One pgbench.

    Attributes:
        arguments: pgbench's, without time and database.
        environment: where it connects and as what.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def argv(self, seconds: int) -> list[str | Path]:
        """Return the command that runs it for `seconds`."""
        pgbench = program("pgbench", PACKAGE)
        limit = ["timeout", "-k", "2", str(seconds + GRACE_S)]
        return [*limit, "/bin/sh", "-c", _LOOP, "load", str(seconds), pgbench, "-n", *self.arguments]


def create_tables(primary: PostgresServer) -> bool:
    """Make pgbench's tables in the application database; False when they are there already."""
    if primary.value("SELECT to_regclass('pgbench_accounts') IS NOT NULL", APP_DATABASE):
        return False
    where = {"PGHOST": primary.host, "PGPORT": str(primary.port), "PGPASSFILE": str(primary.pgpass_path)}
    primary.launcher.tool(
        f"{primary.name}-tables",
        [
            program("pgbench", PACKAGE),
            "-i",
            "-q",
            "-s",
            str(SCALE),
            "-I",
            "dtgp",
            "-U",
            APP_USERS[0],
            APP_DATABASE,
        ],
        cwd=primary.directory,
        env=where,
    )
    return True


def load_jobs(
    directory: Path, launcher: Launcher, bouncers: Sequence[tuple[BouncerPlan, PgBouncerServer]]
) -> tuple[LoadJob, ...]:
    """Return the lab's load: traffic on every bouncer; on one, a queue and long transactions too."""
    folder = launcher.make_dir(directory / "load")
    long_script, queue_script = folder / "long.sql", folder / "queue.sql"
    launcher.write_file(long_script, LONG_SCRIPT)
    launcher.write_file(queue_script, QUEUE_SCRIPT)
    jobs = list(_plain_jobs(directory, bouncers[:MAX_PLAIN_JOBS]))
    writers = [pair for pair in bouncers if pair[0].serves == "primary"]
    plan, server = writers[-1] if len(writers) < 3 else writers[2]
    app, worker, reports = APP_USERS
    jobs += [
        LoadJob(
            f"load-{plan.name}-long",
            ("-c", "2", "-f", str(long_script)),
            _environment(directory, plan, server, user=worker, database="app_session", what="nightly-report"),
        ),
        LoadJob(
            f"load-{plan.name}-open",
            ("-c", "1", "-f", str(long_script)),
            _environment(directory, plan, server, user=reports, database="app", what="month-end"),
        ),
        LoadJob(
            f"load-{plan.name}-queue",
            ("-c", str(QUEUE_CLIENTS), "-f", str(queue_script)),
            _environment(directory, plan, server, user=app, database="tiny", what="checkout"),
        ),
    ]
    return tuple(jobs)


def _plain_jobs(
    directory: Path, bouncers: Iterable[tuple[BouncerPlan, PgBouncerServer]]
) -> Iterable[LoadJob]:
    kinds = {
        "primary": ((APP_USERS[0], "shop-web", "-N"), (APP_USERS[1], "order-worker", "-N")),
        "replica": ((APP_USERS[2], "dashboard", "-S"),),
    }
    for number, (plan, server) in enumerate(bouncers):
        choices = kinds[plan.serves]
        user, what, script = choices[number % len(choices)]
        yield LoadJob(
            f"load-{plan.name}",
            # -L: after a pause, what is overdue is dropped instead of made up for in one burst.
            (script, "-c", "6", "-R", "30", "-L", "2000"),
            _environment(directory, plan, server, user=user, database="app", what=what),
        )


def _environment(
    directory: Path, plan: BouncerPlan, server: PgBouncerServer, *, user: str, database: str, what: str
) -> dict[str, str]:
    found = {
        "PGHOST": server.host if plan.access == "tls" else str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": user,
        "PGDATABASE": database,
        "PGAPPNAME": what,
        "PGPASSFILE": str(directory / "pgpass"),
        "PGCONNECT_TIMEOUT": "5",
    }
    if plan.access == "tls":
        found |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(directory / "tls" / "ca.crt")}
    return found
