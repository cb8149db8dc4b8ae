"""What an operation acts on: one pooler, or one database of it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_PLAIN = re.compile(r"[\w.-]+")
"""A name that a selector takes as it is."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bouncer by the inventory's name, and one of its databases or None for the whole pooler."""

    bouncer: str
    database: str | None = None

    def __str__(self) -> str:
        return self.bouncer if self.database is None else f"{self.bouncer}/{self.database}"

    def command(self, verb: str) -> str:
        """Return the shell command that does `verb` to exactly this target, whatever its database is called.

        It is meant to be pasted: a database called `x;reboot`, `a,b` or `*` must name itself, nothing else.
        """
        if self.database is None or _PLAIN.fullmatch(self.database):
            selector = str(self)
        else:
            doubled = self.database.replace('"', '""')
            selector = f'{self.bouncer}/"{doubled}"'
        return f"pooldeck {verb} {shlex.quote(selector)}"
