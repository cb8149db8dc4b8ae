"""What takes longer than a moment is told while it lasts: how much of it is done. It asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

FIRST_S = 1.0
"""What is over sooner is not told."""
EVERY_S = 0.5
T = TypeVar("T")


class Tally:
    """Counts what is done of several things."""

    def __init__(self, what: str, of: int = 0) -> None:
        """`what` is one of them, e.g. `session open`: the first word is put into the plural."""
        self.done = 0
        self.of = of
        self._what = what

    @property
    def words(self) -> str:
        """For people: `37 of 100 sessions open`."""
        noun, _, rest = self._what.partition(" ")
        return f"{self.done} of {self.of} {noun}{'' if self.of == 1 else 's'} {rest}".rstrip()

    def count(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin one of them and count it once it is over, however it ends."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._count)
        return task

    def _count(self, _: object) -> None:
        self.done += 1


@asynccontextmanager
async def telling(tell: Callable[[str], None], words: Callable[[], str]) -> AsyncIterator[None]:
    """Tell what `words` returns while the block lasts, whenever it changes; nothing in its first second."""
    task = asyncio.create_task(_tell(tell, words))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tell(tell: Callable[[str], None], words: Callable[[], str]) -> None:
    await asyncio.sleep(FIRST_S)
    told = ""
    while True:
        if told != (text := words()):
            told = text
            tell(text)
        await asyncio.sleep(EVERY_S)
