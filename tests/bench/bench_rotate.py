"""Bench (i): a role's password is rotated under load, in each layout that is carried out."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from console.lab.bouncer import PgBouncerServer
from console.lab.tls import CertificateAuthority
from tests.bench.load_case import Limits, Measured, OperationFailed, watched
from tests.bench.load_scene import workplace
from tests.bench.load_table import keep
from tests.bench.table import BenchRow, print_table
from tests.harness.clients import ClientLoad, Group
from tests.harness.servers import PGBOUNCER_LINES, MakePgBouncer
from tests.servers.load_kit import client_tls, every_kind, make_ledger
from tests.servers.rotate_kit import NEW, OLD, ROLE, Site, own_site, run_state

LAYOUTS: Mapping[str, Sequence[str]] = {
    "R3 userlist": ("plaintext",),
    "R4 scram": ("scram",),
    "R5 auth-query": ("query",),
    "R3, R4 and R5 in one fleet": ("plaintext", "scram", "query"),
}
"""What each bouncer's auth_file has of the role."""
LIMITS = Limits(logins_apart=True)
SESSIONS = {"app_session": "TO pool_mode=session"}


def _give(passwords: Path, secret: str) -> None:
    """Give the clients a secret: those that log in from now on use it."""
    _written(passwords.with_suffix(".new"), f"*:*:*:{ROLE}:{secret}").rename(passwords)


def _written(path: Path, secret: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n")
    return path


def _clients(site: Site, passwords: Path, authority: CertificateAuthority) -> list[Group]:
    few = len(site.poolers) > 1
    groups: list[Group] = []
    for name, server in site.poolers.items():
        prefix = f"{name} " if few else ""
        groups += every_kind(server, str(passwords), prefix=prefix, tls_ca=authority.cert_path)
    return [replace(one, user=ROLE, clients=1 if few else one.clients) for one in groups]


def _measure(layout: str, kinds: Sequence[str], line: str) -> Measured:
    with workplace() as (workshop, folder):
        made: list[Site] = []
        make = MakePgBouncer(workshop, lambda: made[0].postgres)
        authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
        tls = client_tls(authority)
        with own_site(workshop, make, folder) as site:
            made.append(site)
            servers: list[PgBouncerServer] = [
                site.add(kind, line, entry=kind, lines=SESSIONS, **tls) for kind in kinds
            ]
            shell = site.shell()
            make_ledger(site.postgres)
            passwords = folder / "clients-pgpass"
            _give(passwords, OLD)
            groups = _clients(site, passwords, authority)
            words: tuple[str, ...] = ("rotate", ROLE)
            for flag, secret in (("--secret-from", NEW), ("--old-from", OLD)):
                words += (flag, f"command:cat {_written(folder / flag, secret)}")
            code, lines = shell.json_lines(*words, "--plan")
            if code:
                raise RuntimeError(f"no plan: {lines}")

            def operate(_: ClientLoad) -> list[str]:
                ended = shell(*words, "--approve", lines[0]["hash"])
                said = ended.stdout + ended.stderr
                # Whoever has to log in anew is given the secret once the run is over, and not before.
                _give(passwords, NEW)
                if ended.returncode:
                    raise OperationFailed(f"it ended with {ended.returncode}: {said}")
                if run_state(shell) is not None or site.paused():
                    raise OperationFailed("it left something behind")
                held = re.findall(r"clients were held for [\d.]+ s", said)
                return [f"as it measured itself: {', '.join(dict.fromkeys(held))}"] if held else []

            name, version = f"rotation, {layout}", str(servers[0].version)
            return watched(name, version, groups, folder, operate, lambda: site.postgres, limits=LIMITS)


def run() -> list[BenchRow]:
    """Measure them all."""
    found = [_measure(layout, kinds, line) for layout, kinds in LAYOUTS.items() for line in PGBOUNCER_LINES]
    keep("rotate", "Password rotations under load", found, into=["rotate"])
    return [one.row("i") for one in found]


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
