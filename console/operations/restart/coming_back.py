"""What comes up again after a RESTART, and by what it is known: as its plan has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from console.model.rows import Setting
from console.operations.restart.arrival import differences
from console.operations.restart.coming import Coming
from console.operations.restart.look import RestartLook
from console.operations.restart.methods import Method
from console.operations.restart.plan import restart_commands
from console.operations.sessions import IDENTITY_KEYS
from console.operations.step import Step


def coming_back(step: Step) -> Coming:
    """Return what is to come up when the pooler of `step` is restarted."""
    found: RestartLook = step.ask.found
    stop, start = restart_commands(step.ask)
    return Coming(
        bouncer=found.bouncer,
        look=found.process,
        command_timeout_s=found.command_timeout_s,
        stop=stop,
        start=start,
        identity={key: _values(key, step.before.config, found) for key in IDENTITY_KEYS},
        differences=partial(differences, step.before),
        as_wanted="settings and databases read as before",
        has_gap=found.choice.method is not Method.TAKEOVER,
        is_gentle=found.choice.method is Method.ROLLING,
    )


def _values(key: str, before: Mapping[str, Setting], found: RestartLook) -> frozenset[str]:
    """Return what a setting may be: as it was, or as the files say."""
    setting = before.get(key)
    values = {(setting.value or "") if setting is not None else ""}
    judged = found.files.judged
    if judged is not None:
        values |= {
            where[key] for where in (judged.expected.at_start, judged.expected.settings) if key in where
        }
    return frozenset(values)
