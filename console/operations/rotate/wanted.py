"""Which secrets of a rotation a person may be asked for. Pure."""

from __future__ import annotations

from functools import partial

from console.config.secret_policy import Judgement, judge_secret
from console.operations.rotate.parameters import RotateParameters
from console.operations.secrets_wanted import SecretWanted


def secrets_of_rotation(asked: RotateParameters) -> tuple[SecretWanted, ...]:
    """Return the new secret, unless one is taken back, and the old one, which is always welcome."""
    new = SecretWanted(
        which="new",
        role=asked.to or asked.role,
        parameter="secret_from",
        source=asked.secret_from,
        purpose="the one of the rotation that was interrupted" if asked.resume else "",
        twice=not asked.resume,
        judge=None if asked.resume else partial(_judged, role=asked.to or asked.role),
    )
    old = SecretWanted(
        which="old",
        role=asked.role,
        parameter="old_from",
        source=asked.old_from,
        purpose="it is tried in the end" if asked.undo else "it is tried afterwards",
    )
    return (old,) if asked.undo or asked.finish else (new, old)


def _judged(password: str, role: str) -> Judgement:
    return judge_secret(password, role)
