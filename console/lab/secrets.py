"""The lab's passwords: random, kept in one 0600 file, handed to servers as SCRAM verifiers only.

Clients find them in a password file (`write_pgpass`). None is ever in an argument list, a log or a repr.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from console.config.scram import scram_verifier
from console.lab.process import Launcher

SUPERUSER = "postgres"
REPLICATOR = "replicator"
ADMIN = "pooldeck_admin"
"""In `admin_users` of every lab bouncer."""
MONITOR = "pooldeck_monitor"
"""In `stats_users` of every lab bouncer; on Postgres in `pg_monitor` and `pg_signal_backend`."""
APP_USERS = ("app", "worker", "reports")
PROBE = APP_USERS[1]
"""Logs in through the bouncers to see that clients are served."""
ROLES = (SUPERUSER, REPLICATOR, ADMIN, MONITOR, *APP_USERS)


class Secrets:
    """Passwords by role, and their verifiers."""

    def __init__(self, passwords: dict[str, str], verifiers: dict[str, str]) -> None:
        self._passwords = passwords
        self._verifiers = verifiers

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._passwords))})"

    @classmethod
    def random(cls, roles: Iterable[str] = ROLES) -> Secrets:
        """Return fresh passwords for `roles`."""
        passwords = {role: secrets.token_urlsafe(18) for role in roles}
        return cls(passwords, {role: scram_verifier(word) for role, word in passwords.items()})

    @classmethod
    def load_or_create(cls, path: Path, launcher: Launcher) -> Secrets:
        """Return the passwords kept in `path`; a missing file is made with random ones."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            made = cls.random()
            text = json.dumps({"passwords": made._passwords, "verifiers": made._verifiers})
            launcher.write_file(path, text)
            return made
        return cls(kept["passwords"], kept["verifiers"])

    def password(self, role: str) -> str:
        """Return the clear password of `role`."""
        return self._passwords[role]

    def verifier(self, role: str) -> str:
        """Return the same SCRAM verifier every time: poolers pass it through only if Postgres has it too."""
        return self._verifiers[role]

    def userlist(self, roles: Iterable[str]) -> str:
        """Return an auth_file for PgBouncer."""
        return "".join(f'"{role}" "{self.verifier(role)}"\n' for role in roles)

    def pgpass(self) -> str:
        """Return a password file for libpq, any host and database."""
        return "".join(f"*:*:*:{role}:{word}\n" for role, word in sorted(self._passwords.items()))
