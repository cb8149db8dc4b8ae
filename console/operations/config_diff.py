"""How the configuration files of poolers differ from what runs, and from one another. It only reads.

What a RELOAD would change comes from the plan of a RELOAD, which is never carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.config.pgbouncer_edit import in_force
from console.config.pgbouncer_ini import MAIN_SECTION
from console.config.pgbouncer_texts import ConfigTexts, scan
from console.operations.config_backups import backups_of, runs_of
from console.operations.config_sources import IDENTITY
from console.operations.observe import SECRET_SETTINGS, definition
from console.operations.outcome import Unreachable
from console.operations.plan import Plan, TargetPlan
from console.operations.reload_files import ConfigLook
from console.operations.reload_plan import what_would_change
from console.operations.service import OperationService

NOT_LISTED = "not listed"


@dataclass(frozen=True, slots=True)
class TargetDiff:
    """One pooler against its files. Lines are `running → file`."""

    name: str
    version: str
    unread: str | None
    """Why its files could not be compared; None: they were."""
    files: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    """What a RELOAD would change: the files were edited since, or somebody SET it."""
    undone: tuple[str, ...] = ()
    """What somebody SET for certain: the last good RELOAD read the value that the file still has."""
    restart: tuple[str, ...] = ()
    """What only a restart takes."""
    warnings: tuple[str, ...] = ()
    backups: tuple[str, ...] = ()
    """Runs that kept what they replaced, the newest first."""

    @property
    def count(self) -> int:
        """How many differences there are."""
        return len(self.changes) + len(self.undone) + len(self.restart)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "type": "target",
            "target": self.name,
            "version": self.version,
            "unread": self.unread,
            "same": self.unread is None and not self.count,
            "files": list(self.files),
            "changes": list(self.changes),
            "set": list(self.undone),
            "needs_restart": list(self.restart),
            "warnings": list(self.warnings),
            "backups": list(self.backups),
        }


@dataclass(frozen=True, slots=True)
class Between:
    """One thing that the files of the targets say differently."""

    key: str
    values: Mapping[str, str]
    """By target."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {"type": "between", "key": self.key, "values": dict(self.values)}


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """Everything that was compared."""

    targets: tuple[TargetDiff, ...]
    between: tuple[Between, ...]
    unreachable: tuple[Unreachable, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every target could be compared."""
        return not self.unreachable and all(one.unread is None for one in self.targets)


async def config_diff(service: OperationService, selector: str) -> ConfigDiff:
    """Compare what a selector names.

    Raises:
        UsageError: it names nothing. NodeError: the only target did not answer.
    """
    plan: Plan = await service.plan("reload", selector)
    targets = await asyncio.gather(*(_target(item) for item in plan.targets))
    return ConfigDiff(tuple(targets), tuple(_between(plan.targets)), plan.unreachable)


async def _target(item: TargetPlan) -> TargetDiff:
    look: ConfigLook = item.ask.found
    name = str(item.target)
    if look.host is None or look.texts is None:
        return TargetDiff(name, item.version, look.unread or "")
    read = tuple(path for path, file in look.texts.files.items() if file.content is not None)
    backups = runs_of(await backups_of(look.host, look.texts.files, timeout_s=look.timeout_s))
    warnings = tuple(str(finding) for finding in look.lint.findings) if look.lint is not None else ()
    would = what_would_change(item.ask)
    if would is None:
        problem = warnings[0] if warnings else "they could not be judged"
        return TargetDiff(name, item.version, problem, read, warnings=warnings[1:], backups=backups)
    return TargetDiff(
        name,
        item.version,
        None,
        read,
        would.changes,
        would.undone,
        would.restart,
        (*look.notices, *warnings),
        backups,
    )


def _between(items: Iterable[TargetPlan]) -> Iterator[Between]:
    """Yield what the files of several targets say differently; identity apart, which has to differ."""
    said: dict[str, Mapping[str, str]] = {}
    given: dict[str, None] = {}
    for item in items:
        look: ConfigLook = item.ask.found
        if look.judged is None or look.texts is None:
            continue
        said[str(item.target)] = _said(look)
        given |= dict.fromkeys(_given(look.texts))
    if len(said) < 2:
        return
    for key in sorted(given):
        values = {name: found.get(key, NOT_LISTED) for name, found in said.items()}
        if len(set(values.values())) > 1:
            yield Between(key, values)


def _given(texts: ConfigTexts) -> Iterator[str]:
    """Yield what the files have a line of, as keys are written."""
    for section, name in in_force(scan(texts)[0]):
        if section == MAIN_SECTION and name not in IDENTITY and name not in SECRET_SETTINGS:
            yield name
        elif section in ("databases", "users"):
            yield f"{section}.{name}"


def _said(look: ConfigLook) -> dict[str, str]:
    """Return what files come to: settings, their defaults too, and databases as they are shown."""
    judged = look.judged
    assert judged is not None, "only files that were judged are compared"
    assert look.texts is not None, "only files that were read are compared"
    expected = judged.expected
    found = {key: value or "empty" for key, value in {**expected.settings, **expected.at_start}.items()}
    found |= {f"databases.{name}": definition(one) for name, one in expected.databases.items()}
    if expected.catch_all is not None:
        found["databases.*"] = definition(expected.catch_all)
    for (section, name), entry in in_force(scan(look.texts)[0]).items():
        if section == "users":
            found[f"users.{name}"] = entry.value
    return found


def by_value(values: Mapping[str, str]) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Return each value with the targets that have it, the commonest first."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(value, []).append(name)
    return sorted(((value, tuple(names)) for value, names in found.items()), key=lambda one: -len(one[1]))
