"""Carries a rotation with two roles out, one half at a time; the first role works until the end.

How far it came is on disk before each step (`two_roles_file`). Every step may be done again: that is how
`--resume` and `--finish` go on. A first half that fails and `--undo` go the same way back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from console.config.pgbouncer_edit import changed_paths
from console.config.pgbouncer_texts import ConfigTexts
from console.errors import JournalError, PooldeckError
from console.operations.control import Stopped, insist
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.rotate.ends import End, Over, all_of, placed, reason_of
from console.operations.rotate.layout import Method
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.prepared import prepared
from console.operations.rotate.two_roles import Half, TwoRolesScheme, why_not_now
from console.operations.rotate.two_roles_back import WayBack
from console.operations.rotate.two_roles_file import Phase, TwoRolesFiles, TwoRolesState
from console.operations.rotate.two_roles_goal import (
    TwoSecrets,
    file_states,
    gone_on,
    let_in,
    shut_out,
    two_secrets,
)
from console.operations.rotate.two_roles_nodes import TwoRolesNodes
from console.operations.rotate.two_roles_open import OpenRotation
from console.operations.rotate.two_roles_side import TwoRolesSide
from console.operations.rotate.two_roles_standing import tried
from console.operations.step import Step
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.job import Job

_log = logging.getLogger(__name__)
Back = Callable[[], Coroutine[Any, Any, list[str]]]
"""A way back; returns what could not be taken back."""


async def conduct_two_roles(job: Job) -> tuple[TargetReceipt, ...]:
    """Carry out one admitted half; return a receipt for every target."""
    run = _TwoRoles(job)
    try:
        return await run.run()
    finally:
        await insist(run.close)


class _TwoRoles:
    def __init__(self, job: Job) -> None:
        self._job = job
        whole = job.plan.whole
        assert whole is not None, "a rotation is planned as a whole"
        self._scheme: TwoRolesScheme = whole.found
        self._asked: RotateParameters = job.plan.parameters
        self._steps: dict[Target, Step] = {}
        self._receipts: dict[Target, TargetReceipt] = {}
        self._sides: list[TwoRolesSide] = []
        self._nodes: TwoRolesNodes | None = None
        assert job.reach.run_files is not None, "the plan has seen to that"
        self._rotation = OpenRotation(TwoRolesFiles(job.reach.run_files.folder))
        self._old: SecretStr | None = None

    async def run(self) -> tuple[TargetReceipt, ...]:
        """See `conduct_two_roles`."""
        try:
            end = await self._begin()
        except Over as over:
            end = End(Outcome.FAILED, over.detail, over.interrupted)
        except Exception as error:
            _log.exception("a rotation with two roles ended by an internal error")
            end = End(
                Outcome.UNKNOWN, f"internal error: {type(error).__name__}", next_steps=self._rotation.ways
            )
        await insist(lambda: self._finish(end))
        return tuple(self._receipts[item.target] for item in self._job.plan.targets)

    async def close(self) -> None:
        """Close every session."""
        for side in self._sides:
            await side.close()
        await self._job.control.reap()

    # -- before anything changes ----------------------------------------------------------------------

    async def _begin(self) -> End:
        reach = self._job.reach
        if reach.pairs is None or reach.roles is None or reach.logins is None or reach.run_files is None:
            raise Over("this session cannot log in to Postgres or as a client, so nothing was changed")
        try:
            self._rotation.state = await asyncio.to_thread(self._left)
            self._steps, self._receipts, refused = await prepared(
                self._job, f"{self._scheme.role} is not known here"
            )
            if refused is not None:
                raise refused
            if reach.wallet is None:
                raise Over("this session has no source of secrets, so nothing was changed")
            secrets = await two_secrets(self._asked, self._scheme, reach.wallet)
            self._old = secrets.old
            for text in secrets.warnings:
                self._job.tell(f"the new secret: {text}", EventKind.WARNING)
            self._nodes = TwoRolesNodes(
                self._scheme, reach.pairs, reach.roles, self._limit_s, self._tell, self._warn
            )
            self._sides = self._ordered(
                TwoRolesSide(step, reach.logins, self._scheme.role, self._scheme.to)
                for step in self._steps.values()
            )
            await self._job.control.wait(all_of(side.open() for side in self._sides))
            return await self._half(secrets)
        except JournalError as error:
            raise Over(f"{error}; nothing was changed") from None
        except (PooldeckError, Stopped) as error:
            stopped = isinstance(error, Stopped)
            text = placed(error) if isinstance(error, PooldeckError) else "interrupted"
            raise Over(f"{text}; nothing was changed", interrupted=stopped) from None

    def _left(self) -> TwoRolesState | None:
        """Return what is open, as it is now; see `two_roles.why_not_now`."""
        left = self._rotation.files.touching(self._job.plan.fleet, self._scheme.role, self._scheme.to)
        problem = why_not_now(self._scheme.half, left, self._asked)
        if problem is not None:
            raise Over(f"{problem}; nothing was changed")
        return left

    def _ordered(self, sides: Iterable[TwoRolesSide]) -> list[TwoRolesSide]:
        place = {name: number for number, name in enumerate(self._scheme.order)}
        return sorted(sides, key=lambda side: place.get(side.name, len(place)))

    async def _half(self, secrets: TwoSecrets) -> End:
        match self._scheme.half:
            case Half.FINISH:
                return await self._shut_out(secrets)
            case Half.UNDO:
                return await self._take_out()
            case _:
                return await self._let_in(secrets)

    # -- the first half -------------------------------------------------------------------------------

    async def _let_in(self, secrets: TwoSecrets) -> End:
        assert secrets.new is not None, "this half has it"
        made = let_in(self._sides, secrets.new)
        if self._rotation.state is None and not secrets.is_there:
            for side in self._sides:
                await side.nobody_uses(self._scheme.to)
        state = self._begun(secrets, made)
        try:
            await self._rotation.write(state)
            for side in self._sides:
                await self._rotation.copies(side).keep(side.texts, state.files[side.name])
            await self._work(secrets, made)
        except (Over, PooldeckError, Stopped, asyncio.CancelledError) as error:
            return await self._failed(*reason_of(error), self._first_back)
        except Exception as error:
            _log.exception("a rotation with two roles ended by an internal error")
            return await self._failed(f"internal error: {type(error).__name__}", False, self._first_back)
        role, to = self._scheme.role, self._scheme.to
        return End(
            Outcome.OK,
            f"both work: move your applications from {role} to {to}, then --finish",
            next_steps=self._rotation.ways,
        )

    async def _work(self, secrets: TwoSecrets, made: Mapping[str, ConfigTexts]) -> None:
        assert secrets.new is not None, "this half has it"
        assert self._nodes is not None, "made before"
        self._check()
        await self._rotation.at(Phase.ROLE)
        await self._nodes.stand_in(secrets.new.verifier)
        await self._nodes.replicas()
        seen = await self._nodes.prove(secrets.new.clear)
        self._sides[0].verified += seen
        await self._rotation.at(Phase.POOLERS)
        for side in self._sides:
            self._check()
            if self._rotation.begun.files[side.name]:
                await side.adopt(made[side.name])
            await self._prove(side, secrets)
        await self._rotation.at(Phase.BOTH)

    async def _prove(self, side: TwoRolesSide, secrets: TwoSecrets) -> None:
        """See that the second role serves on one pooler, and that the first one still does."""
        assert secrets.new is not None, "this half has it"
        forced = {row.name for row in side.seen.databases if row.force_user == self._scheme.to}
        if forced:
            await side.drained(forced)
        await side.lets_in(secrets.new.clear)
        untried = forced - {place.database for place in tried(side.step.ask)}
        if untried:
            await side.serves_by(untried, self._nodes_behind, self._job.reach.backends)
        places = (*side.look.places, *side.look.new_places)
        asked = {place.database for place in places if place.method is Method.AUTH_USER}
        if asked:
            await side.asks_for_others(asked)
        if secrets.old is not None:
            await side.still_lets_in(secrets.old)

    @property
    def _nodes_behind(self) -> frozenset[str]:
        return frozenset((*self._scheme.pairs, *self._scheme.base.replicas))

    def _begun(self, secrets: TwoSecrets, made: Mapping[str, ConfigTexts]) -> TwoRolesState:
        """Return what the run's file begins with, or goes on with."""
        assert secrets.new is not None, "this half has it"
        assert self._nodes is not None, "made before"
        fresh = {side.name: file_states(side, made[side.name]) for side in self._sides}
        left = self._rotation.state
        if left is None:
            job, scheme = self._job, self._scheme
            return TwoRolesState(
                run_id=job.run_id,
                fleet=job.plan.fleet,
                role=scheme.role,
                to=scheme.to,
                selector=job.plan.selector,
                begun_at_s=job.clock.wall_s(),
                verifier=secrets.new.verifier,
                nodes=self._nodes.before(),
                files=fresh,
            )
        if left.phase is Phase.PREPARED:
            return replace(left, files=fresh)
        return replace(
            left, files={name: gone_on(left.files.get(name, {}), files) for name, files in fresh.items()}
        )

    # -- the second half ------------------------------------------------------------------------------

    async def _shut_out(self, secrets: TwoSecrets) -> End:
        assert self._nodes is not None, "made before"
        role, to = self._scheme.role, self._scheme.to
        for side in self._sides:
            await side.nobody_uses(role)
        begun = {side.name: side.texts for side in self._sides}
        state = self._rotation.begun
        try:
            await self._rotation.at(Phase.CLOSING)
            await self._nodes.let_first_in(may=False)
            for side in self._sides:
                self._check()
                await side.nobody_uses(role)
                await self._close_one(side, secrets)
        except (Over, PooldeckError, Stopped, asyncio.CancelledError) as error:
            first_time = state.phase is Phase.BOTH
            back = (lambda: self._way_back.open_again(begun, state)) if first_time else None
            return await self._failed(*reason_of(error), back)
        except Exception as error:
            _log.exception("a rotation with two roles ended by an internal error")
            return await self._failed(f"internal error: {type(error).__name__}", False, None)
        left = await self._rotation.close(self._sides)
        if left:
            return End(
                Outcome.FAILED, f"{role} is shut out, but {'; '.join(left)}", next_steps=self._rotation.ways
            )
        return End(Outcome.OK, f"{role} is shut out, and {to} has taken over")

    async def _close_one(self, side: TwoRolesSide, secrets: TwoSecrets) -> None:
        made = shut_out(side.texts, side.pooler, self._scheme.role)
        state = self._rotation.begun
        files = gone_on(state.files.get(side.name, {}), file_states(side, made[-1]))
        await self._rotation.write(replace(state, files={**state.files, side.name: files}))
        await self._rotation.copies(side).keep(side.texts, files)
        for texts in made:
            if changed_paths(side.texts, texts):
                side.changed = True
                await side.adopt(texts)
        if secrets.old is not None:
            await side.keeps_out(secrets.old)

    # -- the way back ---------------------------------------------------------------------------------

    @property
    def _way_back(self) -> WayBack:
        assert self._nodes is not None, "made before"
        return WayBack(self._rotation, self._nodes, self._sides, self._old)

    @property
    def _first_back(self) -> Back | None:
        """Of a first half that fails; one that was resumed stays as it was left."""
        begun = self._scheme.half is Half.FIRST and self._rotation.state is not None
        return self._way_back.take_out if begun else None

    async def _take_out(self) -> End:
        role, to = self._scheme.role, self._scheme.to
        for side in self._sides:
            await side.nobody_uses(to)
        problems = await insist(self._way_back.take_out)
        if problems:
            text = f"{to} is not out everywhere: {'; '.join(problems)}"
            return End(Outcome.FAILED, text, next_steps=self._rotation.ways)
        return End(Outcome.OK, f"{to} is taken out again, and {role} works as before")

    async def _failed(self, detail: str, interrupted: bool, back: Back | None) -> End:
        """Go the way back, where there is one, and say what came of it."""
        if back is None:
            return End(Outcome.FAILED, f"{detail}; as it was left", interrupted, self._rotation.ways)
        self._job.tell(f"{detail}: taking it back", EventKind.UNDOING)
        problems = await insist(back)
        if problems:
            text = f"{detail}; not taken back: {'; '.join(problems)}"
            return End(Outcome.FAILED, text, interrupted, self._rotation.ways)
        return End(Outcome.FAILED, f"{detail}; taken back", interrupted, self._rotation.ways)

    # -- common ---------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._job.control.stopped:
            raise Stopped

    def _tell(self, text: str) -> None:
        self._job.tell(text)

    def _warn(self, text: str) -> None:
        self._job.tell(text, EventKind.WARNING)
        if self._sides:
            self._sides[0].step.warnings.append(text)

    @property
    def _limit_s(self) -> float:
        limits = [self._job.planner.query_timeout_s(item.target.bouncer) for item in self._job.plan.targets]
        return max(limits, default=5.0)

    async def _finish(self, end: End) -> None:
        """Give every target its receipt."""
        sides = {side.step.target: side for side in self._sides}
        for item in self._job.plan.targets:
            if item.target in self._receipts:
                continue
            step, side = self._steps.get(item.target), sides.get(item.target)
            if step is None:
                receipt = self._job.skipped(item, end.detail)
            else:
                receipt = step.receipt(
                    end.outcome,
                    end.detail,
                    item.present,
                    verified=tuple(side.verified) if side is not None else (),
                    interrupted=end.interrupted,
                    next_steps=end.next_steps,
                )
            self._receipts[item.target] = await self._job.finish(item, receipt)
