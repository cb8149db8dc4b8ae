"""Whose pause is it? Every row is a story that a guardian may come upon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.operations.lease.evidence import Evidence, Standing, judge, served

ALIKE = Evidence(
    database=None,
    paused=True,
    same_session=True,
    same_settings=True,
    process_then=None,
    process_now=None,
    traffic_then={"app": 900, "other": 50},
    traffic_held={"app": 1000, "other": 50},
    traffic_now={"app": 1000, "other": 50},
)
LOST = replace(ALIKE, same_session=False)


@pytest.mark.parametrize(
    ("seen", "standing"),
    [
        pytest.param(ALIKE, Standing.OURS, id="nothing happened"),
        pytest.param(replace(ALIKE, paused=False), Standing.RUNNING, id="resumed by somebody"),
        pytest.param(replace(ALIKE, paused=None), Standing.OURS, id="a paused database no longer listed"),
        pytest.param(
            replace(ALIKE, traffic_now={"app": 1001, "other": 50}),
            Standing.FOREIGN,
            id="resumed and paused again",
        ),
        pytest.param(replace(ALIKE, seen_running=True), Standing.FOREIGN, id="it was seen running between"),
        pytest.param(
            replace(ALIKE, traffic_held=None, traffic_now={"app": 5000, "other": 60}),
            Standing.OURS,
            id="pending: clients are served until it is drained",
        ),
        pytest.param(
            replace(ALIKE, traffic_now={"app": 1000}), Standing.OURS, id="an idle pool was removed (1.26)"
        ),
        pytest.param(LOST, Standing.OURS, id="the connection was cut"),
        pytest.param(replace(LOST, traffic_now={}), Standing.GONE, id="restarted, not used since"),
        pytest.param(
            replace(LOST, traffic_now={"app": 7, "other": 3}), Standing.GONE, id="restarted and used since"
        ),
        pytest.param(replace(LOST, paused=False, traffic_now={}), Standing.GONE, id="restarted, and running"),
        pytest.param(
            replace(LOST, traffic_held=None, traffic_now={}), Standing.GONE, id="restarted while pending"
        ),
        pytest.param(
            replace(LOST, traffic_now={"app": 1000}), Standing.OURS, id="cut, and a database was dropped"
        ),
        pytest.param(replace(LOST, same_settings=False), Standing.OURS, id="cut, and reloaded meanwhile"),
        pytest.param(
            replace(LOST, same_settings=False, traffic_now={"app": 999, "other": 51}),
            Standing.GONE,
            id="another process on the port",
        ),
        pytest.param(
            replace(ALIKE, same_settings=False), Standing.OURS, id="reloaded under an unbroken session"
        ),
        pytest.param(
            replace(LOST, traffic_then={}, traffic_held={}, traffic_now={}),
            Standing.OURS,
            id="never used: nothing tells a restart",
        ),
        pytest.param(
            replace(LOST, traffic_then={}, traffic_held={}, process_then="7 100", process_now="8 900"),
            Standing.GONE,
            id="never used, and the pid file names another process",
        ),
        pytest.param(
            replace(LOST, traffic_now={}, process_then="7 100", process_now="7 100"),
            Standing.OURS,
            id="the pid file names the same process, whatever was counted",
        ),
        pytest.param(
            replace(LOST, traffic_now={}, process_then="7 100", process_now=None),
            Standing.GONE,
            id="the pid file is gone",
        ),
        pytest.param(
            replace(LOST, database="app", traffic_held=None, traffic_now={"other": 50}, loses_counters=True),
            Standing.OURS,
            id="killed: its own counters are gone",
        ),
        pytest.param(
            replace(LOST, database="app", traffic_held=None, traffic_now={}, loses_counters=True),
            Standing.GONE,
            id="killed, then restarted",
        ),
        pytest.param(
            replace(ALIKE, database="app", traffic_now={"app": 1000, "other": 99}),
            Standing.OURS,
            id="another database goes on",
        ),
        pytest.param(
            replace(ALIKE, database="app", traffic_now={"app": 1001, "other": 50}),
            Standing.FOREIGN,
            id="this database was served",
        ),
    ],
)
def test_whose_pause_it_is(seen: Evidence, standing: Standing) -> None:
    found = judge(seen)
    assert found.standing is standing, found.because


def test_a_database_that_was_first_used_since_counts_as_served() -> None:
    assert served(None, {}, {"app": 1})
    assert not served(None, {"app": 1}, {})
    assert not served("app", {"app": 1}, {"app": 1, "other": 2})
