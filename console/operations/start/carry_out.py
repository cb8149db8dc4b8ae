"""START of one pooler: brought up by a relay on its host, as in a restart, and seen to serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from console.config.pgbouncer_expect import expected
from console.config.pgbouncer_texts import scan
from console.model.rows import Setting
from console.operations.control import Stopped, insist
from console.operations.observe import Observation
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.reload_check import mismatches
from console.operations.restart.comeback import Comeback
from console.operations.restart.coming import Coming
from console.operations.sessions import IDENTITY_KEYS
from console.operations.spec import Ask
from console.operations.start.look import Down, start_folder
from console.operations.step import Step

_AS_TOLD = "settings and databases read as its files say"


async def carry_out_start(step: Step) -> TargetReceipt:
    """Start the pooler of `step`. Its host carries it on, whatever becomes of this process."""
    if step.control.stopped:
        raise Stopped
    comeback = Comeback(step, _coming_up(step.ask), cut=0)

    async def act() -> TargetReceipt:
        return await comeback.launch() or await comeback.complete()

    return await insist(act)


async def nothing_to_start(step: Step) -> TargetReceipt:
    """One that answers is left alone."""
    return step.receipt(Outcome.NO_CHANGE, "it runs already", step.present)


def _coming_up(ask: Ask[Down]) -> Coming:
    seen = ask.seen
    assert seen.process.supervision is not None, "refused before"
    texts = seen.files.texts
    return Coming(
        bouncer=seen.bouncer,
        look=replace(seen.process, logfile=(seen.files.settings or {}).get("logfile")),
        command_timeout_s=seen.command_timeout_s,
        stop=(),
        start=seen.process.supervision.start(),
        identity=_identity(seen),
        differences=lambda after: _differences(seen, after),
        as_wanted=_AS_TOLD if seen.files.settings is not None else "its console answers",
        was_down=True,
        start_in=start_folder(seen.process, texts.root) if texts is not None else None,
    )


def _identity(seen: Down) -> Mapping[str, Collection[str]]:
    """Return what tells it from its peers, as far as its files or the inventory say."""
    given = dict(seen.files.settings or {})
    entry = seen.bouncer.process
    if entry is not None and entry.pid_file is not None and "pidfile" not in given:
        given["pidfile"] = str(entry.pid_file)
    return {key: frozenset({given[key]}) for key in IDENTITY_KEYS if key in given}


def _differences(seen: Down, after: Observation) -> tuple[str, ...]:
    """Say what is not as the files say, judged with the defaults that the process itself tells."""
    texts = seen.files.texts
    if texts is None or seen.files.settings is None:
        return ()
    found = expected(scan(texts)[0], _at_start(after.config), after.version)
    return mismatches(found, replace(after, databases=()), after)


def _at_start(config: Mapping[str, Setting]) -> dict[str, Setting]:
    """At its start a process takes every setting from its files, those too that no RELOAD changes."""
    return {key: replace(setting, changeable=None) for key, setting in config.items()}
