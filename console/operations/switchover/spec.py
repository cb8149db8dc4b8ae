"""The switchover as an operation: what the engine is told of it."""

from __future__ import annotations

from console.guard.verdict import Tier
from console.operations.observe import Observation
from console.operations.resume import resume_statements
from console.operations.spec import OpSpec, Scope
from console.operations.switchover import words
from console.operations.switchover.choosing import choose, spread
from console.operations.switchover.looking import find_by_files, look_for_switchover
from console.operations.switchover.parameters import SwitchoverParameters
from console.operations.switchover.standing import switchover_standing, switchover_statements
from console.operations.switchover.work import switch_over

SWITCHOVER: OpSpec[Observation] = OpSpec(
    verb=words.SWITCHOVER,
    tier=Tier.CUT,
    parameters=SwitchoverParameters,
    scopes=frozenset({Scope.POOLER, Scope.DATABASE}),
    effects={
        "transaction": "clients finish their transaction, then wait; the next one is on the new primary",
        "statement": "clients finish their statement, then wait; the next one is on the new primary",
        "session": "clients keep their server until they disconnect; PAUSE cannot finish while they stay",
    },
    stand=switchover_standing,
    statements=switchover_statements,
    rescue=resume_statements,
    carry_out=None,
    verified_by=(
        "all are paused and drained; the replica has replayed everything and reads as a primary; databases "
        "read as leading to it; a client's login through each bouncer reaches it"
    ),
    undo=None,
    no_undo_reason=(
        "until the promotion is sent everything is undone by itself; after it there is no way back but "
        "another switchover, once the old primary is a replica"
    ),
    holds=True,
    leased=True,
    serial="100%",
    look=look_for_switchover,
    spread=spread,
    find=find_by_files,
    choose=choose,
    work=switch_over,
)
