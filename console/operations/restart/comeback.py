"""From the moment the relay is launched until the new process serves: watched, verified, told.

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
from console.operations.restart.arrival import Arrivals, Arrived, differences, wrong_version
from console.operations.restart.look import RestartLook
from console.operations.restart.methods import Method
from console.operations.restart.plan import restart_commands
from console.operations.step import Step, plural, why

POLL_S = 0.1
_ENDED = frozenset({Progress.ENDED, Progress.STARTED, Progress.NOT_STARTED})


class Comeback:
    """One pooler's restart by its relay. `launch`, `until_ended`, `complete`; each may be the last."""

    def __init__(self, step: Step, *, cut: int) -> None:
        """Take the step, and how many clients are cut."""
        self.step = step
        self.found: RestartLook = step.ask.found
        assert self.found.process.host is not None, "refused before"
        label = label_of(step.target.bouncer, self.found.supervision)
        self.relay = Relay(self.found.process.host, label, timeout_s=self.found.command_timeout_s)
        self.finder = Finder(self.found.bouncer, step.reach.transport, timeout_s=self.found.command_timeout_s)
        self.progress = Progress.NOT_SEEN
        self.silent = False
        """Its host did not answer the last question."""
        self.cut = cut
        self._gap = found_gap(self.found)
        self._begun_s = 0.0
        self._place = 0
        self._unsure: str | None = None

    async def launch(self) -> TargetReceipt | None:
        """Begin it; a receipt when nothing is under way."""
        step = self.step
        stop, start = restart_commands(step.ask)
        commands = [one for one in step.statements if one.startswith("on ")]
        self._place = len(step.exchanges)
        for command in commands:
            step.tell(EventKind.SENT, f"→ {command}")
            step.exchanges.append(Exchange(command, None, None))
        self._begun_s = step.clock.monotonic_s()
        launched = await self.relay.launch(stop, start, self.found.process.process)
        if launched.problem is not None:
            self.answer("not run")
            return step.receipt(Outcome.FAILED, launched.problem, step.present)
        self._unsure = launched.unsure
        if launched.unsure is not None:
            step.warn(f"the host gave no answer to the stop: {launched.unsure}; looking what became of it")
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
        arrivals = Arrivals(step)
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
        return await self._down(f"{problem}, {limit_s:g} s after its stop", arrived)

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
        return step.receipt(
            Outcome.UNKNOWN,
            f"{reason}; its host starts it as soon as the old process has ended",
            None,
            next_steps=(f"pooldeck process {step.target.bouncer}", self.call_off),
            interrupted=interrupted or step.control.stopped,
        )

    @property
    def call_off(self) -> str:
        """How its start is called off while the old process runs."""
        return f"on {self.found.process.where}, to have it not started again: rm -r {self.relay.folder}"

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
        old = self.found.process.process
        wrong = wrong_version(self.found, arrived, step.parameters.expect_version)
        changed = differences(step.before, arrived.seen)
        verified = [f"PgBouncer {arrived.seen.version} answers", probe]
        if old is not None and arrived.process is not None:
            end = "has ended" if self._gap else "was taken over"
            verified.insert(0, f"process {old.pid} {end}, {arrived.process.pid} serves")
        if not changed:
            verified.append("settings and databases read as before")
        cut = f"{plural(self.cut, 'client')} cut; " if self.cut else ""
        detail = f"{cut}{self._first_login(arrived)}"
        return step.receipt(
            Outcome.OK if wrong is None else Outcome.FAILED,
            f"it was restarted, but {wrong}; {detail}" if wrong is not None else f"restarted: {detail}",
            "running",
            verified=tuple(verified),
            differences=changed,
        )

    def _first_login(self, arrived: Arrived) -> str:
        """Say how long nobody was let in."""
        method, times = self.found.choice.method, self.relay.times
        if method is Method.ROLLING and Progress.ENDED in times and Progress.STARTED in times:
            gap_s = times[Progress.STARTED] - times[Progress.ENDED]
            return f"started {gap_s:.2f} s after its end"
        since = "the start" if method is Method.TAKEOVER else "the stop"
        return f"first login {arrived.login_s - self._begun_s:.2f} s after {since}"

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
        log = await last_log_lines(self.found.process, timeout_s=self.found.command_timeout_s)
        if progress in OVER:
            await self.relay.tidy()
        if not self._gap and arrived is None:
            return await self._old_goes_on(problem, (*said, *log))
        down = arrived is None and progress in _ENDED
        start = shlex.join(self.found.supervision.start())
        return step.receipt(
            Outcome.FAILED if down or arrived is not None else Outcome.UNKNOWN,
            f"its process has ended, and {problem}" if down else problem,
            "not running" if down else "running" if arrived is not None else None,
            log=(*said, *log),
            next_steps=(
                f"pooldeck process {step.target.bouncer}",
                f"on {self.found.process.where}, once the cause is mended: {start}",
            ),
        )

    async def _old_goes_on(self, problem: str, log: tuple[str, ...]) -> TargetReceipt:
        """No new process came; nothing was stopped, so the old one should be there still."""
        step, old = self.step, self.found.process.process
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


def found_gap(found: RestartLook) -> bool:
    """Say whether no process serves for a moment: not in a takeover."""
    return found.choice.method is not Method.TAKEOVER
