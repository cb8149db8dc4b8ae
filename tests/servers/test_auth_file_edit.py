"""A changed auth_file is what a real PgBouncer takes: who got another secret, who kept his, who was added."""

from __future__ import annotations

import psycopg
import pytest

from console.config.pgbouncer_auth_edit import edit_auth_file
from console.config.scram import md5_verifier, scram_verifier
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from tests.harness.servers import MakePgBouncer
from tests.servers.reload_kit import Bench

NEW = "n\"ew; 'secret' \\ #1"
OTHER = "another-Secret-9"


def _lets_in(server: PgBouncerServer, user: str, password: str) -> bool:
    """Log in to the console, so that no Postgres has a say."""
    try:
        psycopg.connect(
            host=str(server.socket_dir), port=server.port, dbname="pgbouncer", user=user, password=password
        ).close()
    except psycopg.Error:
        return False
    return True


@pytest.mark.parametrize("kind", ["plaintext", "SCRAM", "md5"])
def test_the_pooler_reads_the_edit_as_it_was_meant(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, kind: str
) -> None:
    # md5 takes an entry of each kind: SCRAM secrets are checked by SCRAM there.
    server = make_pgbouncer(pgbouncer_version, auth_type="md5", stats_users=f"{MONITOR}, app, new_one")
    stored = {
        "plaintext": NEW,
        "SCRAM": scram_verifier(NEW),
        "md5": md5_verifier(NEW, "app"),
    }[kind]
    with Bench(server) as bench:
        edit = edit_auth_file(bench.users, server.version, {"app": stored, "new_one": OTHER})
        bench.write(server.userlist_path, edit.content)
        assert not bench.console.reload().failed
        assert _lets_in(server, "app", NEW)
        assert not _lets_in(server, "app", server.secrets.password("app"))
        assert _lets_in(server, "new_one", OTHER)
        assert _lets_in(server, ADMIN, server.secrets.password(ADMIN))
