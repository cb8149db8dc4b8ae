"""A guardian ends one pause: it looks whose it is, resumes it if it is ours, reads back, and tries again.

It uses the very code of `resume` (trap T4 included). Nothing is sent to another process, nor to end somebody
else's pause. When to lift is `guardian`'s to say; what is done is told to `books`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from console.clock import Clock
from console.errors import AdminError, NodeError, Phase, PooldeckError
from console.operations.control import Control
from console.operations.lease.books import Books
from console.operations.lease.evidence import Standing
from console.operations.lease.protocol import Limits
from console.operations.lease.store import LeasePhase
from console.operations.lease.watch import Glance, Guarded, Watch
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import LATE_LIMIT_S, LATE_POLL_S
from console.operations.reach import Reach
from console.operations.resume import resume_over
from console.operations.sessions import WriteSession
from console.operations.shield import RETRY_SETTING, shield_statements
from console.operations.spec import Ask, Parameters
from console.operations.step import Step, why

FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 5.0
STRANGER_LIMIT_S = 10.0
"""So long logins may meet another process before ours counts as gone (trap T21)."""
LATE_MOST_S = 120.0
"""A network that was silent for long may deliver a dead run's PAUSE that much later, not more."""
_SLOW_POLL_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lifted:
    """What has become of a target."""

    phase: LeasePhase
    receipt: TargetReceipt


