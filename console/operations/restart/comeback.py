"""From the moment the relay is launched until the new process serves: watched, verified, told. Of starts too.

Nothing here needs to happen for the pooler to come back; that is the relay's work. Every wait ends: at its
deadline, or when the run is told to stop at once.
"""

from __future__ import annotations

import asyncio
import shlex

from console.errors import NodeError
from console.operations.outcome import EventKind, Exchange, Outcome, TargetReceipt
from console.operations.process.finding import Finder, last_log_lines
from console.operations.process.relay import OVER, Progress, Relay, label_of
from console.operations.restart.arrival import Arrivals, Arrived, wrong_version
from console.operations.restart.coming import Coming
from console.operations.step import Step, plural, why

POLL_S = 0.1
_ENDED = frozenset({Progress.ENDED, Progress.STARTED, Progress.NOT_STARTED})


class Comeback:
    """One pooler's way up by its relay. `launch`, `until_ended`, `complete`; each may be the last."""

    def __init__(self, step: Step, coming: Coming, *, cut: int) -> None:
        """Take the step, what is to come up, and how many clients are cut."""
        self.step = step
        self.coming = coming
        assert coming.look.host is not None, "refused before"
        label = label_of(step.target.bouncer, coming.supervision)
        self.relay = Relay(coming.look.host, label, timeout_s=coming.command_timeout_s)
        self.finder = Finder(coming.bouncer, step.reach.transport, timeout_s=coming.command_timeout_s)
        self.progress = Progress.NOT_SEEN
        self.silent = False
        """Its host did not answer the last question."""
        self.cut = cut
        self._begun_s = 0.0
        self._place = 0
        self._unsure: str | None = None

    async def launch(self) -> TargetReceipt | None:
        """Begin it; a receipt when nothing is under way."""
        step, coming = self.step, self.coming
        commands = [one for one in step.statements if one.startswith("on ")]
        self._place = len(step.exchanges)
        for command in commands:
            step.tell(EventKind.SENT, f"→ {command}")
            step.exchanges.append(Exchange(command, None, None))
        self._begun_s = step.clock.monotonic_s()
        launched = await self.relay.launch(coming.stop, coming.start, coming.look.process, coming.start_in)
        if launched.problem is not None:
            self.answer("not run")
            return step.receipt(Outcome.FAILED, launched.problem, step.present)
        self._unsure = launched.unsure
        if launched.unsure is not None:
            step.warn(f"the host gave no answer: {launched.unsure}; looking what became of it")
        return None

    @property
    def ended(self) -> bool:
        """Whether the old process was seen to have ended."""
        return self.progress in _ENDED

    async def look(self) -> Progress:
        """Ask how far it is; what was known before when the host does not answer."""
        found = await self.relay.progress()
        self.silent = found is None
        if found is not None:
            self.progress = found
        return self.progress

    async def until_ended(self, limit_s: float) -> TargetReceipt | None:
        """Wait until the old process has ended; a receipt when the restart is over without that."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limit_s
        while True:
            progress = await self.look()
            if progress in _ENDED:
                return None
            if progress in OVER:
                return await self._nothing_done(progress)
            if self.silent and loop.time() >= end:
                # Its host cannot be asked; whether a new process answers can be seen all the same.
                return None
            if self.step.control.stopped or loop.time() >= end:
                return self.left_alone(f"its process has not ended within {limit_s:g} s")
            await self.step.control.pause(None, timeout_s=POLL_S)

    async def complete(self) -> TargetReceipt:
        """Wait until the new process serves, and say how it is."""
        step = self.step
        loop = asyncio.get_running_loop()
        limit_s = step.parameters.start_timeout_s
        end = loop.time() + limit_s
        arrivals = Arrivals(step, self.coming)
        arrived: Arrived | None = None
        problem = "it does not answer"
        while True:
            arrived = arrived or await arrivals.meet()
            if arrived is not None:
                try:
                    return await self._served(arrived, await arrivals.probe())
                except NodeError as error:
                    problem = f"it runs, but lets no client in: {why(error)}"
            else:
                problem = f"it does not serve: {arrivals.why_not}"
            failed = await self.look() is Progress.NOT_STARTED and arrived is None
            if failed or loop.time() >= end or step.control.stopped:
                break
            await step.control.pause(None, timeout_s=POLL_S)
        if failed:
            return await self._down("the command that starts it failed", arrived)
        if step.control.stopped:
            return self.left_alone("interrupted before it was seen to serve", interrupted=True)
        since = "its start" if self.coming.was_down else "its stop"
        return await self._down(f"{problem}, {limit_s:g} s after {since}", arrived)

    def left_alone(self, reason: str, *, interrupted: bool = False) -> TargetReceipt:
        """Return the receipt of one whose end is not waited for any longer; its relay goes on."""
        step = self.step
        self.answer(f"sent; {self.progress}" if self.progress is not Progress.NOT_SEEN else "not known")
        if self._unsure is not None and self.progress is Progress.NOT_SEEN:
            return step.receipt(
                Outcome.UNKNOWN,
                f"whether it was begun is not known: {self._unsure}; if it was, its host finishes it",
                None,
                next_steps=(f"pooldeck process {step.target.bouncer}",),
                interrupted=interrupted or step.control.stopped,
            )
        then = "its host goes on starting it"
        if not self.coming.was_down:
            then = "its host starts it as soon as the old process has ended"
        off = () if self.coming.was_down else (self.call_off,)
        return step.receipt(
            Outcome.UNKNOWN,
            f"{reason}; {then}",
            None,
            next_steps=(f"pooldeck process {step.target.bouncer}", *off),
            interrupted=interrupted or step.control.stopped,
        )

    @property
    def call_off(self) -> str:
        """How its start is called off while the old process runs."""
        return f"on {self.coming.look.where}, to have it not started again: rm -r {self.relay.folder}"

    # -- inside -------------------------------------------------------------------------------

    def answer(self, reply: str) -> None:
        """Note what became of the commands on the host."""
        step = self.step
        took_s = step.clock.monotonic_s() - self._begun_s
        for place in range(self._place, len(step.exchanges)):
            if step.exchanges[place].statement.startswith("on "):
                step.exchanges[place] = Exchange(step.exchanges[place].statement, reply, took_s)
        step.tell(EventKind.ANSWERED, f"← {reply} ({took_s * 1000:.0f} ms)")

    async def _nothing_done(self, progress: Progress) -> TargetReceipt:
        step = self.step
        said = await self.relay.said()
        self.answer(progress.value)
        await self.relay.tidy()
        what = {
            Progress.MOVED: "its process was another one by then, so nothing was stopped",
            Progress.REFUSED: "the stop failed, so nothing was started",
        }.get(progress, f"the relay ended: {progress}")
        return step.receipt(
            Outcome.FAILED,
            f"{what}{': ' + said[-1] if said else ''}",
            step.present,
            log=said,
            next_steps=(f"pooldeck process {step.target.bouncer}",),
        )

    async def _served(self, arrived: Arrived, probe: str) -> TargetReceipt:
        step = self.step
        self.answer("done")
        await self._settle()
        coming = self.coming
        old = coming.look.process
        wrong = wrong_version(coming.look, arrived, step.parameters.expect_version)
        changed = coming.differences(arrived.seen)
        verified = [f"PgBouncer {arrived.seen.version} answers", probe]
        if old is not None and arrived.process is not None:
            end = "has ended" if coming.has_gap else "was taken over"
            verified.insert(0, f"process {old.pid} {end}, {arrived.process.pid} serves")
        elif arrived.process is not None:
            verified.insert(0, f"process {arrived.process.pid} serves")
        if not changed:
            verified.append(coming.as_wanted)
        cut = f"{plural(self.cut, 'client')} cut; " if self.cut else ""
        detail = f"{cut}{self._first_login(arrived)}"
        return step.receipt(
            Outcome.OK if wrong is None else Outcome.FAILED,
            f"it was {coming.done}, but {wrong}; {detail}"
            if wrong is not None
            else f"{coming.done}: {detail}",
            "running",
            verified=tuple(verified),
            differences=changed,
        )

    def _first_login(self, arrived: Arrived) -> str:
        """Say how long nobody was let in."""
        times = self.relay.times
        if self.coming.is_gentle and Progress.ENDED in times and Progress.STARTED in times:
            gap_s = times[Progress.STARTED] - times[Progress.ENDED]
            return f"started {gap_s:.2f} s after its end"
        return f"first login {arrived.login_s - self._begun_s:.2f} s after {self.coming.counted_from}"

    async def _settle(self) -> None:
        """Remove the relay's folder once it is over; its last word may come a moment after the login."""
        for _ in range(10):
            if await self.look() in OVER:
                await self.relay.tidy()
                return
            await asyncio.sleep(POLL_S)

    async def _down(self, problem: str, arrived: Arrived | None) -> TargetReceipt:
        """It did not come back: say so, with the last words of its start and of its log."""
        step = self.step
        progress = await self.look()
        self.answer(progress.value)
        said = await self.relay.said()
        coming = self.coming
        log = await last_log_lines(coming.look, timeout_s=coming.command_timeout_s)
        if progress in OVER:
            await self.relay.tidy()
        if not coming.has_gap and arrived is None:
            return await self._old_goes_on(problem, (*said, *log))
        if arrived is None and progress in _ENDED and self.silent:
            # What its relay did since is not known.
            return step.receipt(
                Outcome.UNKNOWN,
                f"its process has ended, and {problem}; its host does not answer, and goes on starting it",
                None,
                log=(*said, *log),
                next_steps=(f"pooldeck process {step.target.bouncer}",),
            )
        down = arrived is None and progress in _ENDED
        there = await self._new_process() if down else None
        after = "not running" if there is None else f"process {there} runs, and does not serve"
        start = shlex.join(coming.supervision.start())
        return step.receipt(
            Outcome.FAILED if down or arrived is not None else Outcome.UNKNOWN,
            f"its process has ended, and {problem}" if down and not coming.was_down else problem,
            after if down else "running" if arrived is not None else None,
            log=(*said, *log),
            next_steps=(
                f"pooldeck process {step.target.bouncer}",
                f"on {coming.look.where}, once the cause is mended: {start}",
            ),
        )

    async def _new_process(self) -> int | None:
        """Return the pid of a process that was started, whether or not it serves; None: none is found."""
        found, old = (await self.finder.look(None)).process, self.coming.look.process
        if found is None or (old is not None and found.process.identity == old.process.identity):
            return None
        return found.pid

    async def _old_goes_on(self, problem: str, log: tuple[str, ...]) -> TargetReceipt:
        """No new process came; nothing was stopped, so the old one should be there still."""
        step, old = self.step, self.coming.look.process
        try:
            there = old is not None and await self.finder.still_there(old.process)
        except NodeError:
            there = False
        return step.receipt(
            Outcome.FAILED if there else Outcome.UNKNOWN,
            f"no new process took over: {problem}; "
            f"{'the old one goes on' if there else 'whether the old one goes on is not known'}",
            step.present if there else None,
            log=log,
            next_steps=(f"pooldeck process {step.target.bouncer}",),
        )


def clients_of(step: Step) -> int:
    """Return how many clients were connected when it was last looked at."""
    return sum(pool.cl_active + pool.cl_waiting for pool in step.before.pools)
