"""What lasts is told while it does."""

from __future__ import annotations

import asyncio

import pytest

from console.operations import lasting
from console.operations.lasting import Tally, telling


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_S", 0.01)
    monkeypatch.setattr(lasting, "EVERY_S", 0.001)


async def test_how_much_is_done_is_told_once_for_each_change() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    tally = Tally("session open", 2)
    async with telling(told.put_nowait, lambda: tally.words):
        assert await told.get() == "0 of 2 sessions open"
        await tally.count(asyncio.sleep(0))
        assert await told.get() == "1 of 2 sessions open"
        await asyncio.sleep(0.01)
        assert told.empty()
    tally.done = 2
    await asyncio.sleep(0.01)
    assert told.empty(), "it is over"


async def test_what_is_over_soon_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_S", 60.0)
    told: list[str] = []
    async with telling(told.append, lambda: "words"):
        await asyncio.sleep(0.01)
    assert told == []


async def test_what_fails_is_done_too() -> None:
    async def fail() -> None:
        raise KeyError

    tally = Tally("keeper armed", 1)
    with pytest.raises(KeyError):
        await tally.count(fail())
    assert tally.words == "1 of 1 keeper armed"
