"""How a rotation ends, and errors on the way there as words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from console.errors import PooldeckError
from console.operations.outcome import Outcome
from console.operations.step import why


@dataclass(frozen=True, slots=True)
class End:
    """How it ended."""

    outcome: Outcome
    detail: str
    interrupted: bool = False
    next_steps: tuple[str, ...] = ()


class Over(Exception):
    """It cannot go on; its text says why."""

    def __init__(self, detail: str, *, interrupted: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.interrupted = interrupted


async def all_of(parts: Iterable[Awaitable[None]]) -> None:
    """Do all side by side; every one is over when this returns or raises the first error."""
    done = await asyncio.gather(*parts, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result


def placed(error: PooldeckError) -> str:
    """Return an error as a clause, with its place."""
    return f"{error.where}: {why(error)}" if error.where else why(error)


def reason_of(error: BaseException) -> tuple[str, bool]:
    """Return why it ended as words, and whether somebody stopped it."""
    if isinstance(error, Over):
        return error.detail, error.interrupted
    if isinstance(error, PooldeckError):
        return placed(error), False
    return "interrupted", True
