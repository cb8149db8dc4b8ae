"""Bench (i): a role's password is rotated under load, in each layout that is carried out."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, APP_USERS, MONITOR
from console.lab.tls import CertificateAuthority
from tests.bench.load_case import Limits, Measured, OperationFailed, watched
from tests.bench.load_scene import workplace
from tests.bench.load_table import keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad, Group
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer
from tests.servers.load_kit import client_tls, every_kind, make_ledger
from tests.servers.rotate_kit import NEW, OLD, ROLE, Site, own_site, run_state

WORKER = APP_USERS[1]
SECOND = "webshop_b"
SESSIONS = {"app_session": "TO pool_mode=session"}
FORCED = f"user={ROLE} password={OLD}"
SHOPPER, SHOPPER_WORD = "shopper", "sh0pper-w0rd"
"""A client that Postgres does not know: the database forces the role."""
QUERY = "SELECT usename, passwd FROM public.asked($1)"
PROBE = f'probe_user = "{WORKER}"\nprobe_database = "app"\nprobe_password_from = "env:PROBE_WORD"\n'


@dataclass(frozen=True)
class Layout:
    """How the poolers know the role, and who their clients are.

    Attributes:
        entries: of each pooler, what its auth_file has of the role; None: nothing.
        ini: further settings of the poolers.
        words: more of the command.
        user: whom clients log in as; clients of the role get its new secret when the run is over.
        stays_open: it ends with both roles let in.
    """

    name: str
    entries: Sequence[str | None]
    lines: Mapping[str, str] = field(default_factory=lambda: SESSIONS)
    ini: Mapping[str, Any] = field(default_factory=dict)
    words: Sequence[str] = ()
    user: str = ROLE
    stays_open: bool = False
    versions: Sequence[str] = PGBOUNCER_LINES

    @property
    def limits(self) -> Limits:
        """Logins are failures wherever the secret that clients have stays good."""
        return Limits(logins_apart=self.user == ROLE and not self.stays_open)


LAYOUTS = (
    Layout("R3 userlist", ("plaintext",)),
    Layout("R4 scram", ("scram",)),
    Layout("R5 auth-query", ("query",)),
    Layout("R3, R4 and R5 in one fleet", ("plaintext", "scram", "query")),
    Layout(
        "R2 inline",
        (None,),
        {"app": f"TO pool_mode=transaction {FORCED}", "app_session": f"TO pool_mode=session {FORCED}"},
        user=SHOPPER,
    ),
    Layout(
        "R6 auth-user",
        ("plaintext",),
        ini={"auth_user": ROLE, "auth_query": QUERY},
        user=WORKER,
    ),
    Layout(
        "R1 two roles, in one fleet",
        ("plaintext", "scram", "query"),
        # The pools of both roles must fit into what Postgres can give.
        ini={"default_pool_size": 3},
        words=("--to", SECOND),
        stays_open=True,
    ),
    Layout(
        "R2 inline, two roles",
        (None,),
        {"app": f"TO pool_mode=transaction {FORCED}", "app_session": f"TO pool_mode=session {FORCED}"},
        words=("--to", SECOND),
        user=SHOPPER,
        stays_open=True,
        # A live change of user= kills clients of 1.26.0 and 1.26.1, so it is refused there.
        versions=PGBOUNCER_LINES[:2],
    ),
)


def _give(site: Site, passwords: Path, secret: str) -> None:
    """Give the clients the role's secret: those that log in from now on use it."""
    known = site.postgres.secrets.pgpass()
    _written(
        passwords.with_suffix(".new"), f"*:*:*:{ROLE}:{secret}\n*:*:*:{SHOPPER}:{SHOPPER_WORD}\n{known}"
    ).rename(passwords)


def _written(path: Path, secret: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n")
    return path


def _clients(site: Site, passwords: Path, authority: CertificateAuthority, user: str) -> list[Group]:
    few = len(site.poolers) > 1
    groups: list[Group] = []
    for name, server in site.poolers.items():
        prefix = f"{name} " if few else ""
        groups += every_kind(server, str(passwords), prefix=prefix, tls_ca=authority.cert_path)
    return [replace(one, user=user, clients=1 if few else one.clients) for one in groups]


def _may_ask(site: Site) -> None:
    """Let the role be an auth_user."""
    with site.postgres.connect("app") as connection:
        connection.execute(
            "CREATE FUNCTION public.asked(name text, OUT usename name, OUT passwd text) LANGUAGE sql "
            "SECURITY DEFINER AS 'SELECT usename, passwd FROM pg_shadow WHERE usename = name'"
        )
        connection.execute(f"GRANT EXECUTE ON FUNCTION public.asked TO {ROLE}")


def _poolers(site: Site, layout: Layout, line: str, tls: Mapping[str, Any]) -> list[PgBouncerServer]:
    # auth_query is only asked about whom the auth_file does not know.
    users = (ADMIN, MONITOR) if "auth_user" in layout.ini else None
    more = f'"{SHOPPER}" "{SHOPPER_WORD}"\n' if layout.user == SHOPPER else ""
    names = [entry or "inline" for entry in layout.entries]
    return [
        site.add(name, line, entry=entry, lines=layout.lines, more=more, users=users, **tls, **layout.ini)
        for name, entry in zip(names, layout.entries, strict=True)
    ]


def _measure(layout: Layout, line: str) -> Measured:
    with workplace() as (workshop, folder):
        made: list[Site] = []
        make = MakePgBouncer(workshop, lambda: made[0].postgres)
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        with own_site(workshop, make, folder) as site:
            made.append(site)
            if "auth_user" in layout.ini:
                _may_ask(site)
            servers = _poolers(site, layout, line, client_tls(authority))
            shell = site.shell(more=PROBE)
            shell.environ["PROBE_WORD"] = site.postgres.secrets.password(WORKER)
            make_ledger(site.postgres)
            passwords = folder / "clients-pgpass"
            _give(site, passwords, OLD)
            groups = _clients(site, passwords, authority, layout.user)
            words: tuple[str, ...] = ("rotate", ROLE, *layout.words)
            for flag, secret in (("--secret-from", NEW), ("--old-from", OLD)):
                words += (flag, f"command:cat {_written(folder / flag, secret)}")
            code, lines = shell.json_lines(*words, "--plan")
            if code:
                raise RuntimeError(f"no plan: {lines}")

            def operate(_: ClientLoad) -> list[str]:
                ended = shell(*words, "--approve", lines[0]["hash"])
                said = ended.stdout + ended.stderr
                if not layout.stays_open:
                    # Whoever has to log in anew is given the secret once the run is over, and not before.
                    _give(site, passwords, NEW)
                if ended.returncode:
                    raise OperationFailed(f"it ended with {ended.returncode}: {said}")
                if (run_state(shell) is not None) is not layout.stays_open or site.paused():
                    raise OperationFailed("it left something behind")
                held = re.findall(r"clients were held for [\d.]+ s", said)
                return [f"as it measured itself: {', '.join(dict.fromkeys(held))}"] if held else []

            name, version = f"rotation, {layout.name}", str(servers[0].version)
            return watched(
                name, version, groups, folder, operate, lambda: site.postgres, limits=layout.limits
            )


def run() -> list[BenchRow]:
    """Measure them all."""
    found = [_measure(layout, line) for layout in LAYOUTS for line in layout.versions]
    keep("rotate", "Password rotations under load", found, into=["rotate"])
    return [one.row("i") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
