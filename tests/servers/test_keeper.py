"""A keeper beside a real pooler: it ends its own pause when its console is silent, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from console.errors import NodeError
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN
from console.operations.lease.keepers import Keeper, KeeperOutcome
from tests.harness.servers import MakePgBouncer
from tests.servers.keeper_kit import (
    LIMIT_S,
    Post,
    carried,
    order_for_server,
    paused,
    post,
    rows,
    serving,
    until_gone,
)
from tests.servers.operations_kit import until

__all__ = ["post"]  # a fixture
PAUSE = {None: "PAUSE", "app": 'PAUSE "app"'}
RESUME = {None: "RESUME", "app": 'RESUME "app"'}
either = pytest.mark.parametrize("database", [None, "app"], ids=["global", "database"])


async def hold(post: Post, server: PgBouncerServer, database: str | None = None, **changes: Any) -> Keeper:
    """Pause a pooler under a keeper that knows it."""
    keeper = await post.arm(server, database, **changes)
    with server.admin() as console:
        console.execute(PAUSE[database])
        await keeper.held(carried(console, database))
    await post.until(keeper, lambda report: report.held)
    return keeper


@either
async def test_a_silent_console_s_pause_is_lifted(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, database: str | None
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server):
        keeper = await hold(post, server, database)
        await keeper.renew(0.1)
        result = await post.result(keeper)
    assert result.outcome is KeeperOutcome.RESUMED, result
    shields = [] if database is None else ["SET server_login_retry = 0", "SET server_login_retry = 15"]
    assert [each.statement for each in result.exchanges] == [*shields[:1], RESUME[database], *shields[1:]]
    assert not paused(server, database)
    with server.admin() as console:
        assert {row["key"]: row["value"] for row in rows(console, "CONFIG")}["server_login_retry"] == "15"


@either
async def test_a_pause_that_was_still_pending_is_lifted_too(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, database: str | None
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server) as client, client.transaction(), contextlib.closing(server.admin()) as console:
        client.execute("select 1")
        keeper = await post.arm(server, database)
        console.pgconn.send_query(PAUSE[database].encode())
        console.pgconn.flush()
        await until(lambda: paused(server, database))
        await keeper.renew(0.1)
        result = await post.result(keeper)
    assert (result.outcome, result.held) == (KeeperOutcome.RESUMED, False)
    assert not paused(server, database)


async def test_a_pause_that_comes_a_moment_after_the_lease_s_end_is_lifted(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with server.admin() as console:
        keeper = await post.arm(server)
        state = Path((await post.report(keeper)).folder, "state")
        await keeper.renew(0.1)
        await until(lambda: json.loads(state.read_text())["lifting"])
        console.execute("PAUSE")
        assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


async def test_a_console_that_never_paused_leaves_nothing_to_lift(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    keeper = await post.arm(make_pgbouncer(), ttl_s=0.1)
    result = await post.result(keeper)
    assert (result.outcome, result.exchanges) == (KeeperOutcome.NOT_PAUSED, ())


@either
async def test_a_released_keeper_leaves_the_pause_alone_and_nothing_of_itself(
    make_pgbouncer: MakePgBouncer, post: Post, database: str | None
) -> None:
    server = make_pgbouncer()
    keeper = await hold(post, server, database)
    report = await post.report(keeper)
    result = await keeper.release(timeout_s=LIMIT_S)
    assert result is not None
    assert (result.outcome, result.exchanges) == (KeeperOutcome.RELEASED, ())
    assert paused(server, database)
    assert await keeper.status() is None
    await until_gone(report.pid)


async def test_each_renewal_counts_from_its_own_moment(make_pgbouncer: MakePgBouncer, post: Post) -> None:
    keeper = await hold(post, make_pgbouncer(), ttl_s=300)
    assert ((await post.report(keeper)).remaining_s or 0) <= 300
    await keeper.renew(3600)
    report = await post.until(keeper, lambda report: (report.remaining_s or 0) > 300)
    assert report.held, "a renewal forgets nothing"


async def test_clients_that_give_up_do_not_make_it_somebody_else_s_pause(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    """PgBouncer counts a transaction and a query for each waiting client that leaves or is cut."""
    server = make_pgbouncer(pgbouncer_version, query_wait_timeout=1)
    with serving(server) as client:
        keeper = await hold(post, server)
        with server.admin() as console:
            before = _transactions(console)
            with pytest.raises(psycopg.Error, match="query_wait_timeout"):
                await asyncio.to_thread(client.execute, "select 1")
            assert _transactions(console) > before
        await keeper.renew(0.1)
        assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


@either
async def test_somebody_s_resume_ends_it(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, database: str | None
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server) as client, server.admin() as console:
        keeper = await hold(post, server, database)
        console.execute(RESUME[database])
        # Below 1.19 nothing but traffic tells, without a line in the log for each look.
        client.execute("select 1")
        result = await post.result(keeper)
    assert (result.outcome, result.exchanges) == (KeeperOutcome.NOT_PAUSED, ())
    with pytest.raises(NodeError, match="somebody resumed it"):
        await keeper.renew(30)


@either
async def test_somebody_s_later_pause_is_theirs(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, database: str | None
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server) as client, server.admin() as console:
        keeper = await hold(post, server, database)
        console.execute(RESUME[database])
        client.execute("select 1")
        console.execute(PAUSE[database])
        await _silence(keeper)
        result = await post.result(keeper)
    assert (result.outcome, result.exchanges) == (KeeperOutcome.NOT_PAUSED, ())
    assert paused(server, database)


@either
async def test_a_resume_before_it_was_held_ends_it_as_well(
    make_pgbouncer: MakePgBouncer, post: Post, database: str | None
) -> None:
    """Below 1.19 a global pause that is not held is not seen, so there this cannot be told."""
    server = make_pgbouncer("1.24")
    keeper = await post.arm(server, database)
    with server.admin() as console:
        console.execute(PAUSE[database])
        await post.until(keeper, lambda report: bool(report.paused))
        console.execute(RESUME[database])
        assert (await post.result(keeper)).outcome is KeeperOutcome.NOT_PAUSED


@pytest.mark.parametrize("evidence", ["pid file", "counters", "neither"])
async def test_a_restarted_pooler_s_pause_is_not_ours(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, evidence: str
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    if evidence == "counters":
        with serving(server):
            pass
    identity = dict(order_for_server(server).identity)
    if evidence != "pid file":
        del identity["pidfile"]
    keeper = await hold(post, server, identity=identity)
    server.kill()
    server.start()
    with server.admin() as console:
        console.execute("PAUSE")
    await _silence(keeper)
    result = await post.result(keeper)
    assert (result.outcome, result.exchanges) == (KeeperOutcome.ANOTHER_PROCESS, ())
    assert paused(server)


async def test_a_pooler_that_hangs_when_time_is_up_is_resumed_when_it_moves_again(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    with serving(server):
        keeper = await hold(post, server, query_timeout_s=0.5, connect_timeout_s=0.5)
        with server.stopped():
            await keeper.renew(0.1)
            await post.until(keeper, lambda report: report.trouble is not None)
        assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


async def test_a_pooler_that_never_comes_back_is_given_up_in_words(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    keeper = await hold(post, server, rescue_s=0.5)
    server.kill()
    await _silence(keeper)
    result = await post.result(keeper)
    assert result.outcome is KeeperOutcome.FAILED
    assert "not to be reached" in result.detail


@pytest.mark.trap("T4")
async def test_clients_of_a_resumed_database_are_served_at_once(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post
) -> None:
    """Trap T4: without the shield they fail for up to `server_login_retry`."""
    server = make_pgbouncer(pgbouncer_version, min_pool_size=2, server_login_retry=300)
    answers: list[Any] = []

    def come_in() -> None:
        try:
            with server.connect("app", user="worker", connect_timeout=int(LIMIT_S)) as client:
                answers.append(client.execute("select 7").fetchone())
        except psycopg.Error as error:
            answers.append(error)

    with serving(server):
        keeper = await hold(post, server, "app")
        newcomer = Thread(target=come_in)
        newcomer.start()
        await until(lambda: _waiting(server, "worker"))
        await keeper.renew(0.1)
        assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
        newcomer.join(LIMIT_S)
    assert answers == [(7,)]


async def test_sigterm_lifts_at_once_and_sighup_does_nothing(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    keeper = await hold(post, server)
    pid = (await post.report(keeper)).pid
    assert pid is not None
    os.kill(pid, signal.SIGHUP)
    await keeper.renew(900)
    await post.until(keeper, lambda report: (report.remaining_s or 0) > 600)
    os.kill(pid, signal.SIGTERM)
    assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


async def test_a_keeper_that_no_console_confirmed_does_nothing(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    word = server.secrets.password(ADMIN)
    task = {"task": "arm", "order": order_for_server(server).as_dict(), "password": word}
    ready = await post.keepers.ask(post.host, "test", task, timeout_s=LIMIT_S)
    with server.admin() as console:
        console.execute("PAUSE")
    os.kill(ready["pid"], signal.SIGTERM)  # its time is up, at once
    await until_gone(ready["pid"])
    assert paused(server)
    assert await post.left(server) == []


async def test_a_killed_keeper_is_known_as_such_and_replaced(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    keeper = await hold(post, server, lease_id="a1")
    pid = (await post.report(keeper)).pid
    assert pid is not None
    with pytest.raises(NodeError, match="already"):
        await post.arm(server, lease_id="a1")
    os.kill(pid, signal.SIGKILL)
    report = await post.until(keeper, lambda report: not report.alive)
    assert (report.result, report.remaining_s) == (None, None)
    with pytest.raises(NodeError, match="killed"):
        await keeper.renew(30)
    again = await post.arm(server, lease_id="a1")
    assert again.paused, "it is told that the pause is there already"
    await again.renew(0.1)
    assert (await post.result(again)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


async def test_results_stay_until_they_are_taken(make_pgbouncer: MakePgBouncer, post: Post) -> None:
    server = make_pgbouncer()
    ended = await hold(post, server, lease_id="a1")
    await ended.renew(0.1)
    await post.result(ended)
    living = await post.arm(server, "app", lease_id="b2")
    for remove in (False, True):
        reports = await post.left(server, remove=remove)
        assert [(r.lease_id, r.bouncer, r.database, r.alive) for r in reports] == [
            ("a1", server.name, None, False),
            ("b2", server.name, "app", True),
        ]
        assert reports[0].result is not None
        assert reports[0].result.outcome is KeeperOutcome.RESUMED
    (left,) = await post.left(server)
    assert left.key == living.key
    found = post.keepers.keeper(post.host, left.key)
    assert await found.release(timeout_s=LIMIT_S) is not None


async def test_it_outlives_its_runtime_folder(make_pgbouncer: MakePgBouncer, post: Post) -> None:
    """XDG_RUNTIME_DIR goes with its user's last session: that of the very connection that was lost."""
    server = make_pgbouncer()
    keeper = await hold(post, server)
    runtime = os.environ["XDG_RUNTIME_DIR"]
    shutil.rmtree(runtime)
    os.mkdir(runtime, mode=0o700)
    report = await post.until_found(keeper)
    assert report.folder.startswith("/tmp/pooldeck-keeper-")
    await keeper.renew(0.1)
    assert (await post.result(keeper)).outcome is KeeperOutcome.RESUMED
    assert not paused(server)


