"""Is it the new process that answers, and is it as it should be? It only asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from console.errors import AdminError, NodeError, Phase
from console.hosts.facts import ProcessFacts
from console.model.rows import Setting
from console.operations.observe import SECRET_SETTINGS, Observation, definition, observe
from console.operations.process.finding import Finder, ProcessLook
from console.operations.process.supervision import Kind
from console.operations.restart.coming import Coming
from console.operations.restart.methods import version_fits
from console.operations.sessions import close_quietly
from console.operations.step import Step, plural

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Arrived:
    """The new process, as it answers."""

    seen: Observation
    process: ProcessFacts | None
    """None: of a Swarm service, whose task may run anywhere."""
    login_s: float
    """When its console first let us in, on the monotonic clock."""


class Arrivals:
    """Tries to meet the new process of one step."""

    def __init__(self, step: Step, coming: Coming) -> None:
        self._step = step
        self._coming = coming
        self._finder = Finder(coming.bouncer, step.reach.transport, timeout_s=coming.command_timeout_s)
        self.why_not = "it was not tried"
        """Why the last try did not meet it."""

    async def meet(self) -> Arrived | None:
        """Try once; None when it does not answer, or another process does."""
        step = self._step
        try:
            session = await step.connector.reader(step.target.bouncer)
        except NodeError as error:
            self.why_not = f"{error.message} ({error.phase})"
            return None
        login_s = step.clock.monotonic_s()
        try:
            seen = await observe(
                session, step.dialect, step.target.bouncer, timeout_s=step.query_timeout_s, prober=None
            )
        except (NodeError, AdminError) as error:
            self.why_not = error.message
            return None
        finally:
            await close_quietly(session)
        other = self._another(seen.config)
        if other is not None:
            self.why_not = f"another process answers there ({other} differ)"
            return None
        if self._coming.supervision.kind is Kind.SWARM:
            return Arrived(seen, None, login_s)
        process = (await self._finder.look(seen.config)).process
        old = self._coming.look.process
        if process is None or (old is not None and process.process.identity == old.process.identity):
            self.why_not = "the old process still answers" if process is not None else "no process is found"
            return None
        return Arrived(seen, process, login_s)

    async def probe(self) -> str:
        """Log in as a client does and say what was tried.

        Raises:
            NodeError: it did not succeed.
        """
        try:
            return await self._step.connector.probe(self._step.target.bouncer)
        except AdminError as error:
            raise NodeError(Phase.AUTH, error.message) from error

    def _another(self, config: Mapping[str, Setting]) -> str | None:
        """Name the settings by which what answers is not the process that is to come up."""
        identity = self._coming.identity
        return ", ".join(key for key in identity if _value(config, key) not in identity[key]) or None


def wrong_version(found: ProcessLook, arrived: Arrived, wanted: str) -> str | None:
    """Return how its version is not the one expected; None when it is.

    Args:
        found: what was found before.
        arrived: the new process.
        wanted: `--expect-version`; "": the version of the executable as it was seen.
    """
    now, then = arrived.seen.version, found.program_version
    if wanted:
        return None if version_fits(now, wanted) else f"it is {now}, not {wanted}"
    return None if then is None or now == then else f"it is {now}, though {found.program} was {then}"


def differences(before: Observation, after: Observation) -> tuple[str, ...]:
    """Say what is no longer as it was: settings, databases. Of settings that only one version has, none."""
    lines = list(_changed(before, after))
    if len(lines) > _SHOWN:
        return (*lines[:_SHOWN], f"and {plural(len(lines) - _SHOWN, 'more difference')}")
    return tuple(lines)


def _changed(before: Observation, after: Observation) -> Iterator[str]:
    if before.version != after.version:
        yield f"version: {before.version} → {after.version}"
    for key in sorted(before.config.keys() & after.config.keys() - SECRET_SETTINGS):
        old, new = _value(before.config, key), _value(after.config, key)
        if old != new:
            yield f"{key}: {old or 'empty'} → {new or 'empty'}"
    old_ones = {database.name: database for database in before.databases}
    new_ones = {database.name: database for database in after.databases}
    for name in sorted(old_ones.keys() | new_ones.keys()):
        old_one, new_one = old_ones.get(name), new_ones.get(name)
        if old_one is None or new_one is None:
            yield f"database {name}: {'new' if old_one is None else 'gone'}"
        elif definition(old_one) != definition(new_one) and before.version == after.version:
            yield f"database {name}: {definition(old_one)} → {definition(new_one)}"
        elif old_one.disabled and not new_one.disabled:
            yield f"database {name}: disabled → enabled"


def _value(config: Mapping[str, Setting], key: str) -> str:
    setting = config.get(key)
    return (setting.value or "") if setting is not None else ""
