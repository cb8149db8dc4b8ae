"""Plans as data: (state, verb) → exact statements, present state, and what is refused or warned of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from console.guard.verdict import Allow, Confirm, Deny
from console.operations.observe import facts_of, fingerprint, moved
from console.operations.outcome import Outcome
from console.operations.reload_changes import changes_between
from console.operations.render import plan_text
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler


@dataclass(frozen=True)
class Case:
    op: str
    selector: str
    statements: tuple[str, ...]
    present: str
    verdict: type
    paused: bool = False
    suspended: bool = False
    paused_databases: frozenset[str] = frozenset()
    version: str = "1.24.1"


APP = frozenset({"app"})
WHOLE = ("SET server_login_retry = 0", "RESUME", "SET server_login_retry = 15")
DANCE = ("SET server_login_retry = 0", 'RESUME "app"', "SET server_login_retry = 15")
CASES = [
    Case("pause", "edge", ("PAUSE",), "running", Confirm),
    Case("pause", "edge", ("PAUSE",), "running", Confirm, version="1.18.0"),
    Case("pause", "edge/app", ('PAUSE "app"',), "running", Confirm),
    Case("pause", 'edge/"odd ""name"""', ('PAUSE "odd ""name"""',), "running", Confirm),
    Case("pause", "edge", (), "paused", Allow, paused=True),
    Case("pause", "edge", (), "paused", Allow, paused=True, version="1.18.0"),
    Case("pause", "edge/app", (), "database paused", Allow, paused_databases=APP),
    Case("pause", "edge", ("PAUSE",), "running; paused on their own: app", Confirm, paused_databases=APP),
    Case("pause", "edge/app", (), "paused", Deny, paused=True),
    Case("pause", "edge", (), "suspended", Deny, suspended=True),
    Case("resume", "edge", WHOLE, "paused", Confirm, paused=True),
    Case("resume", "edge", WHOLE, "paused", Confirm, paused=True, version="1.18.0"),
    Case("resume", "edge", WHOLE, "suspended", Confirm, suspended=True),
    Case("resume", "edge", (), "running", Allow),
    Case("resume", "edge", (), "running; paused on their own: app", Allow, paused_databases=APP),
    Case("resume", "edge/app", DANCE, "database paused", Confirm, paused_databases=APP),
    Case("resume", "edge/app", (), "running", Allow),
    Case("resume", "edge/app", DANCE, "paused", Confirm, paused=True, paused_databases=APP),
    Case("reload", "edge", ("RELOAD",), "running", Confirm),
    Case("reload", "edge", ("RELOAD",), "paused", Confirm, paused=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op} {c.selector} {c.present} {c.version}")
async def test_state_and_verb_give_exactly_these_statements(case: Case, tmp_path: Path) -> None:
    pooler = FakePooler(
        version=case.version,
        paused=case.paused,
        suspended=case.suspended,
        paused_databases=set(case.paused_databases),
    )
    bench = Bench(pooler, tmp_path / "journal.jsonl")
    async with bench.service:
        more: dict[str, Any] = {"hold_s": 0} if case.op == "pause" else {}
        plan = await bench.service.plan(case.op, case.selector, **more)
        item = plan.targets[0]
        assert item.statements == case.statements
        assert item.present == case.present
        verdict = bench.service.judge(plan)
        assert isinstance(verdict, case.verdict), verdict
        assert pooler.changing() == []
        if not isinstance(verdict, Deny):
            receipt = (await bench.submit(plan).receipt()).targets[0]
            expected = (*case.statements, *(item.rescue if item.changes else ()))
            assert tuple(exchange.statement for exchange in receipt.exchanges) == expected
            assert receipt.outcome is (Outcome.OK if case.statements else Outcome.NO_CHANGE)
            assert pooler.changing() == list(expected)


async def test_the_hash_is_of_the_world_and_not_of_the_moment(bench: Bench, pooler: FakePooler) -> None:
    first = await bench.service.plan("pause", "edge")
    assert (await bench.service.plan("pause", "edge")).hash == first.hash
    assert (await bench.service.plan("pause", "edge", timeout_s=6)).hash != first.hash
    assert (await bench.service.plan("pause", "edge/app")).hash != first.hash
    pooler.busy_servers = 5
    assert (await bench.service.plan("pause", "edge")).hash == first.hash, "use moves all the time"
    pooler.config["query_wait_timeout"] = ("60", "120")
    changed = await bench.service.plan("pause", "edge")
    assert changed.hash != first.hash
    assert moved(first.targets[0].facts, changed.targets[0].facts) == (
        "setting query_wait_timeout: 120 → 60",
    )


async def test_a_plan_says_what_it_hits_and_how_long_clients_can_wait(
    bench: Bench, pooler: FakePooler
) -> None:
    pooler.busy_servers, pooler.mode = 2, "session"
    plan = await bench.service.plan("pause", "edge")
    text = plan_text(plan)
    for words in (
        "PAUSE edge   fleet test (development)",
        "3 clients, 4 server connections",
        "patience   a client waits at most 120 s (query_wait_timeout)",
        "PAUSE cannot finish while its 2 linked clients stay connected",
        "or else    RESUME",
        "undo       pooldeck resume edge",
        "edge-2",
    ):
        assert words in text


