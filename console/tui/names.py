"""Names that complete what is typed behind a verb: targets, nodes, roles, settings of that very version.

All of it comes from the inventory and from what was read already; nobody is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from console.config.pgbouncer_settings import KINDS, OPTIONS, WORDS
from console.config.selector import parse_selector
from console.errors import UsageError
from console.model.rows import Setting
from console.model.sample import Sample
from console.poolers.dialects import dialect_for
from console.tui.views import selector_of

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

Name = tuple[str, str]
"""What completes, and what is told of it; "" for nothing."""
_ADMIN = "pgbouncer"
_SECTIONS = ("databases", "users")


class Names:
    """What an app knows by name."""

    def __init__(self, app: PooldeckApp) -> None:
        self._app = app

    def of(self, what: str, selector: str, begun: str) -> Sequence[Name]:
        """Return the names of a kind.

        Args:
            what: as `Option.names` has it, or `target`.
            selector: the targets that were typed; "" for all.
            begun: what was typed of the name.
        """
        match what:
            case "target":
                return [(name, "") for name in self.targets()]
            case "node":
                return [(node.name, node.role) for node in self._app.inventory.postgres]
            case "role":
                return self._roles(selector)
            case "setting":
                return list(self._keys(selector, begun, ""))
            case "setting=":
                return list(self._values(begun) if "=" in begun else self._keys(selector, begun, "="))
        return ()

    def targets(self) -> list[str]:
        """Return what a selector may name: bouncers, their databases, labels."""
        bouncers = self._app.inventory.bouncers
        labels = {f"@{key}={value}" for b in bouncers for key, value in b.labels.items()}
        snapshot = self._app.snapshot
        databases = [
            selector_of(pooler.info.name, database.name)
            for pooler in (snapshot.poolers if snapshot else ())
            for database in (pooler.sample.databases if pooler.sample else ())
            if database.name != _ADMIN
        ]
        return [*(bouncer.name for bouncer in bouncers), "all", *sorted(labels), *databases]

    def _samples(self, selector: str) -> Iterator[Sample]:
        snapshot = self._app.snapshot
        try:
            chosen = parse_selector(selector or "all").select(self._app.inventory.bouncers)
        except UsageError:
            return
        names = {one.name for one in chosen}
        for pooler in snapshot.poolers if snapshot else ():
            if pooler.info.name in names and pooler.sample is not None:
                yield pooler.sample

    def _roles(self, selector: str) -> list[Name]:
        """Return who has pools there, the commonest first."""
        found = Counter(
            pool.user
            for sample in self._samples(selector)
            for pool in sample.pools
            if pool.database != _ADMIN
        )
        return [(role, f"has {count} pool{'s' * (count != 1)}") for role, count in found.most_common()]

    def _keys(self, selector: str, begun: str, end: str) -> Iterator[Name]:
        """Yield settings as they run there; behind `databases.` databases, behind those their options."""
        samples = list(self._samples(selector))
        section, dot, rest = begun.partition(".")
        if dot and section in _SECTIONS:
            yield from self._lines(samples, section, rest, end)
            return
        secret = dialect_for("pgbouncer").may_be_secret
        settings: dict[str, Setting] = {}
        for sample in samples:
            settings |= sample.config.value if sample.config is not None else {}
        for key, setting in sorted(settings.items()):
            if not secret(key):
                restart = "; needs a restart" if setting.changeable is False else ""
                yield f"{key}{end}", f"now {setting.value or 'empty'}{restart}"
        if end:
            yield from ((f"{name}.", f"a line of [{name}]") for name in _SECTIONS)

    @staticmethod
    def _lines(samples: Sequence[Sample], section: str, rest: str, end: str) -> Iterator[Name]:
        name, dot, _ = rest.rpartition(".")
        if dot:
            known = [sample.version for sample in samples if sample.version is not None]
            for option, since in sorted(OPTIONS[section].items()):
                if option != "password" and all(version >= since for version in known):
                    yield f"{section}.{name}.{option}{end}", ""
            return
        yield from ((f"{section}.{name}.", "") for name in _line_names(samples, section))

    @staticmethod
    def _values(begun: str) -> Iterator[Name]:
        """Yield the words that a setting or option may be, where these are few."""
        key = begun.partition("=")[0]
        kind = WORDS.get(key.rpartition(".")[2]) or KINDS.get(key)
        yield from ((f"{key}={word}", "") for word in (kind if isinstance(kind, tuple) else ()))


def _line_names(samples: Iterable[Sample], section: str) -> list[str]:
    if section == "databases":
        found = {row.name for sample in samples for row in sample.databases if row.name != _ADMIN}
    else:
        found = {pool.user for sample in samples for pool in sample.pools if pool.database != _ADMIN}
    return sorted(found)
