"""`rotate` as one of the registry's operations."""

from __future__ import annotations

from console.guard.verdict import Tier
from console.operations import verbs_rotate
from console.operations.observe import Observation
from console.operations.rotate.look import look_at_role
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.run import conduct_rotation
from console.operations.rotate.standing import rotate_rescue, rotate_standing, rotate_statements
from console.operations.rotate.survey import survey_rotation
from console.operations.rotate.wanted import secrets_of_rotation
from console.operations.spec import Absence, OpSpec, Scope

ROTATE_SPEC: OpSpec[Observation] = OpSpec(
    verb=verbs_rotate.ROTATE,
    tier=Tier.FELT,
    parameters=RotateParameters,
    scopes=frozenset({Scope.POOLER}),
    effects={
        "transaction": "clients finish their transaction and wait until it is over; new logins need the new "
        "secret from then on",
        "statement": "clients finish their statement and wait until it is over; new logins need the new "
        "secret from then on",
        "session": "clients keep their server until they disconnect, so it cannot be done while they stay",
    },
    stand=rotate_standing,
    statements=rotate_statements,
    rescue=rotate_rescue,
    carry_out=None,
    conduct=conduct_rotation,
    verified_by=(
        "the new secret is let in through every pooler and database and the old one refused, the auth_file "
        "and settings read as meant, Postgres has the verifier, and clients go on"
    ),
    undo=None,
    no_undo_reason="an interrupted one is taken back with --undo; one that is over by another rotation",
    leased=True,
    absence=Absence.BRIEF,
    serial="100%",
    look=look_at_role,
    survey=survey_rotation,
    secrets=secrets_of_rotation,
)
