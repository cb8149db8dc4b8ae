"""How a run goes over many targets: waves, limits, and what is looked at between them. Pure.

The words are Ansible's (`serial`, `max_fail_percentage`) with two of its surprises mended: failures are
counted over the whole run, and a target that cannot be reached has failed (field-notes.md, 1.7 and 2d).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from console.errors import UsageError

T = TypeVar("T")
_SHARE = re.compile(r"(?P<number>\d{1,6})(?P<percent>%?)")


@dataclass(frozen=True, slots=True)
class Share:
    """A number of targets, or a percentage of all of the run's."""

    number: int
    is_percent: bool = False

    def of(self, total: int) -> int:
        """Return it as a number of targets; a percentage is rounded down."""
        return total * self.number // 100 if self.is_percent else self.number

    def __str__(self) -> str:
        return f"{self.number}{'%' if self.is_percent else ''}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How to go over the targets."""

    serial: tuple[Share, ...]
    """The sizes of the waves; the last one is repeated. A percentage gives at least one."""
    max_unavailable: int | None = None
    """Not more than so many targets at once, whatever the wave; None: no limit of its own."""
    max_failed: Share = Share(0)
    """With more failures than this in the whole run nothing further is begun."""
    soak_s: float = 0.0
    """How long the gate must stay open after a wave before the next one."""
    gate_timeout_s: float = 30.0
    """How long a wave may take to be healthy again."""
    max_wait_s: float = 1.0
    """The gate is shut while a client of the wave waits longer than this."""

    @property
    def words(self) -> str:
        """For people, e.g. `waves of 1, 25%, 100%; at most 0 failures`."""
        parts = [f"waves of {', '.join(str(share) for share in self.serial)}"]
        if self.max_unavailable is not None:
            parts.append(f"at most {self.max_unavailable} at once")
        parts.append(f"at most {self.max_failed} failed")
        if self.soak_s:
            parts.append(f"{self.soak_s:g} s of health between")
        return "; ".join(parts)


def parse_share(text: str, *, where: str) -> Share:
    """Read `3` or `25%`.

    Raises:
        UsageError: it is neither, or over 100 %.
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no number of targets", where=where, hint="write 3 or 25%")
    share = Share(int(found["number"]), bool(found["percent"]))
    if share.is_percent and share.number > 100:
        raise UsageError(f"{text} is more than all", where=where)
    return share


def parse_serial(text: str, *, where: str = "--serial") -> tuple[Share, ...]:
    """Read wave sizes, e.g. `1,25%,100%`.

    Raises:
        UsageError: a part is no number of targets, or 0.
    """
    shares = tuple(parse_share(part, where=where) for part in text.split(","))
    for share in shares:
        if share.number == 0:
            raise UsageError(f"a wave of {share} would never end", where=where, hint="write 1,25%,100%")
    return shares


def waves(
    targets: Sequence[T], rollout: Rollout, membership: Callable[[T], tuple[Hashable, Hashable] | None]
) -> tuple[tuple[T, ...], ...]:
    """Part the targets into waves, in their order.

    Args:
        targets: all of the run.
        rollout: the sizes.
        membership: the peer group of a target and which member it is: a wave never has two members of one
            group, but may have several targets of one member. None: it stands alone.
    """
    left = list(targets)
    found: list[tuple[T, ...]] = []
    while left:
        share = rollout.serial[min(len(found), len(rollout.serial) - 1)]
        size = max(1, share.of(len(targets)))
        if rollout.max_unavailable is not None:
            size = min(size, max(1, rollout.max_unavailable))
        wave: list[T] = []
        taken: dict[Hashable, Hashable] = {}
        for target in left:
            if len(wave) == size:
                break
            found_in = membership(target)
            if found_in is None or taken.setdefault(found_in[0], found_in[1]) == found_in[1]:
                wave.append(target)
        for target in wave:
            left.remove(target)
        found.append(tuple(wave))
    return tuple(found)
