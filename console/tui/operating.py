"""Operations as the console offers them: which, on what, what runs and what is held. It opens plans, no more.

The service plans and runs, the guard allows; everything here comes from `app.verbs` and the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from textual.screen import ModalScreen

from console.config.selector import parse_selector
from console.errors import PooldeckError, UsageError
from console.model.claims import Claim
from console.model.fleet import FleetSnapshot
from console.operations.registry import REGISTRY
from console.operations.service import OperationService, Run
from console.operations.target import Target
from console.operations.verb import Verb
from console.tui import chosen, wishes
from console.tui.claims import ClaimWatch, ReadClaims
from console.tui.progress import Hold, Progress
from console.tui.screens.plan import PlanScreen
from console.tui.screens.tables import TableScreen
from console.tui.sessions import OwnSessions, Watcher
from console.tui.unended import ReadUnended, tell_unended
from console.tui.wishes import Wish
from console.view import numbers
from console.view.cells import Cell, Tone
from console.view.fleet import BouncerRow
from console.view.pauses import Known
from console.view.pools import PoolRow

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

THIS_SESSION = "this session"


class Operating:
    """The operations of one app."""

    def __init__(
        self,
        deck: PooldeckApp,
        service: OperationService | None,
        claims: ReadClaims | None,
        unended: ReadUnended | None,
        watcher: Watcher | None,
    ) -> None:
        self.service = service
        self._deck = deck
        self._sessions = OwnSessions(watcher)
        self._unended = unended
        self._claims = ClaimWatch(claims, deck.inventory.fleet, deck.clock)
        self._progress: dict[str, Progress] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- lifetime -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read the leases, and tell what dead runs left without an end."""
        if self._claims.can_read:
            self._begin(self._claims.watch(), "leases")
        if self._unended is not None:
            self._begin(tell_unended(self._deck, self._unended), "unended")

    async def close(self) -> None:
        """End what this started; runs are the service's."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what is known of pauses -----------------------------------------------------------------

    def see(self, snapshot: FleetSnapshot) -> None:
        """Take a new snapshot in, shown or not."""
        self._claims.see(snapshot)

    @property
    def known(self) -> Known:
        """What tables need to know besides a snapshot."""
        return self._claims.known(tuple(self._own_claims()))

    @property
    def claims(self) -> tuple[Claim, ...] | None:
        """Everything under a lease on this machine, of this fleet; None: it cannot be read."""
        own = list(self._own_claims())
        runs = {claim.run_id for claim in own}
        read = self._claims.claims
        if read is None:
            return tuple(own) if own else None
        return (*own, *(claim for claim in read if claim.run_id not in runs))

    def _own_claims(self) -> Iterator[Claim]:
        """Yield what runs of this session hold, or are about to: known before their leases are read."""
        now_s, wall_s = self._deck.clock.monotonic_s(), self._deck.clock.wall_s()
        for run in self.runs:
            if run.done or not run.plan.spec.leased:
                continue
            progress = self.progress_of(run)
            hold = progress.hold
            parameters = run.plan.parameters
            longest_s = parameters.timeout_s + getattr(parameters, "hold_s", 0.0)
            left_s = hold.left_s(now_s) if hold is not None else longest_s
            targets = {str(item.target): item.target for item in run.plan.targets}
            for name in progress.paused:
                target: Target = targets[name]
                since_s = progress.states[name].since_s or run.started_at_s
                yield Claim(
                    bouncer=target.bouncer,
                    database=target.database,
                    fleet=run.plan.fleet,
                    who=THIS_SESSION,
                    run_id=run.id,
                    lease_id="",
                    title=run.plan.title,
                    since_wall_s=since_s,
                    until_wall_s=wall_s + left_s,
                    alive=True,
                )

    # -- runs ---------------------------------------------------------------------------------

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs of this session, oldest first."""
        return self.service.runs if self.service is not None else ()

    @property
    def running(self) -> tuple[Run, ...]:
        """Those that are not over."""
        return tuple(run for run in self.runs if not run.done)

    def progress_of(self, run: Run) -> Progress:
        """Return how far a run is; it is followed from now on, whoever looks."""
        progress = self._progress.get(run.id)
        if progress is None:
            progress = self._progress[run.id] = Progress(run.plan)
            self._begin(self._follow(run, progress), f"following {run.id}")
        return progress

    async def _follow(self, run: Run, progress: Progress) -> None:
        async for event in run.events():
            progress.take(event, self._deck.clock.monotonic_s())
            self._sessions.heed(run, event)
        try:
            receipt = await run.receipt()
        except PooldeckError as error:
            progress.failed = str(error)
            return
        progress.end(receipt)
        self._sessions.heed_end(run, receipt)

    def tick(self) -> None:
        """Follow runs that nobody looked at yet, and forget those that the service forgot."""
        kept = {run.id for run in self.runs}
        for run in self.runs:
            self.progress_of(run)
        for run_id in set(self._progress) - kept:
            del self._progress[run_id]

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What runs of this session hold now."""
        found = (self.progress_of(run).hold for run in self.running)
        return tuple(hold for hold in found if hold is not None)

    @property
    def status(self) -> tuple[Cell, ...]:
        """What every screen's top line says: what is held, what runs, what nobody alive will end."""
        cells: list[Cell] = []
        now_s = self._deck.clock.monotonic_s()
        holds = self.holds
        for hold in holds[:1]:
            cells.append(Cell(f"HOLDING {hold.name} {_seconds(hold.left_s(now_s))}", Tone.WARN))
        asked = [found for run in self.running for found in self.progress_of(run).questions.values()]
        cells += [
            Cell(f"ASKING {one.target} {_seconds(one.left_s(now_s))} (o)", Tone.WARN) for one in asked[:1]
        ]
        others = len(self.running) - len(holds[:1])
        left = self._detached()
        if left is not None and not holds:
            cells.append(left)
        if others:
            cells.append(Cell(f"{others} RUNNING (o)", Tone.WARN))
        forgotten = self._forgotten()
        if forgotten:
            key = " (M)" if isinstance(self._deck.screen, TableScreen) else ""
            cells.append(Cell(f"{forgotten} FORGOTTEN{key}", Tone.BAD))
        return tuple(cells)

    def _detached(self) -> Cell | None:
        """Say what a run of this session left to its guardian, until its time is up or its lease is gone."""
        wall_s = self._deck.clock.wall_s()
        claims = self._claims.claims
        for run in reversed(self.runs):
            receipt = self.progress_of(run).receipt
            ends = [one.held_until_s for one in receipt.targets if one.held_until_s] if receipt else []
            if not ends or max(ends) <= wall_s:
                continue
            if claims is not None and all(claim.run_id != run.id for claim in claims):
                continue
            return Cell(f"HELD {run.plan.phrase} {_seconds(max(ends) - wall_s)}", Tone.WARN)
        return None

    def _forgotten(self) -> int:
        snapshot = self._deck.snapshot
        if snapshot is None:
            return 0
        wall_s, monotonic_s, known = snapshot.taken_at_s, snapshot.monotonic_s, self.known
        rows = (BouncerRow(p, known, wall_s=wall_s, monotonic_s=monotonic_s) for p in snapshot.poolers)
        return sum(row.forgotten for row in rows)

    # -- verbs --------------------------------------------------------------------------------

    @property
    def _rows(self) -> list[object]:
        """What is chosen in the table in use, also while a menu lies over it."""
        for screen in reversed(self._deck.screen_stack):
            if isinstance(screen, TableScreen):
                return list(screen.panel.target_rows()) if screen.is_built else []
            if not isinstance(screen, ModalScreen):
                return []
        return []

    def cannot(self, verb: Verb) -> str | None:
        """Say why a verb cannot be had for the chosen rows; None when it can."""
        return self.judge_rows()(verb)

    def judge_rows(self) -> Callable[[Verb], str | None]:
        """Return `cannot` for the rows as they are chosen now: they are looked for once for all verbs."""
        if self.service is None:
            return lambda _: "operations are not available in this session"
        rows, deck = self._rows, self._deck
        return lambda verb: chosen.cannot(REGISTRY[verb.name], rows, deck.inventory, read_only=deck.read_only)

    def line_of(self, verb: Verb) -> tuple[str, bool]:
        """Return the command for the chosen rows, and whether more has to be typed."""
        spec, rows = REGISTRY[verb.name], self._rows
        names = ",".join(chosen.selectors(spec, rows))
        if not names:
            return f"{verb.name} {chosen.begun(spec, rows) or ''}", True
        more = wishes.wants_more(verb)
        return f"{verb.name} {names}{' ' if more else ''}", more

    def open_chosen(self, op: str) -> None:
        """Open the plan of a verb on the marked rows, else the row under the cursor.

        Raises:
            UsageError: nothing that it acts on is chosen, or operations are not available here.
        """
        self._open(wishes.plain(self._verb(op), self._selector(op)))

    def open_plan(self, op: str, text: str) -> None:
        """Open the plan of a verb, from what was typed behind its name.

        Raises:
            UsageError: it cannot be read, nothing is chosen, or operations are not available here.
        """
        verb = self._verb(op)
        wish = wishes.parse(verb, text, serial=REGISTRY[op].serial)
        if not wish.selector:
            selector = verb.default_selector or self._selector(op)
            wish = Wish(wish.op, selector, wish.parameters, wish.rollout, wish.reason)
        self._open(wish)

    def retry(self, text: str) -> None:
        """Try to log in again to what a selector names, else to the chosen rows.

        Raises:
            UsageError: it cannot be read, names nothing, or somebody else watches the fleet.
        """
        self._sessions.retry(dict.fromkeys(self.bouncers_of(text)))

    def bouncers_of(self, text: str) -> tuple[str, ...]:
        """Return the bouncers that a selector names, else those of the chosen rows.

        Raises:
            UsageError: it cannot be read, or nothing is chosen.
        """
        if text:
            found = parse_selector(text).select(self._deck.inventory.bouncers)
            return tuple(dict.fromkeys(part.name for part in found))
        rows = (row for row in self._rows if isinstance(row, BouncerRow | PoolRow))
        names = tuple(dict.fromkeys(row.pooler.info.name for row in rows))
        if not names:
            raise UsageError("nothing is chosen: put the cursor on a bouncer, or write its name")
        return names

    def _verb(self, op: str) -> Verb:
        if self.service is None:
            raise UsageError("operations are not available in this session")
        return REGISTRY[op].verb

    def _selector(self, op: str) -> str:
        spec = REGISTRY[op]
        names = chosen.selectors(spec, self._rows)
        if not names:
            raise UsageError(
                f"nothing is chosen: put the cursor on {chosen.named(spec)}, or write :{op} NAME"
            )
        return ",".join(names)

    def _open(self, wish: Wish) -> None:
        self._deck.push_screen(PlanScreen(wish))

    # -- leaving ------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Say what would be stopped by leaving, a line each."""
        now_s = self._deck.clock.monotonic_s()
        lines = []
        for run in self.running:
            hold = self.progress_of(run).hold
            lines.append(
                run.plan.title
                if hold is None
                else f"{run.plan.title}: holding {hold.name}, {_seconds(hold.left_s(now_s))} left; "
                "it will be resumed"
            )
        return lines


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 100 else numbers.duration_s(value)
