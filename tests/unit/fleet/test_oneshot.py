"""One reading of a fleet for scripts: rates in it, and nodes that are down are data."""

from __future__ import annotations

from console.clock import SystemClock
from console.errors import NodeError, Phase
from console.fleet.oneshot import read_once
from console.model.fleet import FleetSnapshot, Fresh, PoolerState, PostgresState, Stale, Unreachable
from console.model.table import ResultTable
from tests.unit.fleet.fakes import (
    FakeNode,
    FakePooler,
    FakePostgresSource,
    FakeSource,
    inventory,
    lost,
    refused,
)


async def read(
    poolers: dict[str, FakePooler],
    nodes: dict[str, FakeNode] | None = None,
    *,
    names: list[str] | None = None,
    deadline_s: float = 5.0,
) -> FleetSnapshot:
    return await read_once(
        inventory(*poolers, postgres=tuple(nodes or ()), query_timeout_s=0.05),
        FakeSource(poolers),
        FakePostgresSource(nodes),
        SystemClock(),
        interval_s=0.05,
        deadline_s=deadline_s,
        poolers=names,
    )


async def test_two_samples_give_rates_and_no_session_is_left() -> None:
    pooler = FakePooler()
    seen = await read({"a": pooler}, {"pg": FakeNode(lag_s=1.5)})
    one = seen.by_name["a"]
    assert one.state is PoolerState.UP
    assert isinstance(one.freshness, Fresh)
    assert one.rates is not None
    assert one.rates["app"].xact_per_s > 0
    assert one.sample is not None
    assert one.sample.users is not None, "pool sizes of users need SHOW USERS"
    assert seen.postgres[0].state is PostgresState.UP
    assert seen.postgres[0].reading is not None
    assert seen.postgres[0].reading.replication_lag_s == 1.5
    assert (pooler.sessions, pooler.open_sessions) == (1, 0)
    assert not {"CLIENTS", "SERVERS"} & set(pooler.asked)


async def test_nodes_that_are_down_are_rows() -> None:
    poolers = {
        "down": FakePooler(connect_error=refused()),
        "mute": FakePooler(hang={"POOLS"}),
        "a": FakePooler(),
    }
    seen = await read(poolers, {"pg": FakeNode(error=NodeError(Phase.AUTH, "no"))})
    down, mute = seen.by_name["down"].freshness, seen.by_name["mute"].freshness
    assert isinstance(down, Unreachable)
    assert (down.phase, down.error, down.retry_in_s) == (Phase.CONNECT, "connection refused", None)
    assert isinstance(mute, Unreachable)
    assert mute.phase is Phase.PROTOCOL
    assert seen.by_name["a"].state is PoolerState.UP
    assert seen.postgres[0].state is PostgresState.UNREACHABLE
    assert [one.open_sessions for one in poolers.values()] == [0, 0, 0]


async def test_a_pooler_lost_after_its_first_sample_keeps_that_one_and_has_no_rates() -> None:
    class DiesLater(FakePooler):
        def answer(self, what: str) -> ResultTable:
            if what == "LISTS":
                self.errors["POOLS"] = lost()
            return super().answer(what)

    one = (await read({"a": DiesLater()})).by_name["a"]
    assert isinstance(one.freshness, Stale)
    assert one.state is PoolerState.STALE
    assert one.sample is not None
    assert one.rates is None


async def test_the_whole_reading_has_an_end() -> None:
    seen = await read({"stuck": FakePooler(hang_connect=True), "a": FakePooler()}, deadline_s=0.3)
    stuck = seen.by_name["stuck"].freshness
    assert isinstance(stuck, Unreachable)
    assert stuck.phase is Phase.CONNECT
    assert "0.3 s" in stuck.error
    assert seen.by_name["a"].state is PoolerState.UP


async def test_only_the_chosen_are_read() -> None:
    poolers = {"a": FakePooler(), "b": FakePooler()}
    seen = await read(poolers, names=["b"])
    assert [one.info.name for one in seen.poolers] == ["b"]
    assert poolers["a"].sessions == 0
