"""Signals to backends in moments that no real server makes on demand: after the last look, in the signal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Inventory, PostgresNode
from console.errors import LostConnection, NodeError, Phase
from console.guard.verdict import Confirm
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.postgres.activity import Backend
from console.postgres.sessions import Rights, Surroundings
from tests.unit.operations.fake_pooler import FakePooler

BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
BUSY = Backend(
    node="primary",
    pid=4711,
    started_at=BEGAN,
    database="app",
    user="app",
    application_name="web",
    client_address="10.0.0.1",
    client_port=50_000,
    state="active",
    wait_event_type=None,
    wait_event=None,
    xact_started_at=BEGAN + timedelta(minutes=1),
    query_started_at=BEGAN + timedelta(minutes=2),
    xact_age_s=60.0,
    query_age_s=30.0,
    state_age_s=30.0,
    blocked_by=(),
)
IDLE = replace(BUSY, state="idle", xact_started_at=None, xact_age_s=None)
NEXT = replace(BUSY, xact_started_at=BEGAN + timedelta(minutes=9))
OTHER = replace(BUSY, started_at=BEGAN + timedelta(hours=1))


@dataclass
class FakeNode:
    """One node: `backend` is what its sessions see; hooks change it at one moment."""

    backend: Backend | None = BUSY
    before_signal: Callable[[], None] = lambda: None
    after_signal: Callable[[], None] = lambda: None
    looks_left: int = 10_000
    """So many looks until `then` is what is seen."""
    then: Backend | None = None
    signals: list[tuple[int, bool]] = field(default_factory=list)
    kind: str | None = "client backend"

    async def session(self, name: str) -> FakeNode:  # noqa: ARG002
        return self

    async def poolers_at(self, name: str, address: str | None) -> tuple[str, ...]:  # noqa: ARG002
        return ("edge",)

    async def backends(self, pids: Collection[int], *, timeout_s: float) -> tuple[Backend, ...]:  # noqa: ARG002
        if not self.looks_left:
            self.backend = self.then
        self.looks_left -= 1
        return () if self.backend is None else (self.backend,)

    async def surroundings(self, pids: Collection[int], *, timeout_s: float) -> Mapping[int, Surroundings]:  # noqa: ARG002
        return {} if self.backend is None else {self.backend.pid: Surroundings(self.kind, ())}

    async def rights(self, *, timeout_s: float) -> Rights:  # noqa: ARG002
        return Rights("postgres", superuser=True, signals=True, sees=True, signals_autovacuum=None)

    async def signal(self, pid: int, started_at: datetime, *, terminate: bool, timeout_s: float) -> bool:  # noqa: ARG002
        self.before_signal()
        if self.backend is None or self.backend.started_at != started_at:
            return False
        self.signals.append((pid, terminate))
        self.after_signal()
        return True

    async def close(self) -> None:
        return


LOOKS_BEFORE = 2
"""For the plan, and once more before the intent is recorded."""


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def do(node: FakeNode, tmp_path: Path) -> Callable[..., Any]:
    inventory = Inventory(
        fleet="test",
        environment="development",
        postgres=(PostgresNode(name="primary", role="primary", tcp="127.0.0.1:5432"),),
    )
    clock = SystemClock()
    journal = Journal(tmp_path / "journal.jsonl", clock, Actor.current({}))

    async def carry_out(op: str, **parameters: Any) -> TargetReceipt:
        service = OperationService(
            inventory, Reach(FakePooler(), nodes=node), journal, clock, read_only=False
        )
        async with service:
            plan = await service.plan(op, "primary", pids=("4711",), **parameters)
            verdict = service.judge(plan)
            phrase = verdict.phrase if isinstance(verdict, Confirm) else None
            receipt = await service.submit(plan, service.permit(plan, verdict, phrase)).receipt()
            return receipt.targets[0]

    return carry_out


def becomes(node: FakeNode, backend: Backend | None) -> Callable[[], None]:
    def change() -> None:
        node.backend = backend

    return change


async def test_another_transaction_by_the_last_moment_is_left_alone(
    node: FakeNode, do: Callable[..., Any]
) -> None:
    node.looks_left, node.then = LOOKS_BEFORE, NEXT
    receipt = await do("cancel")
    assert (receipt.outcome, node.signals) == (Outcome.NO_CHANGE, [])
    assert "in another transaction by then, and left alone" in receipt.detail


@pytest.mark.parametrize("then", [None, OTHER], ids=["gone", "its pid reused"])
@pytest.mark.parametrize("op", ["cancel", "terminate"])
async def test_a_backend_that_went_by_itself_is_no_change(
    node: FakeNode, do: Callable[..., Any], op: str, then: Backend | None
) -> None:
    node.looks_left, node.then = LOOKS_BEFORE, then
    receipt = await do(op)
    assert (receipt.outcome, node.signals) == (Outcome.NO_CHANGE, [])
    assert receipt.detail == "backend 4711 was gone already"


async def test_one_that_goes_between_the_look_and_the_signal_is_no_change(
    node: FakeNode, do: Callable[..., Any]
) -> None:
    node.before_signal = becomes(node, OTHER)
    receipt = await do("terminate")
    assert (receipt.outcome, node.signals) == (Outcome.NO_CHANGE, [])


@pytest.mark.parametrize(("op", "after"), [("cancel", IDLE), ("cancel", None), ("terminate", None)])
async def test_what_the_signal_was_for_is_seen_to_be_over(
    node: FakeNode, do: Callable[..., Any], op: str, after: Backend | None
) -> None:
    node.after_signal = becomes(node, after)
    receipt = await do(op)
    assert receipt.outcome is Outcome.OK, receipt.detail
    assert node.signals == [(4711, op == "terminate")]


@pytest.mark.parametrize("op", ["cancel", "terminate"])
async def test_one_that_does_not_end_is_a_failure(node: FakeNode, do: Callable[..., Any], op: str) -> None:
    receipt = await do(op, timeout_s=0.3)
    assert receipt.outcome is Outcome.FAILED
    assert "signalled, but after 0.3 s still there: backend 4711" in receipt.detail
    if op == "cancel":
        assert receipt.next_steps == ("pooldeck terminate primary 4711",)


async def test_a_signal_whose_answer_is_lost_is_decided_by_reading_back(
    node: FakeNode, do: Callable[..., Any]
) -> None:
    def cut() -> None:
        node.backend = None
        raise LostConnection(Phase.PROTOCOL, "the connection was closed")

    node.after_signal = cut
    receipt = await do("terminate")
    assert receipt.outcome is Outcome.OK, receipt.detail


async def test_a_signal_that_may_be_lost_and_shows_nothing_is_unknown(
    node: FakeNode, do: Callable[..., Any]
) -> None:
    def cut() -> None:
        raise LostConnection(Phase.PROTOCOL, "the connection was closed")

    node.before_signal = cut
    receipt = await do("terminate", timeout_s=0.3)
    assert receipt.outcome is Outcome.UNKNOWN


async def test_a_node_that_is_gone_afterwards_is_unknown(
    node: FakeNode, do: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        async def refuse(self: FakeNode, name: str) -> FakeNode:
            raise NodeError(Phase.CONNECT, "Connection refused")

        monkeypatch.setattr(FakeNode, "session", refuse)
        raise LostConnection(Phase.PROTOCOL, "the connection was closed")

    node.before_signal = crash
    receipt = await do("terminate")
    assert receipt.outcome is Outcome.UNKNOWN
