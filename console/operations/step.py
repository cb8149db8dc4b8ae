"""One verb on one target while it runs: its plan, its sessions' statements, its clock, its voice.

A step sends and remembers; it decides nothing. Verbs (`pause`, `resume`, `reload`) use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from console.clock import Clock
from console.errors import AdminError, NodeError, PooldeckError
from console.operations.control import Control
from console.operations.lease.base import Lease
from console.operations.observe import Observation
from console.operations.outcome import NOTHING, EventKind, Exchange, Outcome, TargetReceipt
from console.operations.reach import Reach
from console.operations.sessions import Connector, ReadSession, WriteSession, require_one_process
from console.operations.spec import Ask
from console.operations.target import Target
from console.poolers.base import Dialect

REOPEN_PAUSE_S = 0.3


@dataclass(slots=True)
class Step:
    """What a verb is handed."""

    ask: Ask[Any]
    """The target, what was seen of it just before, and what is wanted of it."""
    statements: tuple[str, ...]
    already: bool
    """The plan found it as wanted: nothing may be sent."""
    present: str
    reach: Reach
    clock: Clock
    control: Control
    query_timeout_s: float
    say: Callable[[EventKind, str, Mapping[str, Any]], None]
    lease: Lease | None = None
    """Of a verb that is `leased`: in force before its first statement."""
    run_id: str = ""
    started_at_s: float = field(init=False)
    started_s: float = field(init=False)
    exchanges: list[Exchange] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    answered_s: dict[str, float] = field(default_factory=dict)
    """When the answer to each statement came, or none did, on the monotonic clock."""

    def __post_init__(self) -> None:
        self.started_at_s = self.clock.wall_s()
        self.started_s = self.clock.monotonic_s()

    @property
    def target(self) -> Target:
        """What it acts on."""
        return self.ask.target

    @property
    def parameters(self) -> Any:
        """Of the verb's own `Parameters` class."""
        return self.ask.parameters

    @property
    def before(self) -> Observation:
        """The pooler as it was just before; for a verb on poolers only."""
        seen = self.ask.seen
        assert isinstance(seen, Observation), "verbs on Postgres nodes read ask.seen"
        return seen

    @property
    def dialect(self) -> Dialect:
        """Of the pooler's kind."""
        return self.ask.dialect

    @property
    def connector(self) -> Connector:
        """Opens admin sessions."""
        return self.reach.connector

    def tell(self, kind: EventKind, text: str, data: Mapping[str, Any] = NOTHING) -> None:
        """Emit an event."""
        self.say(kind, text, data)

    def warn(self, text: str) -> None:
        """Keep a warning for the receipt and tell it now."""
        self.warnings.append(text)
        self.tell(EventKind.WARNING, text)

    async def send(self, session: WriteSession, statement: str, timeout_s: float | None) -> str:
        """Send one statement and return its tag; it is told and kept, whatever comes back.

        Raises:
            AdminError: the pooler refused. NodeError: no answer.
        """
        return await self.exchange(statement, lambda: session.execute(statement, timeout_s))

    async def exchange(self, statement: str, ask: Callable[[], Awaitable[str]]) -> str:
        """Have `ask` carry one statement out and return the reply; it is told and kept, whatever comes back.

        Raises:
            AdminError, NodeError: what `ask` raised.
        """
        self.tell(EventKind.SENT, f"→ {statement}")
        begun = self.clock.monotonic_s()
        reply: str | None = None
        place = len(self.exchanges)
        self.exchanges.append(Exchange(statement, None, None))
        try:
            reply = await ask()
        except AdminError as error:
            reply = f"ERROR: {error.message}"
            raise
        finally:
            ended = self.answered_s[statement] = self.clock.monotonic_s()
            took = ended - begun
            self.exchanges[place] = Exchange(statement, reply, took)
            told = reply or f"no answer to {statement}"
            self.tell(EventKind.ANSWERED, f"← {told} ({took * 1000:.0f} ms)")
        return reply

    async def act(self, statement: str, do: Callable[[], Awaitable[str | None]]) -> str | None:
        """Do something on the target's host that counts as a statement; `do` returns why it failed."""
        self.tell(EventKind.SENT, f"→ {statement}")
        begun = self.clock.monotonic_s()
        place = len(self.exchanges)
        self.exchanges.append(Exchange(statement, None, None))
        problem = await do()
        took = self.clock.monotonic_s() - begun
        reply = "done" if problem is None else f"FAILED: {problem}"
        self.exchanges[place] = Exchange(statement, reply, took)
        self.tell(EventKind.ANSWERED, f"← {reply} ({took * 1000:.0f} ms)")
        return problem

    async def check_process(self, *sessions: ReadSession) -> None:
        """Make sure that the sessions meet the process that was observed; see `require_one_process`."""
        await require_one_process(
            self.dialect,
            self.before.config,
            *sessions,
            where=str(self.target),
            timeout_s=self.query_timeout_s,
        )

    async def reopen(self, *, until_s: float) -> WriteSession | None:
        """Open an admin session, trying again until the loop's time `until_s`; None when none came."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            try:
                async with asyncio.timeout_at(until_s):
                    session = await self.connector.writer(self.target.bouncer)
            except (PooldeckError, TimeoutError):
                if loop.time() + REOPEN_PAUSE_S >= until_s:
                    return None
                await asyncio.sleep(REOPEN_PAUSE_S)
                continue
            try:
                await self.check_process(session)
            except PooldeckError:
                await session.close()
                if loop.time() + REOPEN_PAUSE_S >= until_s:
                    return None
                await asyncio.sleep(REOPEN_PAUSE_S)
                continue
            return session
        return None

    def receipt(self, outcome: Outcome, detail: str, after: str | None, **more: Any) -> TargetReceipt:
        """Return the receipt of this step as of now."""
        return TargetReceipt(
            target=self.target,
            outcome=outcome,
            detail=detail,
            before=self.present,
            after=after,
            started_at_s=self.started_at_s,
            duration_s=self.clock.monotonic_s() - self.started_s,
            exchanges=tuple(self.exchanges),
            warnings=tuple(self.warnings),
            **more,
        )

    def late(self, receipt: TargetReceipt) -> TargetReceipt:
        """Return a receipt of this step with what was sent, told and lasted after it was made."""
        return replace(
            receipt,
            duration_s=self.clock.monotonic_s() - self.started_s,
            exchanges=tuple(self.exchanges),
            warnings=tuple(self.warnings),
        )


def why(error: PooldeckError) -> str:
    """Return an error as a clause of a sentence."""
    phase = f" ({error.phase})" if isinstance(error, NodeError) else ""
    return f"{error.message}{phase}"


def plural(count: int, noun: str) -> str:
    """Return `1 server`, `2 servers`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
