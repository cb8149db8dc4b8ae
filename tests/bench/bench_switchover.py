"""Bench (g): a planned switchover from primary to replica under every kind of client, on every PgBouncer."""

from __future__ import annotations

import re
import sys

from console.lab.tls import CertificateAuthority
from tests.bench.load_case import Measured, OperationFailed, watched
from tests.bench.load_scene import workplace
from tests.bench.load_table import keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad
from tests.harness.servers import PGBOUNCER_LINES
from tests.servers.load_kit import client_tls, every_kind, passfile
from tests.servers.switchover_kit import pair

NAME = "switchover, --fence read-only"


def _measure(line: str) -> Measured:
    with workplace() as (workshop, folder):
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        with pair(workshop, folder, [line], ini=client_tls(authority)) as made:
            bouncer = made.bouncers["edge-1"]
            words = passfile(workshop.secrets, folder)
            groups = every_kind(bouncer, words, tls_ca=authority.cert_path)
            command = made.approved()

            def operate(_: ClientLoad) -> list[str]:
                done = made.shell(*command)
                if done.returncode:
                    raise OperationFailed(done.stdout + done.stderr)
                told = re.search(r"longest stall: [\d.]+ s", done.stderr)
                return [f"as it measured itself: {told[0]}"] if told else []

            return watched(NAME, str(bouncer.version), groups, folder, operate, lambda: made.replica)


def run() -> list[BenchRow]:
    """Measure it on every version."""
    found = [_measure(line) for line in PGBOUNCER_LINES]
    keep("switchover", "A switchover under load", found, into=["switchover"])
    return [one.row("g") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
