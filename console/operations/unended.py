"""What is to be looked at when a run died before it wrote down how it ended."""

from __future__ import annotations

from collections.abc import Mapping

from console.model.unended import Unended

_LOOK: Mapping[str, str] = {
    "restart": "pooldeck process {bouncer}",
    "config set": "pooldeck config diff {bouncer}",
    "config push": "pooldeck config diff {bouncer}",
    "config rollback": "pooldeck config diff {bouncer}",
}
"""Verbs whose traces are not what MEND looks for: what shows them."""


def look_at(one: Unended) -> str | None:
    """Return the command that shows what has become of it; None: MEND's own look does."""
    command = _LOOK.get(one.op)
    return None if command is None else command.format(bouncer=one.bouncer)


def told(one: Unended) -> str:
    """Return what to say of it, and what to do next."""
    look = look_at(one)
    then = f"pooldeck mend {one.bouncer}"
    steps = f"next: {then}" if look is None else f"next: {look}; then {then} closes its record"
    return f"{one.words}, left no end on record; {steps}"
