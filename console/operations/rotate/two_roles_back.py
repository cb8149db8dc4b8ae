"""The ways back of a rotation with two roles: the second role taken out, or the first one let in again.

They go on after a pooler that could not be put back, and say at the end what is not as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from console.config.pgbouncer_texts import ConfigTexts
from console.errors import PooldeckError
from console.operations.rotate.ends import placed
from console.operations.rotate.two_roles_edit import as_before, is_listed, scrambled
from console.operations.rotate.two_roles_file import Phase, TwoRolesState
from console.operations.rotate.two_roles_nodes import TwoRolesNodes
from console.operations.rotate.two_roles_open import OpenRotation
from console.operations.rotate.two_roles_side import TwoRolesSide


@dataclass(frozen=True, slots=True)
class WayBack:
    """From whatever was done so far."""

    rotation: OpenRotation
    nodes: TwoRolesNodes
    sides: Sequence[TwoRolesSide]
    """In the order in which they were changed."""
    old: SecretStr | None
    """The first role's secret; None: not given."""

    async def take_out(self) -> list[str]:
        """Bring about what was before the second role came; return what could not be."""
        begun = self.rotation.begun
        shut = begun.phase in (Phase.CLOSING, Phase.UNDOING)
        reached = begun.phase not in (Phase.PREPARED, Phase.ROLE)
        problems: list[str] = []
        try:
            await self.rotation.at(Phase.UNDOING)
            if shut:
                await self.nodes.let_first_in(may=True)
        except PooldeckError as error:
            return [placed(error)]
        for side in reversed(self.sides if reached else ()):
            try:
                if begun.files.get(side.name):
                    await self._put_back(side, shut=shut)
                if self.old is not None:
                    await side.still_lets_in(self.old)
            except PooldeckError as error:
                problems.append(placed(error))
        if problems:
            # Poolers may still log in as the second role, so Postgres keeps it.
            return problems
        try:
            if begun.phase is not Phase.PREPARED:
                await self.nodes.stand_down(begun.nodes, begun.verifier)
        except PooldeckError as error:
            problems.append(placed(error))
        return problems or await self.rotation.close(self.sides)

    async def _put_back(self, side: TwoRolesSide, *, shut: bool) -> None:
        role, to, files = side.role, side.to, self.rotation.begun.files[side.name]
        await side.read_again(files)
        kept = await self.rotation.copies(side).kept(side.texts, files)
        after = {path: file.after for path, file in files.items()}
        made = as_before(side.texts, kept, after, side.pooler, (role, to), shut_out=shut)
        if is_listed(side.texts, side.pooler, to) and not is_listed(made, side.pooler, to):
            await side.adopt(scrambled(side.texts, side.pooler, to))
        await side.adopt(made)
        forced = {row.name for row in side.seen.databases if row.force_user == role}
        if forced:
            await side.drained(forced)

    async def open_again(self, begun: Mapping[str, ConfigTexts], state: TwoRolesState) -> list[str]:
        """Let the first role in again, by the files as they were; return what could not be.

        Args:
            begun: the files of each pooler as both roles were in them.
            state: the rotation's as it was then.
        """
        problems = []
        for side in reversed(self.sides):
            texts = begun[side.name]
            try:
                if side.changed:
                    await side.read_again([path for path, file in texts.files.items() if file.content])
                    await side.adopt(texts)
                now = self.rotation.begun.files.get(side.name, {})
                await self.rotation.copies(side).forget(now.keys() - state.files.get(side.name, {}).keys())
            except PooldeckError as error:
                problems.append(placed(error))
        try:
            await self.nodes.let_first_in(may=True)
            if not problems:
                await self.rotation.write(state)
        except PooldeckError as error:
            problems.append(placed(error))
        return problems