@pytest.mark.parametrize(("timeout_s", "hold_s", "fits"), [(120, 0, False), (5, 110, True), (5, 111, False)])
@pytest.mark.trap("T11")
async def test_a_pause_longer_than_clients_wait_is_refused(
    bench: Bench, timeout_s: float, hold_s: float, fits: bool
) -> None:
    plan = await bench.service.plan("pause", "edge", timeout_s=timeout_s, hold_s=hold_s)
    verdict = bench.service.judge(plan)
    assert isinstance(verdict, Deny) is not fits
    if isinstance(verdict, Deny):
        assert "query_wait_timeout cuts them after 120 s" in verdict.reason


@pytest.mark.trap("T11")
@pytest.mark.parametrize("key", ["query_timeout", "client_login_timeout"])
async def test_whatever_cuts_a_waiting_client_first_bounds_a_pause(
    bench: Bench, pooler: FakePooler, key: str
) -> None:
    pooler.config[key] = ("20", "0")
    fits = await bench.service.plan("pause", "edge", timeout_s=5, hold_s=10)
    assert not isinstance(bench.service.judge(fits), Deny)
    verdict = bench.service.judge(await bench.service.plan("pause", "edge", timeout_s=5, hold_s=11))
    assert isinstance(verdict, Deny)
    assert f"{key} cuts them after 20 s" in verdict.reason


async def test_below_1_19_a_read_only_session_says_that_it_cannot_tell(tmp_path: Path) -> None:
    pooler = FakePooler(version="1.18.0", paused=True)
    bench = Bench(pooler, tmp_path / "journal.jsonl", read_only=True)
    plan = await bench.service.plan("resume", "edge")
    assert plan.targets[0].present == "not known to be paused"
    assert pooler.executed == [], "not even the probe"
    assert isinstance(bench.service.judge(plan), Deny)


async def test_no_secret_setting_is_among_the_facts(bench: Bench, pooler: FakePooler) -> None:
    pooler.config["auth_ldap_options"] = ("ldapbindpasswd=hunter2", "")
    plan = await bench.service.plan("reload", "edge")
    assert "hunter2" not in str(plan.as_dict())
    assert not any("hunter2" in value for value in plan.targets[0].facts.values())


@pytest.mark.parametrize(
    ("settings", "fell"),
    [
        ({"default_pool_size": "20"}, False),
        ({"default_pool_size": "40", "pool_mode": "statement", "logfile": "/x"}, False),
        ({"default_pool_size": "20", "pool_mode": "session"}, False),
        ({"default_pool_size": "20", "pool_mode": "session", "logfile": ""}, True),
        ({"admin_users": ""}, True),
        ({"auth_file": ""}, True),
    ],
)
async def test_settings_that_fell_to_their_defaults_are_the_sign_of_an_unreadable_file(
    bench: Bench, pooler: FakePooler, settings: dict[str, str], fell: bool
) -> None:
    before = (await bench.service.plan("reload", "edge")).targets[0].ask.seen
    for key, value in settings.items():
        pooler.config[key] = (value, pooler.config[key][1])
    after = (await bench.service.plan("reload", "edge")).targets[0].ask.seen
    changes = changes_between(before, after)
    assert changes.fell_to_defaults is fell
    assert len(changes.lines) == len(settings)


async def test_facts_have_a_fingerprint_that_follows_them(bench: Bench) -> None:
    item = (await bench.service.plan("pause", "edge/app")).targets[0]
    assert item.fingerprint == fingerprint(facts_of(item.ask.seen, item.target))
    other = replace(item.ask.seen, databases=())
    assert fingerprint(facts_of(other, item.target)) != item.fingerprint


@pytest.mark.parametrize("admins", ["", "somebody, else", "administrator"])
async def test_an_admin_user_that_is_no_admin_is_told_before_anybody_approves(
    tmp_path: Path, admins: str
) -> None:
    pooler = FakePooler()
    pooler.config["admin_users"] = (admins, "")
    bench = Bench(pooler, tmp_path / "journal.jsonl")
    async with bench.service:
        plan = await bench.service.plan("reconnect", "edge")
        assert f"is not one of the pooler's admin_users ({admins or 'none'})" in (
            plan.targets[0].blocked or ""
        )
        assert isinstance(bench.service.judge(plan), Deny)


@pytest.mark.parametrize("admins", ["admin", "other,admin", "other admin", " other ,  admin "])
async def test_admin_users_is_read_as_pgbouncer_reads_it(tmp_path: Path, admins: str) -> None:
    pooler = FakePooler()
    pooler.config["admin_users"] = (admins, "")
    bench = Bench(pooler, tmp_path / "journal.jsonl")
    async with bench.service:
        assert (await bench.service.plan("reconnect", "edge")).targets[0].blocked is None
