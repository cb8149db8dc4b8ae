"""A pooler that somebody suspended (until 1.25): no console is let in, and the error says what resumes it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from console.errors import NodeError
from console.lab.postgres import PostgresServer
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.verbs_kit import VerbDesk


@pytest.mark.parametrize("line", ["1.18", "1.24"])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_what_resumes_it_is_told_and_does(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, line: str, unix: bool
) -> None:
    server = make_pgbouncer(line)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=unix)
    async with desk.service:
        # The second console keeps it suspended: when its last one leaves, it goes on by itself.
        with server.connect() as client, server.admin() as console, server.admin():
            client.execute("SELECT 1")
            console.execute("SUSPEND")
            with pytest.raises(NodeError) as failure:
                await desk.service.plan("resume", "edge")
            assert failure.value.hint is not None
            assert "kill -USR2 PID" in failure.value.hint
            server.send_signal(signal.SIGUSR2)
            await until(lambda: client.execute("SELECT 42").fetchone() == (42,))
            plan = await desk.service.plan("resume", "edge")
            assert not plan.changes
