"""pgbench beside our own clients: the same transactions, its own log of them, read into the same figures.

It never reconnects: a client that loses its connection ends, and counts as one failed transaction. So it
shows what connections that stay feel, by a program that is not ours.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from console.lab.postgres import PACKAGE
from console.lab.server import program
from tests.harness.clients.client import LEDGER
from tests.harness.clients.record import Record
from tests.harness.clients.report import Figures
from tests.harness.clients.wish import Group

FIRST_CLIENT = 100_000
"""Its clients' numbers in the ledger, apart from ours."""
GRACE_S = 20.0
_SCRIPT = f"""\
\\set seq :seq + 1
\\set client {FIRST_CLIENT} + :client_id
BEGIN;
INSERT INTO {LEDGER} (client, seq) VALUES (:client, :seq);
COMMIT;
\\sleep {{rest_ms}} ms
"""
_ABORTED = re.compile(r"client \d+ (?:script \d+ )?aborted.*|error: client \d+.*: (.*)")


class PgBench:
    """`with PgBench(group, 8, folder) as bench:` … `bench.figures()` waits for its end.

    pgbench buffers its log and loses it when it is ended by a signal; so it runs for `seconds`, neither
    more nor less.
    """

    def __init__(self, group: Group, seconds: int, folder: Path) -> None:
        self._group = group
        self._seconds = seconds
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._records: list[Record] = []

    def __enter__(self) -> Self:
        script = self._folder / "ledger.sql"
        script.write_text(_SCRIPT.format(rest_ms=round(self._group.interval_ms)))
        mode = "prepared" if self._group.prepared else "simple"
        command = [
            *(str(program("pgbench", PACKAGE)), "-n", "-f", str(script), "-D", "seq=0", "-M", mode),
            *("-c", str(self._group.clients), "-j", "1", "-T", str(self._seconds)),
            *("-l", "--log-prefix", str(self._folder / "pgbench")),
        ]
        # The wall clock is what pgbench logs by; this tells how far it is from the monotonic one.
        self._offset_s = time.time() - time.monotonic()
        self._began_s = time.monotonic()
        with (self._folder / "pgbench.err").open("wb") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self._environment()}, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(GRACE_S)

    def figures(self) -> Figures:
        """Wait for its end and return what its log tells; its own start counts as a gap."""
        assert self._process is not None
        self._process.wait(self._seconds + GRACE_S)
        said = (self._folder / "pgbench.err").read_text(errors="replace")
        moments: dict[int, list[float]] = {}
        for log in self._folder.glob(f"pgbench.{self._process.pid}*"):
            for line in log.read_text().splitlines():
                fields = line.split()
                at_s = int(fields[4]) + int(fields[5]) / 1e6 - self._offset_s
                moments.setdefault(int(fields[0]), []).append(at_s)
        for client, done in moments.items():
            record = Record(FIRST_CLIENT + client, "pgbench", began_s=self._began_s, ended_s=max(done))
            record.done_s.extend(sorted(done))
            self._records.append(record)
        silent = self._group.clients - len(moments)
        aborted = [line for line in said.splitlines() if "aborted" in line]
        if silent or aborted:
            victim = self._records[0] if self._records else Record(FIRST_CLIENT, "pgbench")
            kinds = [re.sub(r"\d+", "N", line)[:100] for line in aborted]
            kinds += ["a client without a success"] * silent
            victim.failures += [(self._began_s, f"pgbench: {kind}") for kind in kinds]
        return Figures.of("pgbench", self._records)

    def _environment(self) -> dict[str, str]:
        parameters = self._group.parameters()
        return {
            "PGHOST": parameters["host"],
            "PGPORT": parameters["port"],
            "PGUSER": parameters["user"],
            "PGDATABASE": parameters["dbname"],
            "PGPASSFILE": parameters["passfile"],
            "PGSSLMODE": parameters["sslmode"],
            "PGAPPNAME": "load-pgbench",
            **({"PGSSLROOTCERT": parameters["sslrootcert"]} if "sslrootcert" in parameters else {}),
        }
