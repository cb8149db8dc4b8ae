"""Bench (g): a planned switchover from primary to replica under every kind of client, on every PgBouncer."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from console.lab.postgres import APP_DATABASE
from console.lab.tls import CertificateAuthority
from tests.bench.load_scene import SETTLE_S, Case, Measured, Scene, keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad, ledger
from tests.harness.servers import PGBOUNCER_LINES, Workshop
from tests.servers.load_kit import client_tls, every_kind, passfile
from tests.servers.switchover_kit import pair

NAME = "switchover, --fence read-only"


def _nothing(_: Scene) -> None:
    return


def _measure(line: str) -> Measured:
    workshop = Workshop()
    with tempfile.TemporaryDirectory(prefix="pd-load-", dir="/tmp") as place:
        folder = Path(place)
        try:
            authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
            with pair(workshop, folder, [line], ini=client_tls(authority)) as made:
                made.shell.environ["XDG_RUNTIME_DIR"] = place
                bouncer = made.bouncers["edge-1"]
                words = passfile(workshop.secrets, folder)
                groups = every_kind(bouncer, words, tls_ca=authority.cert_path)
                with ClientLoad(groups, folder / "clients.log") as load:
                    time.sleep(SETTLE_S)
                    command = made.approved()
                    with load.window(NAME):
                        done = made.shell(*command)
                    time.sleep(SETTLE_S)
                wrong = [] if done.returncode == 0 else [done.stdout + done.stderr]
                with made.replica.connect(APP_DATABASE) as session:
                    wrong += ledger.differences(session, load.report)
                told = re.search(r"longest stall: [\d.]+ s", done.stderr)
                notes = (f"as it measured itself: {told[0]}",) if told else ()
                case = Case(NAME, _nothing)
                return Measured(case, str(bouncer.version), load.report, None, tuple(wrong), notes)
        finally:
            workshop.remove()


def run() -> list[BenchRow]:
    """Measure it on every version."""
    found = []
    for line in PGBOUNCER_LINES:
        found.append(_measure(line))
        sys.stderr.write(f"{found[-1].report.table()}\n")
    keep("switchover", "A switchover under load", [(NAME, found)])
    return [one.row("g") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
