"""Commands for a person whose journal cannot be written: meant to be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from console.config.schema import Bouncer
from console.operations.by_hand import psql_command, without_this_journal
from console.operations.target import Target

STATEMENTS = ("SET server_login_retry = 0", 'RESUME "my db"')
PLACES = [
    ({"unix": Path("/run/my pgb"), "port": 6432, "sslmode": "require"}, "host='/run/my pgb' port=6432"),
    ({"tcp": "[::1]:6433", "sslmode": "verify-full"}, "host=::1 port=6433"),
]


@pytest.mark.parametrize(("place", "where"), PLACES)
def test_psql_is_told_where_and_what(place: dict[str, object], where: str) -> None:
    bouncer = Bouncer.model_validate({"name": "edge", "admin_user": "adm", **place})
    words = shlex.split(psql_command(bouncer, STATEMENTS))
    tls = " sslmode=verify-full" if "tcp" in place else ""
    assert words[0] == "psql"
    assert sorted(shlex.split(words[1])) == sorted(shlex.split(f"{where} user=adm dbname=pgbouncer{tls}"))
    assert words[2:] == ["-c", STATEMENTS[0], "-c", STATEMENTS[1]]


def test_behind_ssh_the_host_is_named() -> None:
    bouncer = Bouncer(name="edge", host="edge-1", unix=Path("/run/pgb"), port=6432, admin_user="adm")
    assert psql_command(bouncer, STATEMENTS).startswith("on edge-1: psql ")


def test_a_command_of_its_host_is_no_statement() -> None:
    bouncer = Bouncer(name="edge", host="edge-1", tcp="h:1", admin_user="adm")
    ways = without_this_journal("resume", Target("edge"), ("kill -USR2 4711",), bouncer, in_shell=True)
    assert ways[-1] == "or without a record: on edge-1: kill -USR2 4711"


def test_where_nothing_would_be_sent_there_is_no_other_way() -> None:
    bouncer = Bouncer(name="edge", tcp="h:1", admin_user="adm")
    assert without_this_journal("resume", Target("edge"), (), bouncer) == ()
