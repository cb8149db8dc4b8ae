"""RELOAD: read the configuration again, and tell what that did.

Up to 1.24 the pooler answers success whatever happens, and a file that cannot be read whole leaves every
reloadable setting after the mistake at its compiled default (trap T5). So settings and databases are read
before and after, over sessions opened before: a failed reload empties `admin_users`, and no new
login would be let in.

What cannot be seen here: the file. A mistake below its last setting is found only by 1.25 and later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.errors import AdminError, NodeError
from console.model.rows import Database, Setting
from console.model.version import Version
from console.operations.control import Stopped, insist
from console.operations.observe import SECRET_SETTINGS, Observation, definition, observe
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sessions import WriteSession, close_quietly
from console.operations.spec import Ask, Standing, state_words
from console.operations.step import Step, plural, why

FALLEN_AT_LEAST = 3
"""So many settings back at their defaults at once are taken for an unreadable file."""
TELLTALE_SETTINGS = frozenset({"admin_users", "auth_file"})
"""One of these back at its default is enough: it locks people out."""
_RECYCLES_FROM = Version(1, 16)
_RECYCLES_UNTIL = Version(1, 24)
_REPORTS_FAILURE = Version(1, 25)


def reload_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RELOAD sends."""
    return (ask.dialect.reload(),)


def reload_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a RELOAD."""
    target, observation = ask.target, ask.seen
    warnings = [
        "every SET made since the last reload is undone, and clients of databases that left the file "
        "are cut: the file is not read beforehand, so neither can be listed here"
    ]
    if observation.version < _REPORTS_FAILURE:
        warnings.append(
            f"{observation.version} answers success even when the file is broken: settings are compared "
            "before and after, but a mistake below the last setting cannot be told from success"
        )
    tls = observation.config.get("server_tls_sslmode")
    mode = tls.value if tls is not None else None
    if _RECYCLES_FROM <= observation.version < _RECYCLES_UNTIL and mode not in (None, "", "disable"):
        warnings.append(
            f"{observation.version} with server_tls_sslmode = {mode} opens every server connection anew at "
            f"each reload: {plural(sum(pool.servers for pool in observation.pools), 'server connection')} now"
        )
    return Standing(state_words(target, observation), warnings=tuple(warnings))


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two readings of a pooler."""

    lines: tuple[str, ...]
    """For people, e.g. `default_pool_size: 20 → 30`."""
    fallen: tuple[str, ...]
    """Settings that had a value of their own and are at their compiled default now."""

    @property
    def fell_to_defaults(self) -> bool:
        """Whether this looks like a file that could not be read whole."""
        return len(self.fallen) >= FALLEN_AT_LEAST or not TELLTALE_SETTINGS.isdisjoint(self.fallen)


def changes_between(before: Observation, after: Observation) -> Changes:
    """Compare settings and databases."""
    fallen = []
    lines = []
    for key in sorted(before.config.keys() | after.config.keys()):
        old, new = before.config.get(key), after.config.get(key)
        if _value(old) == _value(new):
            continue
        lines.append(_line(key, old, new))
        if _is_default(new):
            fallen.append(key)
    lines += _database_lines(_by_name(before.databases), _by_name(after.databases))
    return Changes(tuple(lines), tuple(fallen))


def _line(key: str, old: Setting | None, new: Setting | None) -> str:
    if key in SECRET_SETTINGS:
        return f"{key}: changed (not shown)"
    note = " (its default)" if _is_default(new) else ""
    return f"{key}: {_shown(old)} → {_shown(new)}{note}"


def _is_default(setting: Setting | None) -> bool:
    return setting is not None and (setting.value or "") == (setting.default or "")


def _database_lines(before: Mapping[str, Database], after: Mapping[str, Database]) -> list[str]:
    lines = [f"database {name}: removed" for name in sorted(before.keys() - after.keys())]
    lines += [
        f"database {name}: added, {definition(after[name])}" for name in sorted(after.keys() - before.keys())
    ]
    for name in sorted(before.keys() & after.keys()):
        old, new = definition(before[name]), definition(after[name])
        if old != new:
            lines.append(f"database {name}: {old} → {new}")
    return lines


