"""Every operation there is. Commands, palette entries and pages in docs/operations/ come from here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from console.guard.verdict import Tier
from console.operations import verbs
from console.operations.observe import Observation
from console.operations.pause import PauseParameters, pause_standing, pause_statements
from console.operations.reload import carry_out_reload, reload_standing, reload_statements
from console.operations.resume import carry_out_resume, resume_standing, resume_statements
from console.operations.spec import Absence, OpSpec, Parameters, Scope

_POOLERS = frozenset({Scope.POOLER})
_BOTH = frozenset({Scope.POOLER, Scope.DATABASE})

_PAUSE: OpSpec[Observation] = OpSpec(
    verb=verbs.PAUSE,
    tier=Tier.FELT,
    parameters=PauseParameters,
    scopes=_BOTH,
    effects={
        "transaction": "clients finish their transaction, then wait at the next one",
        "statement": "clients finish their statement, then wait at the next one",
        "session": "clients keep their server until they disconnect; PAUSE cannot finish while they stay",
    },
    stand=pause_standing,
    statements=pause_statements,
    rescue=resume_statements,
    carry_out=None,
    verified_by=(
        "the answer is PAUSE, no server connection of the target is left, its state reads paused; "
        "at the end it reads as running"
    ),
    undo="resume",
    no_undo_reason=None,
    holds=True,
    leased=True,
    absence=Absence.BRIEF,
    serial="100%",
)
_RESUME: OpSpec[Observation] = OpSpec(
    verb=verbs.RESUME,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    scopes=_BOTH,
    effects=dict.fromkeys(("transaction", "statement", "session"), "waiting clients go on at once"),
    stand=resume_standing,
    statements=resume_statements,
    rescue=None,
    carry_out=carry_out_resume,
    verified_by="its state reads as not paused",
    undo=None,
    no_undo_reason="pausing again would be a new pause, to be planned and confirmed as one",
    rescues=True,
    serial="100%",
)
_RELOAD: OpSpec[Observation] = OpSpec(
    verb=verbs.RELOAD,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    scopes=_POOLERS,
    effects=dict.fromkeys(
        ("transaction", "statement", "session"),
        "clients stay connected, unless their database left the file",
    ),
    stand=reload_standing,
    statements=reload_statements,
    rescue=None,
    carry_out=carry_out_reload,
    verified_by="settings and databases are read before and after; settings must not fall to defaults",
    undo=None,
    no_undo_reason="the file it read is the new truth; put the old file back and reload again",
)

REGISTRY: Mapping[str, OpSpec[Any]] = MappingProxyType(
    {spec.name: spec for spec in (_PAUSE, _RESUME, _RELOAD)}
)
"""By command name, in the order of `verbs.VERBS`."""
