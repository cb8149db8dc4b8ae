"""What a keeper makes of answers that no PgBouncer of ours gives at will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from console.operations.lease import keeper_pooler
from console.operations.lease.keeper_pooler import ANOTHER_PROCESS, Look, Over, Pooler, Stranger
from console.operations.lease.keeper_wire import Answer, Refused, Session, Trouble

ORDER: dict[str, Any] = {
    "database": None,
    "address": {},
    "identity": {"listen_port": "6432"},
    "carried_bytes": None,
    "connect_timeout_s": 1.0,
    "query_timeout_s": 1.0,
}
CONFIG = [{"key": "listen_port", "value": "6432"}, {"key": "min_pool_size", "value": "0"}]
NOTHING: Mapping[str, Any] = {}
Rows = list[dict[str, str | None]]


class Console:
    """A session whose answers are written down: rows, an ERROR, or several in turn."""

    def __init__(self, answers: Mapping[str, Any] = NOTHING, version: str = "1.24.1/bouncer") -> None:
        self.parameters = {"server_version": version}
        self.answers: dict[str, Any] = {
            "SHOW CONFIG": CONFIG,
            "SHOW STATE": [{"key": "paused", "value": "yes"}],
            **answers,
        }
        self.answers.setdefault("SHOW STATS", stats(app=7))
        self.asked: list[str] = []

    def query(self, statement: str, timeout_s: float) -> Answer:  # noqa: ARG002
        self.asked.append(statement)
        answer = self.answers.get(statement, Refused("cannot pause admin db: pgbouncer"))
        if isinstance(answer, tuple):
            answer, *rest = answer
            self.answers[statement] = tuple(rest) if len(rest) > 1 else rest[0]
        if isinstance(answer, Exception):
            raise answer
        return Answer("SHOW", cast(Rows, answer))

    def close(self) -> None:
        return


def stats(**carried: int) -> list[dict[str, str]]:
    rows = [{"database": name, "total_received": str(n), "total_sent": "0"} for name, n in carried.items()]
    return [*rows, {"database": "pgbouncer", "total_received": "999", "total_sent": "999"}]


def pooler(monkeypatch: pytest.MonkeyPatch, *consoles: Console, **order: Any) -> Pooler:
    left = list(consoles)
    monkeypatch.setattr(keeper_pooler, "log_in", lambda *_: cast(Session, left.pop(0)))
    monkeypatch.setattr(keeper_pooler, "WARM_POLL_S", 0.0)
    return Pooler({**ORDER, **order}, None)


def test_it_sees_the_pause_and_what_applications_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pooler(monkeypatch, Console()).begin() == Look(True, {"app": 7})


def test_below_1_19_a_global_pause_is_probed_only_when_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(version="1.18.0/bouncer")
    kept = pooler(monkeypatch, console)
    kept.begin()
    console.asked.clear()
    assert kept.look(1, sure=False).paused is None
    assert "PAUSE pgbouncer" not in console.asked
    console.answers["PAUSE pgbouncer"] = Refused("already suspended/paused")
    assert kept.look(1, sure=True).paused is True


@pytest.mark.parametrize("version", ["15.4", "", "x/bouncer"])
def test_what_is_no_pooler_is_told_so(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    with pytest.raises(Trouble, match="not a PgBouncer"):
        pooler(monkeypatch, Console(version=version)).begin()


@pytest.mark.parametrize(
    "answers",
    [
        {"SHOW STATS": [{"database": "app", "total_received": "many", "total_sent": "0"}]},
        {"SHOW STATS": [{"database": "app"}]},
        {"SHOW STATE": []},
    ],
)
def test_an_answer_that_is_not_understood_is_trouble(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    kept = pooler(monkeypatch, Console(answers))
    with pytest.raises(Trouble) as caught:
        kept.begin()
    assert caught.value.phase == "parse"
    assert not kept.connected


def test_a_neighbour_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = Console({"SHOW CONFIG": [{"key": "listen_port", "value": "7777"}]})
    kept = pooler(monkeypatch, Console(), neighbour, Console())
    kept.begin()
    kept.drop()
    with pytest.raises(Stranger, match="listen_port"):
        kept.look(1, sure=True)
    assert neighbour.asked == ["SHOW CONFIG"]
    assert kept.look(1, sure=True).paused


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"app": 7}, {"app": 7}, True),
        ({"app": 7, "b": 5}, {"app": 7}, True),  # `b` was dropped by a RELOAD
        ({"app": 7, "b": 5}, {"app": 2, "b": 1}, False),
        ({"app": 7}, {}, False),
        ({"app": 0}, {"app": 0}, False),  # nothing tells them apart, and no pid file either
    ],
)
def test_after_a_lost_session_the_counters_are_evidence(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, int], after: dict[str, int], same: bool
) -> None:
    first, second = Console({"SHOW STATS": stats(**before)}), Console({"SHOW STATS": stats(**after)})
    kept = pooler(monkeypatch, first, second)
    kept.begin()
    kept.drop()
    if same:
        assert kept.look(1, sure=True).traffic == after
        return
    with pytest.raises(Over) as caught:
        kept.look(1, sure=True)
    assert caught.value.outcome == ANOTHER_PROCESS


def test_the_shield_stays_until_servers_have_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = {"database": "app", "cl_active": "0", "cl_waiting": "0", "sv_login": "0"}
    none = {"sv_active": "0", "sv_idle": "0", "sv_used": "0"}
    waiting, logging_in = {**idle, **none, "cl_waiting": "3"}, {**idle, **none, "sv_login": "1"}
    console = Console(
        {
            "SHOW DATABASES": [{"name": "app", "paused": "0", "min_pool_size": "0"}],
            "SHOW POOLS": ([waiting], [logging_in], [{**idle, **none, "sv_active": "1"}]),
            "SHOW LISTS": [{"list": "login_clients", "items": "0"}],
        }
    )
    kept = pooler(monkeypatch, console, database="app")
    kept.begin()
    kept.warm_up()
    assert console.asked.count("SHOW POOLS") == 3
    console.answers["SHOW LISTS"] = ([{"list": "login_clients", "items": "1"}],) * 2 + (
        [{"list": "login_clients", "items": "0"}],
    )
    kept.warm_up()
    assert console.asked.count("SHOW POOLS") == 6
    # A pool with a minimum is about to be filled, also while nobody waits.
    console.answers["SHOW DATABASES"] = [{"name": "app", "paused": "0", "min_pool_size": "2"}]
    console.answers["SHOW POOLS"] = ([{**idle, **none, "cl_active": "1"}], [{**idle, **none}])
    kept.warm_up()
    assert console.asked.count("SHOW POOLS") == 8
