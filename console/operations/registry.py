"""Every operation there is. Commands, palette entries and pages in docs/operations/ come from here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from console.guard.verdict import Tier
from console.operations import verbs
from console.operations.pause import carry_out_pause, pause_standing, pause_statements
from console.operations.reload import carry_out_reload, reload_standing, reload_statements
from console.operations.resume import carry_out_resume, resume_standing, resume_statements
from console.operations.spec import OpSpec, Parameters

_PAUSE = OpSpec(
    verb=verbs.PAUSE,
    tier=Tier.FELT,
    parameters=Parameters,
    one_database=True,
    effects={
        "transaction": "clients finish their transaction, then wait at the next one",
        "statement": "clients finish their statement, then wait at the next one",
        "session": "clients keep their server until they disconnect; PAUSE cannot finish while they stay",
    },
    stand=pause_standing,
    statements=pause_statements,
    rescue=resume_statements,
    carry_out=carry_out_pause,
    verified_by="the answer is PAUSE, no server connection of the target is left, its state reads paused",
    undo="resume",
    no_undo_reason=None,
)
_RESUME = OpSpec(
    verb=verbs.RESUME,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    one_database=True,
    effects=dict.fromkeys(("transaction", "statement", "session"), "waiting clients go on at once"),
    stand=resume_standing,
    statements=resume_statements,
    rescue=None,
    carry_out=carry_out_resume,
    verified_by="its state reads as not paused",
    undo=None,
    no_undo_reason="pausing again would be a new pause, to be planned and confirmed as one",
)
_RELOAD = OpSpec(
    verb=verbs.RELOAD,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    one_database=False,
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

REGISTRY: Mapping[str, OpSpec] = MappingProxyType({spec.name: spec for spec in (_PAUSE, _RESUME, _RELOAD)})
"""By command name, in the order of `verbs.VERBS`."""
