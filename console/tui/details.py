"""Which details a detail screen shows: a value that can be compared, so that `-` finds its way back.

It must not format: `console.view.details` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.config.schema import Inventory
from console.model.fleet import FleetSnapshot
from console.view.cells import Cell
from console.view.details import Section, bouncer_details, postgres_details, raw_sections


@dataclass(frozen=True, slots=True)
class Details:
    """A bouncer, one of its pools, or a Postgres node."""

    title: str
    bouncer: str | None = None
    database: str | None = None
    user: str | None = None
    postgres: str | None = None
    raw: bool = False
    config_file: str | None = None
    monitor: str | None = None

    def sections(self, snapshot: FleetSnapshot) -> Sequence[Section]:
        """Return what is to be shown of `snapshot`."""
        if self.postgres is not None:
            found = [node for node in snapshot.postgres if node.name == self.postgres]
            return postgres_details(found[0]) if found else _gone(self.postgres)
        pooler = snapshot.by_name.get(self.bouncer or "")
        if pooler is None:
            return _gone(self.bouncer or "")
        described = bouncer_details(pooler, config_file=self.config_file, monitor=self.monitor)
        if not self.raw and self.database is None:
            return described
        if pooler.sample is None:
            return described
        raw = raw_sections(pooler.sample, self.database, self.user)
        # The second section is the condition: raw numbers too must say how old they are.
        return (described[1], *raw)


def of_bouncer(
    inventory: Inventory, name: str, database: str | None, user: str | None, *, raw: bool
) -> Details:
    """Return the details of a bouncer, or of one of its pools."""
    entry = next((bouncer for bouncer in inventory.bouncers if bouncer.name == name), None)
    place = "/".join(part for part in (name, database, user) if part)
    return Details(
        title=f"{place} as read" if raw else place,
        bouncer=name,
        database=database,
        user=user,
        raw=raw,
        config_file=entry.config_file if entry else None,
        monitor=entry.monitor_user if entry else None,
    )


def of_postgres(name: str) -> Details:
    """Return the details of a Postgres node."""
    return Details(title=name, postgres=name)


def _gone(name: str) -> tuple[Section, ...]:
    return (Section(name, (("", Cell("is not in this fleet any more")),)),)
