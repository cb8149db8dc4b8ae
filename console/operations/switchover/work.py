"""What a switchover does while its bouncers are held, and how each of them is let go.

Until the promotion is sent everything can be undone, and is: RESUME on the old primary. From then on nothing
is: what is left is finished for every bouncer, whatever happens to another one, and all are resumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from console.errors import PooldeckError
from console.operations.control import insist
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import Ending, Pausing
from console.operations.step import why
from console.operations.switchover.by_patroni import settled
from console.operations.switchover.looking import SwitchLook
from console.operations.switchover.moving import keep_copies, move
from console.operations.switchover.parameters import SwitchoverParameters
from console.operations.switchover.promoting import GoBack, NotKnown, Promotion
from console.operations.switchover.standing import UNFENCE_SQL
from console.operations.target import Target

if TYPE_CHECKING:
    from console.operations.holding import Held

WHO = "SELECT pg_is_in_recovery()::text, extract(epoch FROM pg_postmaster_start_time())::text"
_Row = tuple[str | None, ...]
_log = logging.getLogger(__name__)


async def switch_over(held: Held) -> Mapping[Target, Ending]:
    """Do the work; every target gets an ending, whatever happens."""
    return await _Switchover(held).run()


class _Switchover:
    def __init__(self, held: Held) -> None:
        self._held = held
        self._job = held.job
        self._wish: SwitchoverParameters = held.job.plan.parameters
        self._left, self._follower = self._wish.nodes
        self._promotion = Promotion(held)
        self._stalls_s: list[float] = []
        self._settling: asyncio.Task[tuple[bool, str]] | None = None
        """Patroni's part that nobody is held for: the old primary becomes a replica."""

    async def run(self) -> Mapping[Target, Ending]:
        promotion = self._promotion
        try:
            await promotion.run()
        except NotKnown as error:
            return self._all(self._not_known(str(error)))
        except asyncio.CancelledError:
            if not promotion.sent:
                await insist(promotion.undo)
                raise
        except (GoBack, PooldeckError) as error:
            words = str(error) if isinstance(error, GoBack) else why(error)
            return await self._after_trouble(words)
        except Exception as error:
            _log.exception("a switchover ended by an internal error")
            return await self._after_trouble(f"internal error: {type(error).__name__}")
        return await insist(self._finish)

    async def _after_trouble(self, words: str) -> Mapping[Target, Ending]:
        if self._promotion.sent:
            return self._all(self._not_known(words))
        return await insist(lambda: self._go_back(words))

    async def _go_back(self, words: str) -> Mapping[Target, Ending]:
        await self._promotion.undo()
        left = "".join(f"; {one}" for one in self._promotion.left)
        text = f"{words}; {self._follower.name} was not promoted, {self._left.name} stays the primary{left}"
        return self._all(Ending(text, interrupted=self._job.control.stopped))

    def _not_known(self, words: str) -> Ending:
        left, follower = self._left.name, self._follower.name

        async def then(receipt: TargetReceipt) -> TargetReceipt:
            ask = f"GET {self._left.patroni}/cluster, " if self._wish.by_patroni else ""
            steps: tuple[str, ...] = (
                f"see whether {follower} is a primary: {ask}SELECT pg_is_in_recovery()",
                "if it is: the same command again finishes the move of the bouncers",
            )
            if self._wish.fence == "read-only":
                steps = (*steps, f"if it is not, and never will be: on {left}: {UNFENCE_SQL}")
            return replace(receipt, outcome=Outcome.UNKNOWN, next_steps=(*receipt.next_steps, *steps))

        fenced = f"; {left} stays fenced, so writes fail" if self._wish.fence == "read-only" else ""
        return Ending(f"{words}; clients were let go on {left}{fenced}", then=then)

    def _all(self, ending: Ending) -> Mapping[Target, Ending]:
        return dict.fromkeys(self._held.pausings, ending)

    # -- after the promotion ------------------------------------------------------------------------

    async def _finish(self) -> Mapping[Target, Ending]:
        first: dict[str, Pausing] = {}
        for target, pausing in self._held.pausings.items():
            first.setdefault(target.bouncer, pausing)
        nodes = self._job.reach.switching
        assert nodes is not None, "promoted through them"
        started: str | None = None
        try:
            limit_s = self._job.planner.query_timeout_s(self._follower.name)
            started = (await nodes.state(self._follower.name, timeout_s=limit_s)).started
        except PooldeckError as error:
            self._job.tell(f"{self._follower.name} could not be read: {why(error)}", EventKind.WARNING)
        self._settling = self._old_follows()
        problems = dict(
            zip(
                first,
                await asyncio.gather(*(self._moved(one, started) for one in first.values())),
                strict=True,
            )
        )
        probes = {
            name: self._probe(one.step.ask.found)
            for name, one in first.items()
            if problems[name] is None and not self._wish.no_probe
        }
        return {
            target: self._ending(pausing, problems[target.bouncer], probes.get(target.bouncer), started)
            for target, pausing in self._held.pausings.items()
        }

    async def _moved(self, pausing: Pausing, started: str | None) -> str | None:
        try:
            return await move(pausing, started)
        except PooldeckError as error:
            return why(error)
        except Exception as error:
            _log.exception("a bouncer could not be moved")
            return f"internal error: {type(error).__name__}"

    def _old_follows(self) -> asyncio.Task[tuple[bool, str]] | None:
        """Begin to watch the old primary become a replica, where Patroni sees to that."""
        patronis, seen = self._job.reach.patronis, self._promotion.patroni
        if patronis is None or seen is None:
            return None
        return asyncio.create_task(
            settled(
                patronis,
                self._wish,
                seen.names,
                timeout_s=self._job.planner.query_timeout_s(self._follower.name),
                limit_s=self._wish.hold_s,
                is_stopped=lambda: self._job.control.stopped,
            )
        )

    async def _with_patroni(self, receipt: TargetReceipt) -> TargetReceipt:
        """Add whether the old primary follows by now, once it does or that is not waited for any longer."""
        if self._settling is None:
            return receipt
        if not self._settling.done():
            self._job.tell(f"waiting until {self._left.name} is a replica; clients are served meanwhile")
        follows, how = await asyncio.shield(self._settling)
        if follows:
            return replace(receipt, verified=(*receipt.verified, f"Patroni: {how}"))
        text = f"{self._left.name} is no replica within {self._wish.hold_s:g} s after it: Patroni: {how}"
        return replace(receipt, warnings=(*receipt.warnings, text))

    def _probe(self, found: SwitchLook) -> asyncio.Task[_Row | PooldeckError] | None:
        """Begin a client's login now: PgBouncer lets it wait, and answers it first when it is resumed."""
        clients, database = self._job.reach.clients, found.probe_database
        if clients is None or database is None:
            return None

        async def ask() -> _Row | PooldeckError:
            try:
                return await clients.ask_as_client(found.bouncer.name, database, WHO)
            except PooldeckError as error:
                return error

        return asyncio.create_task(ask())

    def _ending(
        self,
        pausing: Pausing,
        problem: str | None,
        probe: asyncio.Task[_Row | PooldeckError] | None,
        started: str | None,
    ) -> Ending:
        what = f"{self._left.name} → {self._follower.name}"

        async def then(receipt: TargetReceipt) -> TargetReceipt:
            receipt = self._with_stall(pausing, receipt)
            if problem is not None:
                again = (f"pooldeck switchover {self._left.name} --to {self._follower.name} … once more",)
                return replace(receipt, next_steps=(*receipt.next_steps, *again))
            failed, verified = await self._answered(probe, started)
            found: SwitchLook = pausing.step.ask.found
            note = await keep_copies(found)
            if note is not None:
                receipt = replace(receipt, warnings=(*receipt.warnings, note))
            if failed is not None:
                detail = f"{receipt.detail}; but a client's login through it: {failed}"
                return replace(receipt, outcome=Outcome.FAILED, detail=detail)
            return await self._with_patroni(replace(receipt, verified=(*receipt.verified, *verified)))

        if problem is not None:
            text = f"{self._follower.name} is the primary, but this bouncer was not moved: {problem}"
            return Ending(text, then=then)
        return Ending(what, good=True, what=what, then=then)

    def _with_stall(self, pausing: Pausing, receipt: TargetReceipt) -> TargetReceipt:
        step = pausing.step
        ended_s = step.answered_s.get(step.dialect.resume(step.target.database))
        if ended_s is None or pausing.sent_at_s is None:
            return receipt
        stall_s = ended_s - pausing.sent_at_s
        self._stalls_s.append(stall_s)
        if len(self._stalls_s) == len(self._held.pausings):
            self._job.tell(f"longest stall: {max(self._stalls_s):.2f} s, from PAUSE sent to RESUME answered")
        return replace(receipt, detail=f"{receipt.detail}; stall {stall_s:.2f} s")

    async def _answered(
        self, probe: asyncio.Task[_Row | PooldeckError] | None, started: str | None
    ) -> tuple[str | None, tuple[str, ...]]:
        """Return what is wrong with what a client reached, or what was found right."""
        if probe is None:
            return None, ()
        row = await probe
        if isinstance(row, PooldeckError):
            return why(row), ()
        if len(row) != 2 or row[0] != "false":
            return "it reached a server that is no primary", ()
        if started is not None and row[1] != started:
            return f"it reached another server than {self._follower.name}", ()
        return None, (f"a client's login through it reached {self._follower.name}, which takes writes",)
