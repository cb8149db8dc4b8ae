"""A lease without a guardian process, for tests of what a run does with one. The real one: test_guardian*."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from console.errors import NodeError, Phase
from console.operations.lease.base import LeaseOrder, Tell
from console.operations.target import Target


@dataclass
class FakeLease:
    """Remembers what it was told."""

    order: LeaseOrder
    uncovered: Mapping[Target, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exposed: list[Target] = field(default_factory=list)
    told_held: list[Target] = field(default_factory=list)
    released: list[Target] = field(default_factory=list)
    handed_over_s: float | None = None
    closed: bool = False
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        return self.order.lease_id

    @property
    def left_to_guardian(self) -> set[Target]:
        """What a real guardian would have to lift once it is closed."""
        return set(self.exposed) - set(self.released)

    def expose(self, targets: Sequence[Target]) -> None:
        if self.lost.is_set():
            raise NodeError(Phase.PROTOCOL, "the guardian has ended")
        self.exposed += targets

    def held(self, targets: Sequence[Target]) -> None:
        self.told_held += targets

    async def release(self, targets: Sequence[Target]) -> None:
        self.released += targets

    async def hand_over(self, hold_s: float) -> None:
        self.handed_over_s = hold_s

    async def close(self) -> None:
        self.closed = True


class FakeLeases:
    """Arms `FakeLease`s."""

    def __init__(self) -> None:
        self.armed: list[FakeLease] = []
        self.cannot_cover: dict[Target, str] = {}
        self.fails: NodeError | None = None
        self._ahead = False

    def waits(self) -> bool:
        """Whether a guardian was started ahead, and waits for its order."""
        return self._ahead

    def prepare(self) -> None:
        self._ahead = True

    def dismiss(self) -> None:
        self._ahead = False

    async def arm(
        self,
        order: LeaseOrder,
        tell: Tell,  # noqa: ARG002
        *,
        timeout_s: float,  # noqa: ARG002
        progress: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> FakeLease:
        if self.fails is not None:
            raise self.fails
        self._ahead = False
        lease = FakeLease(order, dict(self.cannot_cover))
        self.armed.append(lease)
        return lease
