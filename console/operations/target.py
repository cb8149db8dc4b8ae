"""What an operation acts on: one pooler, or one database of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A bouncer by the inventory's name, and one of its databases or None for the whole pooler."""

    bouncer: str
    database: str | None = None

    def __str__(self) -> str:
        return self.bouncer if self.database is None else f"{self.bouncer}/{self.database}"
