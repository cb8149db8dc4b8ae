"""A service on a fake pooler, its journal in a temporary folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory
from console.guard.verdict import Confirm
from console.operations.outcome import TargetReceipt
from console.operations.plan import Plan
from console.operations.reach import Reach
from console.operations.service import OperationService, Run
from tests.harness.leases import FakeLeases
from tests.unit.operations.fake_pooler import FakePooler


class Bench:
    """What a unit test of operations works with."""

    def __init__(
        self,
        pooler: FakePooler,
        journal: Path,
        environment: Literal["development", "staging", "production"] = "development",
        *,
        read_only: bool = False,
        admin_user: str | None = "admin",
    ) -> None:
        self.pooler = pooler
        self.ini = pooler.lives_in(journal.parent)
        self.journal_path = journal
        names = ("edge", "edge-2")
        self.inventory = Inventory(
            fleet="test",
            environment=environment,
            bouncers=tuple(
                Bouncer(name=name, tcp="127.0.0.1:6432", admin_user=admin_user, monitor_user="stats")
                for name in names
            ),
        )
        self.leases = FakeLeases()
        self.service = OperationService(
            self.inventory,
            Reach(pooler, leases=self.leases),
            Journal(journal, SystemClock(), Actor.current({})),
            SystemClock(),
            read_only=read_only,
        )

    def submit(self, plan: Plan) -> Run:
        """Confirm and submit."""
        verdict = self.service.judge(plan)
        phrase = verdict.phrase if isinstance(verdict, Confirm) else None
        return self.service.submit(plan, self.service.permit(plan, verdict, phrase))

    async def do(self, op: str, selector: str = "edge", **parameters: Any) -> TargetReceipt:
        """Plan, confirm, carry out. A pause is held for no time unless `hold_s` says so."""
        if op == "pause":
            parameters.setdefault("hold_s", 0)
        run = self.submit(await self.service.plan(op, selector, **parameters))
        return (await run.receipt()).targets[0]

    def records(self) -> list[dict[str, Any]]:
        """The journal."""
        if not self.journal_path.exists():
            return []
        return [json.loads(line) for line in self.journal_path.read_text().splitlines()]


@pytest.fixture
def pooler() -> FakePooler:
    return FakePooler()


@pytest.fixture
def bench(pooler: FakePooler, tmp_path: Path) -> Bench:
    return Bench(pooler, tmp_path / "journal.jsonl")
