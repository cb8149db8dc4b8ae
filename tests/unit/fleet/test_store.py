"""Whoever waits for a snapshot gets the newest; nobody's mistake costs another one's."""

from __future__ import annotations

import asyncio
import logging

import pytest

from console.fleet.store import FleetStore
from console.model.fleet import FleetSnapshot


def snapshot(generation: int) -> FleetSnapshot:
    return FleetSnapshot("test", "development", 0.0, 0.0, generation, ())


async def test_waiting_ends_with_the_first_newer_snapshot() -> None:
    store = FleetStore()
    waiting = [asyncio.create_task(store.next_after(1, 5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    store.publish(snapshot(1))
    await asyncio.sleep(0)
    store.publish(snapshot(2))
    assert [one.generation for one in await asyncio.gather(*waiting)] == [2, 2, 2]
    assert (await store.next_after(0, 0.0)).generation == 2, "what is there already is not waited for"


async def test_waiting_has_an_end() -> None:
    store = FleetStore()
    with pytest.raises(TimeoutError):
        await store.next_after(0, 0.01)


async def test_listeners_are_told_until_they_leave() -> None:
    store = FleetStore()
    seen: list[int] = []
    leave = store.subscribe(lambda one: seen.append(one.generation))
    store.publish(snapshot(1))
    leave()
    leave()
    store.publish(snapshot(2))
    assert seen == [1]
    assert store.generation == 2


async def test_a_listener_s_mistake_is_logged_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FleetStore()
    seen: list[int] = []

    def broken(_: FleetSnapshot) -> None:
        raise ValueError("broken view")

    store.subscribe(broken)
    store.subscribe(lambda one: seen.append(one.generation))
    with caplog.at_level(logging.ERROR):
        store.publish(snapshot(1))
    assert seen == [1]
    assert "broken view" in caplog.text