def _by_name(databases: tuple[Database, ...]) -> dict[str, Database]:
    return {database.name: database for database in databases}


def _value(setting: Setting | None) -> str | None:
    return None if setting is None else setting.value


def _shown(setting: Setting | None) -> str:
    return "absent" if setting is None else setting.value or "empty"


async def carry_out_reload(step: Step) -> TargetReceipt:
    """Reload the target of `step`."""
    session = await step.connector.writer(step.target.bouncer)
    try:
        await step.check_process(session)
        if step.control.stopped:
            raise Stopped
        # Once sent it is brought to its end: only the reading afterwards tells what it did.
        return await insist(lambda: _reload(step, session))
    finally:
        await close_quietly(session)


async def _reload(step: Step, session: WriteSession) -> TargetReceipt:
    refused: AdminError | None = None
    lost: NodeError | None = None
    tag = ""
    try:
        tag = await step.send(session, step.statements[0], step.parameters.timeout_s)
    except AdminError as error:
        refused = error
    except NodeError as error:
        lost = error
    try:
        after = await _read_back(step, session, lost=lost is not None)
    except (NodeError, AdminError) as error:
        return step.receipt(
            Outcome.UNKNOWN if refused is None else Outcome.FAILED,
            f"{_told(refused, lost, tag)}; reading back failed: {why(error)}",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}", *_mend(step, locked_out=False)),
        )
    return _judge(step, after, tag, refused, lost)


async def _read_back(step: Step, session: WriteSession, *, lost: bool) -> Observation:
    async def read(over: WriteSession) -> Observation:
        return await observe(
            over, step.dialect, step.target.bouncer, timeout_s=step.query_timeout_s, prober=over
        )

    if not lost:
        return await read(session)
    fresh = await step.connector.writer(step.target.bouncer)
    try:
        return await read(fresh)
    finally:
        await close_quietly(fresh)


def _judge(
    step: Step, after: Observation, tag: str, refused: AdminError | None, lost: NodeError | None
) -> TargetReceipt:
    changes = changes_between(step.before, after)
    words = state_words(step.target, after)
    if refused is not None or changes.fell_to_defaults:
        detail = _told(refused, lost, tag)
        if changes.fell_to_defaults:
            detail += (
                f", but {plural(len(changes.fallen), 'setting')} fell back to the compiled default "
                f"({', '.join(changes.fallen[:6])}{', …' if len(changes.fallen) > 6 else ''}): "
                "the file could not be read whole"
            )
        return step.receipt(
            Outcome.FAILED,
            detail,
            words,
            differences=changes.lines,
            next_steps=_mend(step, locked_out="admin_users" in changes.fallen),
        )
    if lost is not None and not changes.lines:
        return step.receipt(
            Outcome.UNKNOWN,
            f"{why(lost)}; nothing differs from before, so whether the file was read again is not known",
            words,
            next_steps=(step.target.command("reload"),),
        )
    return step.receipt(
        Outcome.OK,
        f"{_told(refused, lost, tag)}; {plural(len(changes.lines), 'difference')} in settings and databases",
        words,
        verified=("settings and databases read before and after", "settings did not fall to defaults"),
        differences=changes.lines,
    )


def _told(refused: AdminError | None, lost: NodeError | None, tag: str) -> str:
    if refused is not None:
        return f"RELOAD was refused: {refused.message}"
    return why(lost) if lost is not None else f"answered {tag}"


def _mend(step: Step, *, locked_out: bool) -> tuple[str, ...]:
    conffile = step.before.config.get("conffile")
    name = conffile.value if conffile is not None and conffile.value else "the configuration file"
    logfile = step.before.config.get("logfile")
    log = logfile.value if logfile is not None and logfile.value else "its log"
    steps = [f"read {log} on its host: it names the line", f"mend {name} on its host"]
    if locked_out:
        steps.append(
            "admin_users is empty now, so nobody can log in to its console: "
            "send the process SIGHUP on its host (kill -HUP PID, or systemctl reload), "
            "which reads the file again"
        )
    else:
        steps.append(step.target.command("reload"))
    return tuple(steps)
