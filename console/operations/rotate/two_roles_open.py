"""The file of a rotation with two roles while a run goes on: how far it is, its copies, the ways on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from console.errors import PooldeckError
from console.operations.rotate.ends import placed
from console.operations.rotate.two_roles import ways_on
from console.operations.rotate.two_roles_copies import Copies
from console.operations.rotate.two_roles_file import Phase, TwoRolesFiles, TwoRolesState
from console.operations.rotate.two_roles_side import TwoRolesSide


@dataclass(slots=True)
class OpenRotation:
    """What is on disk of it."""

    files: TwoRolesFiles
    state: TwoRolesState | None = None
    """None: nothing was begun, or it is over."""

    @property
    def begun(self) -> TwoRolesState:
        """The state, of one that was begun."""
        assert self.state is not None, "asked only of one that was begun"
        return self.state

    async def write(self, state: TwoRolesState) -> None:
        """Put a state on disk. Raises JournalError."""
        await asyncio.to_thread(self.files.write, state)
        self.state = state

    async def at(self, phase: Phase) -> None:
        """Say that a phase is begun. Raises JournalError."""
        await self.write(self.begun.at(phase))

    def copies(self, side: TwoRolesSide) -> Copies:
        """Return the copies on one pooler's host."""
        return Copies(side.host, self.begun.run_id, side.host_limit_s)

    async def close(self, sides: Iterable[TwoRolesSide]) -> list[str]:
        """Remove the copies and the file: it is over; return what could not be."""
        state = self.begun
        try:
            for side in sides:
                await self.copies(side).forget(state.files.get(side.name, ()))
            await asyncio.to_thread(self.files.remove, state.run_id)
        except PooldeckError as error:
            return [f"left behind: {placed(error)}"]
        self.state = None
        return []

    @property
    def ways(self) -> tuple[str, ...]:
        """What a person can do next; () when nothing is open."""
        if self.state is None:
            return ()
        return (*ways_on(self.state), f"how far it came: {self.files.path(self.state.run_id)}")
