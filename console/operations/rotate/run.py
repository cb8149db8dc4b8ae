"""Carries a rotation out: one run over poolers, their hosts and Postgres, in one order, with one undo.

The order keeps at least one secret good at every moment: files are put in place while no pooler reads them,
then Postgres changes, then every pooler reads its file at once. Whatever fails before Postgres has changed is
undone by putting the files back; later the old verifier is stored again as well, while clients still wait.
How far it came is on disk before each step (`run_file`), and guardians know what to send (`two_leases`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from console.errors import JournalError, PooldeckError, UsageError
from console.operations.control import Stopped, insist
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import Ending, NotHeld, PauseRefused
from console.operations.rotate.canary import Canaries
from console.operations.rotate.direct import DirectLogins
from console.operations.rotate.ends import End, Over, all_of, placed, reason_of
from console.operations.rotate.goal import Goal
from console.operations.rotate.goals import Old, goal_of, secrets_of
from console.operations.rotate.look import RotateLook
from console.operations.rotate.nodes_side import NodesSide
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.pooler_side import PoolerSide
from console.operations.rotate.prepared import prepared
from console.operations.rotate.run_file import Phase, RunFiles, RunState
from console.operations.rotate.scheme import Scheme
from console.operations.rotate.server_logins import ServerLogins
from console.operations.rotate.two_leases import TwoLeases
from console.operations.step import Step, why
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.job import Job

_log = logging.getLogger(__name__)


async def conduct_rotation(job: Job) -> tuple[TargetReceipt, ...]:
    """Carry out an admitted rotation; return a receipt for every target."""
    run = _Rotation(job)
    try:
        return await run.run()
    finally:
        await insist(run.close)


class _Rotation:
    def __init__(self, job: Job) -> None:
        self._job = job
        whole = job.plan.whole
        assert whole is not None, "a rotation is planned as a whole"
        self._scheme: Scheme = whole.found
        self._asked: RotateParameters = job.plan.parameters
        self._sides: list[PoolerSide] = []
        self._steps: dict[Target, Step] = {}
        self._receipts: dict[Target, TargetReceipt] = {}
        self._leases: TwoLeases | None = None
        self._nodes: NodesSide | None = None
        self._direct: DirectLogins | None = None
        self._files: RunFiles | None = job.reach.run_files
        self._state: RunState | None = None
        self._end_at: float | None = None

    async def run(self) -> tuple[TargetReceipt, ...]:
        """See `conduct_rotation`."""
        try:
            end = await self._begin()
        except Over as over:
            end = End(Outcome.FAILED, over.detail, over.interrupted)
        except Exception as error:
            _log.exception("a rotation ended by an internal error")
            end = End(Outcome.UNKNOWN, f"internal error: {type(error).__name__}", next_steps=self._ways())
        await insist(lambda: self._finish(end))
        return tuple(self._receipts[item.target] for item in self._job.plan.targets)

    async def close(self) -> None:
        """Close every session; guardians end what is left."""
        for side in self._sides:
            await side.close()
        if self._leases is not None:
            await self._leases.close()
        await self._job.control.reap()

    # -- before anything changes ----------------------------------------------------------------------

    async def _begin(self) -> End:
        reach = self._job.reach
        if reach.roles is None or reach.logins is None or reach.wallet is None or self._files is None:
            raise Over("this session cannot log in to Postgres or as a client, so nothing was changed")
        try:
            steps = await self._prepare()
            secrets = await secrets_of(self._asked, self._scheme, reach.wallet, self._left())
            self._nodes = NodesSide(
                self._scheme, reach.roles, self._limit_s, lambda text: self._job.tell(text)
            )
            self._direct = DirectLogins(
                self._scheme,
                reach.roles,
                self._limit_s,
                self._job.tell,
                lambda text: self._job.tell(text, EventKind.WARNING),
            )
            self._sides = [self._side(step) for step in steps]
            await self._open()
            goal, state = await goal_of(
                self._job, self._asked, self._scheme, self._sides, secrets, self._left()
            )
        except JournalError as error:
            raise Over(f"{error}; nothing was changed") from None
        except (PooldeckError, Stopped) as error:
            stopped = isinstance(error, Stopped)
            text = "interrupted" if not isinstance(error, PooldeckError) else why(error)
            raise Over(f"{text}; nothing was changed", interrupted=stopped) from None
        return await self._work(goal, state, Old(secrets.old, goal.other))

    def _side(self, step: Step) -> PoolerSide:
        reach = self._job.reach
        assert reach.logins is not None, "looked at before"
        found: RotateLook = step.ask.found
        return PoolerSide(
            step,
            Canaries(reach.logins, step.target.bouncer, self._scheme.role, self._limit_s),
            ServerLogins(step, found.bouncer, reach.clients),
        )

    def _left(self) -> RunState | None:
        """Return what an earlier run of the role left."""
        assert self._files is not None, "looked at before"
        left = self._files.open_for(self._job.plan.fleet, self._scheme.role)
        wanted = self._asked.resume or self._asked.undo
        if left is None and wanted:
            raise UsageError(f"no rotation of {self._scheme.role} was interrupted here: nothing to do")
        if left is not None and not wanted:
            raise UsageError(
                f"a rotation of {self._scheme.role} was interrupted ({left.phase}): --resume or --undo it"
            )
        return left

    async def _prepare(self) -> list[Step]:
        self._steps, self._receipts, refused = await prepared(
            self._job, f"{self._scheme.role} is not known here"
        )
        if refused is not None:
            raise refused
        return list(self._steps.values())

    async def _open(self) -> None:
        await self._job.control.wait(all_of(side.open() for side in self._sides))
        self._leases = TwoLeases(self._job, [side.step for side in self._sides if side.pausing is not None])
        await self._job.control.wait(self._leases.arm(hold_s=self._asked.hold_s))
        for side in self._sides:
            side.step.lease = self._leases.current

    # -- the work -------------------------------------------------------------------------------------

    async def _work(self, goal: Goal, state: RunState, old: Old) -> End:
        self._state = state
        done = "the old secret is in force again" if self._asked.undo else "the new secret is in force"
        try:
            await self._write(state.phase)
            for side in self._sides:
                await side.keep_copies()
            await self._pause()
            await self._change(goal)
        except (Over, PooldeckError, Stopped, asyncio.CancelledError) as error:
            detail, interrupted = reason_of(error)
            return await insist(lambda: self._undo(detail, old, interrupted=interrupted))
        except Exception as error:
            _log.exception("a rotation ended by an internal error")
            detail, interrupted = f"internal error: {type(error).__name__}", False
            return await insist(lambda: self._undo(detail, old, interrupted=interrupted))
        return await insist(lambda: self._serve(goal, done))

    async def _pause(self) -> None:
        """Hold the clients of every pooler that needs it, all or none."""
        assert self._leases is not None, "armed before"
        pausing = [side for side in self._sides if side.pausing is not None]
        if not pausing:
            return
        self._leases.expose()
        for side in pausing:
            side.is_paused = True
        await asyncio.gather(*(self._hold(side) for side in pausing))
        self._leases.held()
        self._end_at = asyncio.get_running_loop().time() + self._asked.hold_s
        self._check()

    async def _hold(self, side: PoolerSide) -> None:
        assert side.pausing is not None, "asked before"
        try:
            await side.pausing.pause()
        except PauseRefused as error:
            side.pausing.refused = True
            raise Over(f"{side.name}: PAUSE was refused: {error}") from None
        except NotHeld as error:
            raise Over(f"{side.name}: {error}") from None

    def _check(self) -> None:
        """Raise when it must not go on: interrupted, no guardian, no time left."""
        if self._job.control.stopped:
            raise Stopped
        if self._leases is not None and self._leases.lost:
            raise Over("the guardian is gone")
        if self._end_at is not None and asyncio.get_running_loop().time() >= self._end_at:
            raise Over(f"it took longer than --hold {self._asked.hold_s:g}s")

    async def _change(self, goal: Goal) -> None:
        assert self._leases is not None, "armed before"
        assert self._nodes is not None, "made before"
        await self._phase(Phase.FILES)
        await all_of(side.put(goal.contents.get(side.name, {})) for side in self._sides)
        self._check()
        await self._phase(Phase.POSTGRES)
        # The last moment in which a run that dies leaves the old secret in force.
        await self._nodes.store(goal.stored, before_commit=self._leases.switch)
        await self._phase(Phase.POOLERS)
        await all_of([*(self._adopt(side, goal) for side in self._sides), self._try_directly(goal)])
        if goal.other is not None:
            for side in self._sides:
                await side.keep_out(goal.other)

    async def _adopt(self, side: PoolerSide, goal: Goal) -> None:
        """Have one pooler read its file, and try the secret at once, before anybody else can fail there."""
        await side.reload()
        if goal.secret is not None:
            await side.let_in(goal.secret)

    async def _try_directly(self, goal: Goal) -> None:
        if self._direct is not None and goal.secret is not None:
            await self._direct.prove(goal.secret, goal.other)

    async def _serve(self, goal: Goal, done: str) -> End:
        """Let clients go on, and see that they are served."""
        problems = await self._resume(Ending("done", good=True))
        try:
            if goal.secret is not None and not problems:
                await all_of(side.serve(goal.secret) for side in self._sides)
            if not problems:
                await all_of(side.see_servers() for side in self._sides)
        except PooldeckError as error:
            problems.append(placed(error))
        if problems:
            return End(Outcome.FAILED, f"{done}, but {'; '.join(problems)}", next_steps=self._ways())
        await self._phase(Phase.SERVED)
        for side in self._sides:
            await side.keep_good()
        await self._tidy()
        return End(Outcome.OK, done)

    # -- the way back ---------------------------------------------------------------------------------

    async def _undo(self, detail: str, old: Old, *, interrupted: bool) -> End:
        """Bring the old state about again, while clients still wait; then let them go on."""
        self._job.tell(f"{detail}: taking it back", EventKind.UNDOING)
        problems: list[str] = []
        back = self._state is not None and not self._asked.resume and not self._asked.undo
        if back:
            problems += await self._put_back(old)
        problems += await self._resume(Ending(detail, interrupted=interrupted))
        if problems or not back:
            left = (
                f"{detail}; not taken back: {'; '.join(problems)}"
                if problems
                else f"{detail}; as it was left"
            )
            return End(Outcome.FAILED, left, interrupted, self._ways())
        await self._tidy()
        return End(Outcome.FAILED, f"{detail}; taken back: the old secret is in force", interrupted)

    async def _put_back(self, old: Old) -> list[str]:
        """Store the old verifier and the old files again; return what could not be."""
        assert self._state is not None, "asked before"
        assert self._nodes is not None, "made before"
        problems = []
        changed = set(self._nodes.changed)
        try:
            await self._phase(Phase.UNDOING)
            if changed:
                stored = {node: old for node, old in self._state.before.items() if node in changed}
                scheme = replace(
                    self._scheme,
                    primaries=tuple(one for one in self._scheme.primaries if one.node in changed),
                )
                await replace(self._nodes, scheme=scheme).store(stored)
        except PooldeckError as error:
            problems.append(placed(error))
        for side in self._sides:
            try:
                await side.put_back()
                if side.was_reloaded:
                    has_other_keys = side.ever_trusted and side.here.passes_keys
                    await side.reload()
                    if (secret := old.known if has_other_keys else old.given) is not None:
                        await side.let_in(secret)
                    elif has_other_keys:
                        side.step.warn(
                            "its keys for server logins are the new secret's until a client logs in with the "
                            "old one: --old-from would have let the canary do that"
                        )
            except PooldeckError as error:
                problems.append(placed(error))
        return problems

    # -- common ---------------------------------------------------------------------------------------

    async def _resume(self, ending: Ending) -> list[str]:
        """End every pause at once; return what could not be."""
        paused = [side for side in self._sides if side.is_paused]
        receipts = await asyncio.gather(*(side.resume(ending) for side in paused))
        if self._leases is not None:
            running = [s.step.target for s in self._sides if s.pausing is not None and not s.is_paused]
            await self._leases.release(running)
        return [
            f"{side.name}: {receipt.detail}"
            for side, receipt in zip(paused, receipts, strict=True)
            if receipt is not None and side.is_paused
        ]

    async def _phase(self, phase: Phase) -> None:
        if self._state is not None:
            await self._write(phase)

    async def _write(self, phase: Phase) -> None:
        assert self._state is not None, "made before"
        assert self._files is not None, "looked at before"
        self._state = self._state.at(phase)
        await asyncio.to_thread(self._files.write, self._state)

    async def _tidy(self) -> None:
        """Remove the copies and the run's file; what stays is told."""
        assert self._state is not None, "made before"
        assert self._files is not None, "looked at before"
        try:
            for side in self._sides:
                await side.forget_copies()
            await asyncio.to_thread(self._files.remove, self._state.run_id)
            self._state = None
        except PooldeckError as error:
            self._job.tell(f"left behind: {placed(error)}", EventKind.WARNING)

    def _ways(self) -> tuple[str, ...]:
        """Return what a person can do about a rotation that is not over."""
        if self._state is None or self._files is None:
            return ()
        command = f"pooldeck rotate {self._scheme.role} --on {self._job.plan.selector}"
        where = self._files.path(self._state.run_id)
        return (f"{command} --resume", f"{command} --undo", f"how far it came: {where}")

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
            side = sides.get(item.target)
            step = self._steps.get(item.target)
            if step is None:
                receipt = self._job.skipped(item, end.detail)
            else:
                receipt = step.receipt(
                    end.outcome,
                    end.detail,
                    "paused" if side is not None and side.is_paused else item.present,
                    verified=tuple(side.verified) if side is not None else (),
                    interrupted=end.interrupted,
                    next_steps=end.next_steps,
                )
            self._receipts[item.target] = await self._job.finish(item, receipt)
