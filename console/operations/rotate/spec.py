"""`rotate` as one of the registry's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from console.guard.verdict import Tier
from console.operations import verbs_rotate
from console.operations.observe import Observation
from console.operations.rotate.look import look_at_role
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.run import conduct_rotation
from console.operations.rotate.standing import rotate_rescue, rotate_standing, rotate_statements
from console.operations.rotate.survey import survey_rotation
from console.operations.rotate.two_roles_look import look_at_two_roles
from console.operations.rotate.two_roles_run import conduct_two_roles
from console.operations.rotate.two_roles_standing import (
    two_roles_rescue,
    two_roles_standing,
    two_roles_statements,
)
from console.operations.rotate.two_roles_survey import survey_two_roles
from console.operations.spec import Absence, OpSpec, Scope

T = TypeVar("T")


def _either(same: Callable[[Any], T], two: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return what does one thing where a role gets another secret, and another where --to names a second."""
    return lambda asked: (two if _parameters(asked).to else same)(asked)


def _parameters(asked: Any) -> RotateParameters:
    """Return what was asked for: of an Ask, a Look, a Survey, or of a Job's plan."""
    found: RotateParameters = getattr(asked, "plan", asked).parameters
    return found


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
    stand=_either(rotate_standing, two_roles_standing),
    statements=_either(rotate_statements, two_roles_statements),
    rescue=_either(rotate_rescue, two_roles_rescue),
    carry_out=None,
    conduct=_either(conduct_rotation, conduct_two_roles),
    verified_by=(
        "the new secret is let in through every pooler and database and the old one refused (with --to: both "
        "roles until --finish), files and settings read as meant, Postgres has the verifier, server "
        "connections log in, and clients go on"
    ),
    undo=None,
    no_undo_reason="one that is not over is taken back with --undo; one that is over by another rotation",
    leased=True,
    absence=Absence.BRIEF,
    serial="100%",
    look=_either(look_at_role, look_at_two_roles),
    survey=_either(survey_rotation, survey_two_roles),
)
