"""What verbs on poolers share: a writing session from opening to end, a statement's answer, reading back.

It decides nothing: a lost answer and a refusal are values here, and each verb says what they mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from console.errors import AdminError, NodeError
from console.operations.control import Stopped, insist
from console.operations.outcome import TargetReceipt
from console.operations.sessions import WriteSession, close_quietly
from console.operations.step import REOPEN_PAUSE_S, Step, why

READ_BACK_LIMIT_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one statement."""

    statement: str
    tag: str = ""
    refused: AdminError | None = None
    """It was understood and refused: it had no effect, and the session is usable."""
    lost: NodeError | None = None
    """No answer: it may have taken effect, and the session is over."""

    @property
    def words(self) -> str:
        """As a clause of a sentence."""
        if self.refused is not None:
            return f"{self.statement.partition(' ')[0]} was refused: {self.refused.message}"
        return why(self.lost) if self.lost is not None else f"answered {self.tag}"


async def on_writer(step: Step, act: Callable[[WriteSession], Awaitable[TargetReceipt]]) -> TargetReceipt:
    """Open a writing session on the process that was observed, and bring `act` on it to its end.

    Raises:
        NodeError: no session, or one on another process; nothing was sent. Stopped: likewise.
    """
    session = await step.connector.writer(step.target.bouncer)
    try:
        await step.check_process(session)
        if step.control.stopped:
            raise Stopped

        async def acting() -> TargetReceipt:
            return await act(session)

        # From the first statement on it is brought to its end: only reading back tells what it did.
        return await insist(acting)
    finally:
        await close_quietly(session)


async def ask(step: Step, session: WriteSession, statement: str, timeout_s: float | None = None) -> Answer:
    """Send one statement; `timeout_s` None: the verb's own limit."""
    limit_s = step.parameters.timeout_s if timeout_s is None else timeout_s
    try:
        return Answer(statement, await step.send(session, statement, limit_s))
    except AdminError as error:
        return Answer(statement, refused=error)
    except NodeError as error:
        return Answer(statement, lost=error)


async def read_back(
    step: Step, session: WriteSession | None, read: Callable[[WriteSession], Awaitable[T]]
) -> T | None:
    """Return what `read` finds over `session`, or over new ones for a while; None when nobody answers.

    `session` None: it is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + READ_BACK_LIMIT_S
    current = session
    while True:
        if current is None:
            current = await step.reopen(until_s=end)
            if current is None:
                return None
        try:
            return await read(current)
        except AdminError:
            return None
        except NodeError:
            if loop.time() + REOPEN_PAUSE_S >= end:
                return None
            await asyncio.sleep(REOPEN_PAUSE_S)
        finally:
            if current is not session:
                await close_quietly(current)
        current = None