class Lifting:
    """Lifts one target, once."""

    def __init__(
        self,
        watch: Watch,
        one: Guarded,
        reason: str,
        *,
        reach: Reach,
        clock: Clock,
        limits: Limits,
        books: Books,
    ) -> None:
        self._watch = watch
        self._one = one
        self._reason = reason
        self._clock = clock
        self._limits = limits
        self._books = books
        self._begun_s = clock.monotonic_s()
        self._shield = reach.shields.of(watch.name)
        self._running_since_s: float | None = None
        self._late_s = LATE_LIMIT_S
        self._trouble: str | None = None
        """Why the last try came to nothing; None: it did not."""
        self._sent = False
        """RESUME was sent at least once."""
        self._told: tuple[str, ...] = ()
        """The statements last recorded as about to be sent."""
        self._step = Step(
            ask=Ask(one.target, watch.before, Parameters(timeout_s=watch.query_timeout_s), watch.dialect),
            statements=one.cover.lift,
            already=False,
            present="not read",
            reach=reach,
            clock=clock,
            control=Control(),
            query_timeout_s=watch.query_timeout_s,
            say=self._say,
        )

    async def lift(self) -> Lifted:
        """Lift it; return what has become of it. It is tried for `Limits.retry_s`."""
        retry_s = FIRST_RETRY_S
        # Those of one bouncer are begun together: its shield stays up until each has had its first try.
        with self._shield.expect():
            found = await self._once()
        async with self._watch.turn:
            await self._shield.settle(self._step, self._watch.open_session, self._watch.query_timeout_s)
        while found is None:
            if self._clock.monotonic_s() - self._begun_s >= self._limits.retry_s:
                found = self._gave_up()
            elif self._trouble is None:
                await asyncio.sleep(LATE_POLL_S if self._ran_s < LATE_LIMIT_S else _SLOW_POLL_S)
                found = await self._once()
            else:
                await asyncio.sleep(retry_s)
                retry_s = min(LONGEST_RETRY_S, retry_s * 2)
                found = await self._once()
        return replace(found, receipt=self._step.late(found.receipt))

    async def _once(self) -> Lifted | None:
        """Try it once; None: not yet, and `_trouble` says what went wrong, if anything."""
        trouble: str | None = None
        try:
            async with self._watch.turn:
                return await self._try()
        except PooldeckError as error:
            trouble = why(error)
        except Exception as error:  # whatever it is, nobody else is there to try again
            _log.exception("%s: an internal error", self._one.target)
            trouble = f"internal error: {type(error).__name__}"
        finally:
            if trouble is not None and trouble != self._trouble:
                _log.warning("%s: not lifted yet: %s", self._one.target, trouble)
            self._trouble = trouble
        return None

    @property
    def _ran_s(self) -> float:
        """For how long it has been seen running without a break."""
        since = self._running_since_s
        return 0.0 if since is None else self._clock.monotonic_s() - since

    async def _try(self) -> Lifted | None:
        """Look, and do what is to be done; None: look again.

        Raises:
            PooldeckError: it is to be tried again later.
        """
        watch = self._watch
        seen = await watch.glance(sure=True)
        paused = seen.of(self._one.target)
        self._step.present = "not listed" if paused is None else "paused" if paused else "running"
        verdict = watch.judge(self._one, seen)
        match verdict.standing:
            case Standing.GONE:
                if watch.met_stranger and self._clock.monotonic_s() - self._begun_s < STRANGER_LIMIT_S:
                    await watch.drop()
                    raise NodeError(Phase.PROTOCOL, "another process answered", where=watch.name)
                return self._over(LeasePhase.ENDED, f"{verdict.because}; nothing was sent to the new one")
            case Standing.FOREIGN:
                phase = LeasePhase.LIFTED if self._sent else LeasePhase.ENDED
                return self._over(phase, f"{verdict.because}; that pause was left alone")
            case Standing.RUNNING:
                return await self._running()
            case Standing.OURS:
                self._running_since_s = None
                return await self._resume(seen)

    async def _running(self) -> Lifted | None:
        """Wait for a PAUSE that may still be on its way; put back what a dead run left changed."""
        now = self._clock.monotonic_s()
        if self._running_since_s is None:
            self._running_since_s = now
            # What held our questions up may hold the dead run's PAUSE up for as long again.
            self._late_s = min(LATE_MOST_S, max(LATE_LIMIT_S, now - self._begun_s))
        was_held = self._one.traffic_held is not None
        if not was_held and not self._sent and self._ran_s < self._late_s:
            return None
        await self._put_back()
        if self._sent:
            return self._over(LeasePhase.LIFTED, "it was resumed, and reads as running", Outcome.OK)
        return self._over(LeasePhase.LIFTED, "it was running already, so no RESUME was sent")

    async def _put_back(self) -> None:
        """Restore the setting that a run leaves changed when it dies amid its own RESUME (trap T4)."""
        statements = shield_statements(self._watch.before)
        if statements is None or self._shield.is_up:
            return
        restore = statements[1]
        session = await self._watch.session()
        table = await session.show("CONFIG", timeout_s=self._watch.query_timeout_s)
        setting = self._watch.dialect.parse_config(table).get(RETRY_SETTING)
        if setting is not None and setting.value == "0":
            await self._announce((restore,))
            await self._step.send(session, restore, self._watch.query_timeout_s)
            self._step.warn(f"{RETRY_SETTING} had been left at 0, and was put back")

    async def _resume(self, seen: Glance) -> Lifted | None:
        await self._announce(self._one.cover.lift)
        session = await self._watch.session()
        self._sent = True
        await self._reload(session)
        receipt = await resume_over(self._step, session)
        if receipt.after == "running":
            return Lifted(LeasePhase.LIFTED, receipt)
        if self._answered and seen.of(self._one.target) is None:
            return self._over(
                LeasePhase.LIFTED,
                "RESUME was answered; it is not listed, so it cannot be read back",
                Outcome.OK,
            )
        if receipt.after is None:
            await self._watch.drop()
        raise NodeError(Phase.PROTOCOL, receipt.detail, where=self._watch.name)

    async def _reload(self, session: WriteSession) -> None:
        """Have files read that the run left in place, where its lease says so; RESUME follows in any case."""
        reload = self._step.dialect.reload()
        if reload not in self._one.cover.lift:
            return
        try:
            await self._step.send(session, reload, self._watch.query_timeout_s)
        except AdminError as error:
            self._step.warn(f"RELOAD was refused: {error.message}")

    @property
    def _answered(self) -> bool:
        main = self._watch.dialect.resume(self._one.target.database)
        return any(one.statement == main and one.reply == "RESUME" for one in self._step.exchanges)

    async def _announce(self, statements: tuple[str, ...]) -> None:
        """Record what is about to be sent; once for as often as it is tried."""
        if statements == self._told:
            return
        self._told = statements
        fields = {"by": "guardian", "why": self._reason, "target": str(self._one.target)}
        await self._books.record("undo", {**fields, "statements": list(statements)})

    def _over(self, phase: LeasePhase, detail: str, outcome: Outcome = Outcome.NO_CHANGE) -> Lifted:
        after = None if self._step.present == "not listed" else self._step.present
        return Lifted(phase, self._step.receipt(outcome, detail, after))

    def _gave_up(self) -> Lifted:
        name = self._one.target
        receipt = self._step.receipt(
            Outcome.UNKNOWN,
            f"it could not be resumed within {self._limits.retry_s:g} s ({self._trouble}); "
            "it may still be paused",
            None,
            next_steps=(f"pooldeck status {name.bouncer}", name.command("resume")),
        )
        return Lifted(LeasePhase.FAILED, receipt)

    def _say(self, kind: EventKind, text: str, data: Mapping[str, Any]) -> None:  # noqa: ARG002
        level = logging.WARNING if kind is EventKind.WARNING else logging.INFO
        _log.log(level, "%s: %s", self._one.target, text)
