"""START as an operation: what planning, guarding, running and showing it needs."""

from __future__ import annotations

from console.guard.verdict import Tier
from console.operations import verbs_start
from console.operations.observe import Observation
from console.operations.spec import OpSpec, Scope
from console.operations.start.carry_out import carry_out_start, nothing_to_start
from console.operations.start.look import Down, look_if_down
from console.operations.start.parameters import StartParameters
from console.operations.start.plan import down_facts, down_standing, down_statements
from console.operations.start.running import look_at_running, no_statements, running_standing

_EFFECTS = dict.fromkeys(
    ("transaction", "statement", "session"), "nobody is connected now; clients can connect again"
)
_VERIFIED_BY = (
    "a new process answers, of the expected version; settings and databases read as its files say; a login "
    "through it"
)

_DOWN: OpSpec[Down] = OpSpec(
    verb=verbs_start.START,
    tier=Tier.HARMLESS,
    parameters=StartParameters,
    scopes=frozenset({Scope.POOLER}),
    effects=_EFFECTS,
    stand=down_standing,
    statements=down_statements,
    rescue=None,
    carry_out=carry_out_start,
    verified_by=_VERIFIED_BY,
    undo="shutdown",
    no_undo_reason=None,
    facts=down_facts,
    in_shell=True,
    look_outside=look_if_down,
)
START: OpSpec[Observation] = OpSpec(
    verb=verbs_start.START,
    tier=Tier.HARMLESS,
    parameters=StartParameters,
    scopes=frozenset({Scope.POOLER}),
    effects=_EFFECTS,
    stand=running_standing,
    statements=no_statements,
    rescue=None,
    carry_out=nothing_to_start,
    verified_by=_VERIFIED_BY,
    undo="shutdown",
    no_undo_reason=None,
    look=look_at_running,
    outside=_DOWN,
)
