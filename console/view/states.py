"""State words with their glyph, tone and rank, and what freshness does to the numbers beside them.

It must not decide what a state is: `console.model.derive` and the collector do.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from console.model.fleet import (
    Connecting,
    Fresh,
    Freshness,
    PoolerSnapshot,
    PoolerState,
    PostgresState,
    Resting,
    Stale,
    Unreachable,
)
from console.model.sample import Sample
from console.view import numbers
from console.view.cells import Cell, Tone

_LOOKS: Final = MappingProxyType(
    {
        "unreachable": ("✗", Tone.BAD),
        "suspended": ("■", Tone.BAD),
        "paused": ("‖", Tone.WARN),
        "paused?": ("‖", Tone.WARN),
        "db paused": ("‖", Tone.WARN),
        "db disabled": ("/", Tone.WARN),
        "disabled": ("/", Tone.WARN),
        "stale": ("~", Tone.WARN),
        "shutdown": ("↓", Tone.WARN),
        "connecting": ("…", Tone.INFO),
        "reachable": ("○", Tone.PLAIN),
        "up": ("●", Tone.GOOD),
    }
)
"""Worst first; this order is also the rank that "faults first" uses."""
RANK: Final = MappingProxyType({word: rank for rank, word in enumerate(_LOOKS)})
FAULTS: Final = frozenset(word for word in _LOOKS if word not in ("up", "reachable", "connecting"))
STATE_WIDTH: Final = 13
HURT_US: Final = 1_000_000
"""A client that waited this long makes its pool a fault; shorter waits come and go in healthy pools."""


def state_cell(state: PoolerState | PostgresState | str) -> Cell:
    """Return glyph and word: `● up`, `✗ unreachable`."""
    glyph, tone = _LOOKS.get(str(state), ("?", Tone.WARN))
    return Cell(f"{glyph} {state}", tone)


def rank(state: str) -> int:
    """Return the place of a state word in "faults first"; unknown words come first."""
    return RANK.get(str(state), -1)


def urgency(state: str, maxwait_us: int | None) -> tuple[float, int]:
    """Return where a row stands in "faults first": lower is worse.

    A wait of over 5 s ranks with the pauses, one of over 1 s before a bouncer that is only stale. Steps
    and not numbers, so that rows of a healthy fleet do not dance every second.
    """
    wait = maxwait_us or 0
    hurt = 0 if wait > 5 * HURT_US else 1 if wait > HURT_US else 2
    ranked = (RANK["paused"], RANK["stale"] - 0.5, len(RANK))[hurt]
    return min(rank(state), ranked), hurt


def age_s(freshness: Freshness) -> float | None:
    """Return how old the numbers are; None when there are none."""
    return None if isinstance(freshness, Connecting) else freshness.age_s


def is_old(freshness: Freshness) -> bool:
    """True when numbers must be dimmed: they are not from the last tick."""
    return not isinstance(freshness, Fresh)


def current_sample(pooler: PoolerSnapshot) -> Sample | None:
    """Return the sample whose numbers may be shown; None for a pooler that does not answer.

    What an unreachable pooler said last is history, shown with its age in the details only.
    """
    return pooler.sample if isinstance(pooler.freshness, Fresh | Stale) else None


def age_cell(freshness: Freshness) -> Cell:
    """Return the age of the numbers, loud when it is more than a tick or two."""
    if isinstance(freshness, Connecting):
        return Cell(numbers.NOT_AVAILABLE, Tone.DIM)
    if isinstance(freshness, Unreachable):
        return Cell(numbers.age(freshness.age_s), Tone.BAD if freshness.age_s is not None else Tone.DIM)
    if isinstance(freshness, Resting):
        return Cell(numbers.age(freshness.age_s), Tone.DIM)
    return Cell(numbers.age(freshness.age_s), Tone.WARN if isinstance(freshness, Stale) else Tone.DIM)


def unread(pooler: PoolerSnapshot) -> str | None:
    """Say in one line what an answering pooler could not be asked for; None when all was read."""
    sample = current_sample(pooler)
    if sample is None or not sample.unread:
        return None
    what, why = min(sample.unread.items())
    more = len(sample.unread) - 1
    also = f", and {more} more" if more else ""
    return f"SHOW {what} not read{also} (d tells all): {why}"


def trouble(freshness: Freshness) -> str | None:
    """Say in one line why a node does not answer, its phase first; None when it does."""
    if isinstance(freshness, Fresh):
        return None
    if isinstance(freshness, Connecting):
        return "first connection is being made"
    if isinstance(freshness, Resting):
        return (
            f"{freshness.reason}; our own session is closed so that it can exit; watched again once a new "
            "process answers, :retry tries now"
        )
    text = f"{freshness.phase}: {freshness.error}"
    if isinstance(freshness, Stale):
        return f"{text}; numbers are {numbers.age(freshness.age_s)} old"
    retry = freshness.retry_in_s
    text += "; trying now" if retry is None else f"; next try in {numbers.age(retry)}"
    return f"{text}; {freshness.hint}" if freshness.hint else text
