"""What one pooler is asked, when, and what becomes of answers that are of no use."""

from __future__ import annotations

import random

import pytest

from console.clock import FixedClock
from console.errors import AdminError, NodeError, Phase
from console.fleet.polling import PollBudget
from console.fleet.session import PoolerSession
from console.model.sample import Sample
from console.model.table import ResultTable
from console.poolers.dialects import dialect_for
from tests.unit.fleet.fakes import FakePooler, FakeReader, lost

EVERY_TICK = ["POOLS", "DATABASES", "LISTS"]


class Watch:
    """A session whose time a test moves on."""

    def __init__(self, pooler: FakePooler, budget: PollBudget | None = None) -> None:
        self.pooler = pooler
        self.clock = FixedClock()
        self.session = PoolerSession(
            "edge-1",
            FakeReader(pooler),
            dialect_for("pgbouncer"),
            budget or PollBudget(),
            self.clock,
            query_limit_s=0.1,
            rng=random.Random(1),
        )

    async def tick(self, *, clients: bool = False, after_s: float = 1.0) -> Sample:
        self.pooler.asked.clear()
        self.clock.advance(after_s)
        return await self.session.sometimes(await self.session.every_tick(), clients=clients)


async def test_the_first_tick_asks_everything_but_the_clients() -> None:
    pooler = FakePooler()
    sample = await Watch(pooler).tick()
    assert pooler.asked == ["VERSION", *EVERY_TICK, "STATS", "SERVERS", "CONFIG", "USERS"]
    assert str(sample.version) == "1.18.0"
    assert sample.pools[0].sv_active == 2
    assert sample.stats is not None
    assert sample.config is not None
    assert sample.users is not None
    assert sample.clients is None


async def test_a_minute_of_ticks_keeps_to_the_budget() -> None:
    pooler = FakePooler(version="1.24.1")
    watch = Watch(pooler)
    asked: list[str] = []
    for _ in range(61):
        await watch.tick()
        asked += pooler.asked
    assert {what: asked.count(what) for what in EVERY_TICK} == dict.fromkeys(EVERY_TICK, 61)
    assert asked.count("STATE") == 61
    assert 12 <= asked.count("STATS") == asked.count("SERVERS") <= 15
    assert {what: asked.count(what) for what in ("CONFIG", "USERS")} == {"CONFIG": 2, "USERS": 2}
    assert asked.count("CLIENTS") == 0


async def test_state_is_asked_only_of_versions_that_have_it() -> None:
    old, new = FakePooler(version="1.18.0"), FakePooler(version="1.19.0")
    old_sample, new_sample = await Watch(old).tick(), await Watch(new).tick()
    assert "STATE" not in old.asked
    assert (old_sample.state.paused, old_sample.state.suspended) == (None, None)
    assert "STATE" in new.asked
    assert new_sample.state.paused is False


async def test_a_reload_has_the_settings_read_again() -> None:
    pooler = FakePooler()
    watch = Watch(pooler)
    await watch.tick()
    await watch.tick()
    assert "CONFIG" not in pooler.asked
    watch.session.reread()
    await watch.tick()
    assert [what for what in pooler.asked if what in ("VERSION", "CONFIG", "USERS")] == [
        "VERSION",
        "CONFIG",
        "USERS",
    ]


async def test_clients_are_asked_only_while_someone_looks() -> None:
    pooler = FakePooler()
    watch = Watch(pooler)
    await watch.tick()
    seen = await watch.tick(clients=True)
    assert seen.clients is not None
    assert len(seen.clients.value) == 1
    again = await watch.tick(clients=True)
    assert "CLIENTS" not in pooler.asked, "not more often than every two seconds"
    assert again.clients is seen.clients
    gone = await watch.tick(clients=False)
    assert gone.clients is None
    assert "CLIENTS" not in pooler.asked


async def test_clients_above_the_limit_are_not_asked_and_the_reason_is_told() -> None:
    pooler = FakePooler(clients=60_000)
    watch = Watch(pooler)
    sample = await watch.tick(clients=True)
    assert "CLIENTS" not in pooler.asked
    assert sample.clients is None
    assert "60,000 clients" in sample.unread["CLIENTS"]
    pooler.clients = 50
    sample = await watch.tick(clients=True)
    assert sample.clients is not None
    assert "CLIENTS" not in sample.unread


async def test_dear_clients_are_asked_rarely() -> None:
    pooler = FakePooler(clients=100)
    clients = pooler.answer("CLIENTS")
    pooler.tables["CLIENTS"] = ResultTable(clients.names, clients.rows, answer_us=200_000)
    watch = Watch(pooler)
    await watch.tick(clients=True)
    await watch.tick(clients=True, after_s=19.0)
    assert "CLIENTS" not in pooler.asked, "an answer of 0.2 s is worth 20 s"
    await watch.tick(clients=True, after_s=1.5)
    assert "CLIENTS" in pooler.asked


async def test_the_time_the_pooler_spent_on_us_is_added_up() -> None:
    pooler = FakePooler(answer_us=700)
    lists = pooler.answer("LISTS")
    pooler.tables["LISTS"] = ResultTable(lists.names, lists.rows, answer_us=50)
    watch = Watch(pooler)
    assert (await watch.tick()).answer_us == 750
    assert (await watch.tick()).answer_us == 750, "of one tick, not since the start"


@pytest.mark.parametrize(
    "failure",
    [
        AdminError("not allowed", sqlstate="08P01"),
        NodeError(Phase.PARSE, 'SHOW USERS has no column "name"'),
    ],
)
async def test_a_useless_answer_to_a_rare_question_costs_nothing_else(failure: Exception) -> None:
    pooler = FakePooler(errors={"USERS": failure})
    sample = await Watch(pooler).tick()
    assert sample.users is None
    assert sample.unread == {"USERS": str(failure)}
    assert sample.config is not None
    assert sample.pools


async def test_a_lost_connection_is_never_taken_for_a_useless_answer() -> None:
    pooler = FakePooler(errors={"USERS": lost()})
    with pytest.raises(NodeError, match="closed the connection"):
        await Watch(pooler).tick()


async def test_a_table_that_cannot_be_read_says_so() -> None:
    pooler = FakePooler(tables={"POOLS": ResultTable(("database", "user"), (("app", "web"),))})
    with pytest.raises(NodeError, match="POOLS") as caught:
        await Watch(pooler).tick()
    assert caught.value.phase is Phase.PARSE
