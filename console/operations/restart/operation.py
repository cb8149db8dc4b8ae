"""RESTART as an operation: what planning, guarding, running and showing it needs."""

from __future__ import annotations

from console.guard.verdict import Tier
from console.operations import verbs_restart
from console.operations.observe import Observation
from console.operations.restart.carry_out import carry_out_restart
from console.operations.restart.look import look_for_restart
from console.operations.restart.methods import RestartParameters
from console.operations.restart.plan import restart_rescue, restart_standing, restart_statements
from console.operations.spec import OpSpec, Scope

RESTART: OpSpec[Observation] = OpSpec(
    verb=verbs_restart.RESTART,
    tier=Tier.FELT,
    parameters=RestartParameters,
    scopes=frozenset({Scope.POOLER}),
    effects={
        "transaction": "rolling and takeover cut nobody; drain cuts between transactions; plain cuts at once",
        "statement": "rolling and takeover cut nobody; drain cuts between statements; plain cuts at once",
        "session": "rolling and drain wait until clients leave; takeover cuts nobody; plain cuts at once",
    },
    stand=restart_standing,
    statements=restart_statements,
    rescue=restart_rescue,
    carry_out=carry_out_restart,
    verified_by=(
        "another process answers, of the expected version and with the same identity; its settings and "
        "databases are compared; a login through it"
    ),
    undo=None,
    no_undo_reason="a process that has ended does not come back",
    leased=True,
    look=look_for_restart,
)
