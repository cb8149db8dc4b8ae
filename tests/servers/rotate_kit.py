"""What the tests of rotations share: a Postgres that logs every statement, poolers of any layout, the CLI.

The clear secrets of a test are looked for afterwards in everything that anybody wrote (`where_clear`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from console.config.scram import md5_verifier, scram_verifier
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import SUPERUSER
from console.lab.tls import CertificateAuthority
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until

OLD = "the-0ld-Word-of-3vil"
NEW = "Xk9pQ2vNw7RtZb4LmH6sYc3D"
ROLE = "webshop"
LIMIT_S = 60.0


@dataclass
class Site:
    """One Postgres and some poolers in front of it, with a role to be rotated."""

    postgres: PostgresServer
    make: MakePgBouncer
    folder: Path
    poolers: dict[str, PgBouncerServer] = field(default_factory=dict)
    shells: list[Shell] = field(default_factory=list)
    replica: PostgresServer | None = None
    authority: CertificateAuthority | None = None
    """Whoever signed the servers' certificates; None: they have none."""

    def store(self, stored: str = "", role: str = ROLE) -> None:
        """Give the role its old secret in Postgres, as a verifier."""
        with self.postgres.connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE app").format(sql.Identifier(role)))
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(stored or self.scram)
                )
            )

    scram: str = field(default_factory=lambda: scram_verifier(OLD))

    @property
    def stored(self) -> str:
        """What pg_authid has of the role."""
        return str(self.postgres.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'"))

    def entry(self, kind: str) -> str:
        """Return the line of the auth_file for a kind."""
        secret = {"plaintext": OLD, "scram": self.scram, "md5": md5_verifier(OLD, ROLE)}[kind]
        return f'"{ROLE}" "{secret}"\n'

    def add(
        self,
        name: str,
        version: str | None = None,
        *,
        entry: str | None = "scram",
        lines: Mapping[str, str] | None = None,
        more: str = "",
        users: Sequence[str] | None = None,
        **ini: Any,
    ) -> PgBouncerServer:
        """Start a pooler that knows the role in a certain way.

        `more`: further lines of its auth_file; `users`: roles of the lab in it, None: as usual.
        """
        to = f"host={self.postgres.host} port={self.postgres.port} dbname=app"
        databases = {"app": f"{to} pool_mode=transaction", **(lines or {})}
        databases = {key: value.replace("TO", to, 1) for key, value in databases.items()}
        server = self.make(version, name=name, databases=databases, start=False, **ini)
        if entry == "query":
            word = self.postgres.secrets.password(SUPERUSER)
            self.with_entry(server, f'"{SUPERUSER}" "{word}"\n')
            server.settings["auth_user"] = SUPERUSER
        elif entry is not None or more:
            self.with_entry(server, (self.entry(entry) if entry is not None else "") + more)
        if users is not None:
            server.users = tuple(users)
        server.start()
        self.poolers[name] = server
        return server

    def with_entry(self, server: PgBouncerServer, line: str) -> None:
        """Have its auth_file begin with a line."""
        secrets = server.secrets

        class WithEntry:
            """The lab's passwords, and one entry more."""

            def __getattr__(self, name: str) -> Any:
                return getattr(secrets, name)

            def userlist(self, roles: Sequence[str]) -> str:
                return f"; {server.name}\n{line}" + secrets.userlist(roles)

        server.secrets = WithEntry()  # type: ignore[assignment]

    def shell(self, **fleet: Any) -> Shell:
        """Return the command line with an inventory of all of it."""
        folder = self.folder / f"shell-{len(self.shells)}"
        folder.mkdir()
        more = f'password_from = "env:ADMIN_WORD"\n{fleet.pop("more", "")}'
        shell = Shell(self.poolers, folder, more=more, **fleet)
        node = (
            f'\n[[postgres]]\nname = "pg"\nrole = "primary"\nsslmode = "disable"\n'
            f'tcp = "{self.postgres.host}:{self.postgres.port}"\ndatabases = ["app"]\n'
            f'user = "{SUPERUSER}"\npassword_from = "env:SUPER_WORD"\n'
        )
        shell.fleet.write_text(shell.fleet.read_text() + node)
        shell.environ["SUPER_WORD"] = self.postgres.secrets.password(SUPERUSER)
        self.shells.append(shell)
        return shell

    def lets_in(self, name: str, secret: str, database: str = "app", *, user: str = ROLE) -> bool:
        """Log in through a pooler and run a query."""
        server = self.poolers[name]
        try:
            with psycopg.connect(
                host=server.host,
                port=server.port,
                dbname=database,
                user=user,
                password=secret,
                connect_timeout=5,
                autocommit=True,
                prepare_threshold=None,
            ) as client:
                client.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def works_with(self, secret: str) -> bool:
        """Say whether a secret is good through every pooler; the first client may lift a pool's lock."""
        return all(self.lets_in(name, secret) or self.lets_in(name, secret) for name in self.poolers)

    def paused(self) -> list[str]:
        """Return the poolers that are paused."""
        shell = self.shells[-1]
        return [name for name in self.poolers if shell.paused(name)]

    def where_clear(self, *secrets: str, besides: Sequence[Path] = ()) -> list[str]:
        """Return every file that has one of these in clear: logs, journals, plans, run files, everything."""
        places = [self.postgres.directory, self.folder]
        places += [server.directory for server in self.poolers.values()]
        found = []
        for place in places:
            for path in place.rglob("*"):
                if path in besides or not path.is_file() or path.is_symlink() or "/data/" in str(path):
                    continue
                with contextlib.suppress(OSError):
                    content = path.read_bytes()
                    found += [str(path) for secret in secrets if secret.encode() in content]
        return found


class Rotation:
    """`pooldeck rotate` as a process that gets its secrets over descriptors."""

    def __init__(self, shell: Shell, *words: str, new: str | None = NEW, old: str | None = None) -> None:
        self._keep: list[int] = []
        argv = shell.argv("rotate", *words)
        pass_fds = []
        for flag, secret in (("--secret-from", new), ("--old-from", old)):
            if secret is None:
                continue
            read, write = os.pipe()
            os.write(write, secret.encode() + b"\n")
            os.close(write)
            argv += [flag, f"fd:{read}"]
            pass_fds.append(read)
        self.process = subprocess.Popen(
            argv,
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        for descriptor in pass_fds:
            os.close(descriptor)

    def __enter__(self) -> Rotation:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing of it running."""
        self.process.kill()
        self.process.wait(LIMIT_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def end(self) -> tuple[int, str]:
        """Wait and return the exit code and all that was said."""
        output, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output + errors


def rotate(shell: Shell, *words: str, new: str | None = NEW, old: str | None = None) -> tuple[int, str]:
    """Run a rotation to its end."""
    return Rotation(shell, *words, new=new, old=old).end()


class Traffic:
    """A client that keeps its connection and runs queries all the time; its failures are kept."""

    def __init__(
        self, site: Site, name: str, secret: str = OLD, database: str = "app", *, user: str = ROLE
    ) -> None:
        server = site.poolers[name]
        self._client = psycopg.connect(
            host=server.host,
            port=server.port,
            dbname=database,
            user=user,
            password=secret,
            autocommit=True,
            prepare_threshold=None,
        )
        self._client.execute("SELECT 1")
        self._stop = threading.Event()
        self.done = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)
        self._client.close()

    def _work(self) -> None:
        while not self._stop.wait(0.01):
            try:
                self._client.execute("SELECT 1")
                self.done += 1
            except psycopg.Error as error:
                self.failures.append(str(error))
                return


def client_of(site: Site, name: str, user: str, secret: str) -> psycopg.Connection[tuple[str]]:
    """Connect through a pooler."""
    server = site.poolers[name]
    return psycopg.connect(
        host=server.host,
        port=server.port,
        dbname="app",
        user=user,
        password=secret,
        autocommit=True,
        prepare_threshold=None,
    )


class NewLogins:
    """Clients of the role that log in all the time, run a query and hang up; failures are kept."""

    def __init__(self, site: Site, secret: str = OLD) -> None:
        self._site = site
        self._secret = secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.done = 0
        self.failures: list[str] = []

    def __enter__(self) -> NewLogins:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)

    def _work(self) -> None:
        while not self._stop.wait(0.1):
            for name in self._site.poolers:
                if self._site.lets_in(name, self._secret):
                    self.done += 1
                else:
                    self.failures.append(name)


@contextlib.contextmanager
def own_site(workshop: Workshop, make: MakePgBouncer, folder: Path) -> Iterator[Site]:
    """Start a Postgres of the test's own, whose log has every statement."""
    server = PostgresServer(
        "rotated",
        workshop.place("rotated"),
        workshop.launcher,
        workshop.secrets,
        settings={"log_statement": "all", "log_min_duration_statement": "0", "log_connections": "on"},
    )
    server.start()
    try:
        # md5 in pg_hba.conf lets roles with a SCRAM verifier in as well, by SCRAM.
        hba = server.hba_path.read_text().replace(
            "host all all 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 md5"
        )
        server.launcher.write_file(server.hba_path, hba)
        server.value("SELECT pg_reload_conf()")
        site = Site(server, make, folder)
        site.store()
        yield site
    finally:
        server.kill()


def run_state(shell: Shell) -> dict[str, Any] | None:
    """Return what an open rotation wrote down; None: there is none."""
    for path in (shell.state / "pooldeck" / "rotations").rglob("*.json"):
        with contextlib.suppress(ValueError, FileNotFoundError):
            assert path.stat().st_mode & 0o777 == 0o600
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    return None


def verified(shell: Shell, name: str) -> str:
    """Return what a pooler's last receipt says was verified."""
    *_, last = (record for record in shell.records("outcome") if record["target"] == name)
    return "; ".join(last["verified"])


def until_phase(shell: Shell, phase: str) -> None:
    """Wait until a rotation has come so far."""
    until(lambda: (run_state(shell) or {}).get("phase") == phase)


@contextlib.contextmanager
def locked_role(site: Site) -> Iterator[None]:
    """Keep Postgres from changing the role: another session has changed it and not committed."""
    with site.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 50").format(sql.Identifier(ROLE)))
        yield


@contextlib.contextmanager
def stopped(server: PgBouncerServer) -> Iterator[None]:
    """Stop a pooler's process, as a machine without CPU does."""
    server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)