async def test_no_process_list_environment_or_file_holds_the_password(
    make_pgbouncer: MakePgBouncer, post: Post
) -> None:
    server = make_pgbouncer()
    keeper = await hold(post, server)
    report = await post.report(keeper)
    seen = _shown(report.pid, report.folder)
    assert b"pooldeck-keeper" in seen[0]
    await keeper.renew(0.1)
    await post.result(keeper)
    seen += _shown(None, report.folder)
    assert len(seen) > 3
    assert not any(server.secrets.password(ADMIN).encode() in text for text in seen)


async def _silence(keeper: Keeper) -> None:
    """Let a keeper's time run out, unless it has ended by itself."""
    with contextlib.suppress(NodeError):
        await keeper.renew(0.1)


def _shown(pid: int | None, folder: str) -> list[bytes]:
    """What anybody on the host could read: a process's words and environment, and a keeper's files."""
    places = [] if pid is None else [Path(f"/proc/{pid}/{name}") for name in ("cmdline", "environ")]
    return [path.read_bytes() for path in (*places, *Path(folder).iterdir())]


def _transactions(console: psycopg.Connection[Any]) -> int:
    return sum(int(row["total_xact_count"]) for row in rows(console, "STATS") if row["database"] == "app")


def _waiting(server: PgBouncerServer, user: str) -> bool:
    with server.admin() as console:
        return any(row["cl_waiting"] for row in rows(console, "POOLS") if row["user"] == user)
