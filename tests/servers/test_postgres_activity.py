"""Backends of a real PostgreSQL: what is seen of them, and signals that hit one of them and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from console.config.schema import Inventory
from console.errors import AdminError, DeadlineError, LostConnection
from console.lab.postgres import PostgresServer
from console.lab.secrets import MONITOR, SUPERUSER
from console.postgres import activity as activity_module
from console.postgres.activity import (
    ActivitySession,
    Backend,
    BackendGap,
    PostgresActivity,
    PostgresBackends,
    read_backend,
    signal_backend,
)
from console.postgres.connect import PostgresConnector
from tests.harness.faults import FaultProxy
from tests.servers.operations_kit import Direct, LabPasswords, until
from tests.servers.verbs_kit import without_signals

LIMIT_S = 10.0
LOCK = 4712
Client = psycopg.Connection[tuple[Any, ...]]


def activity(postgres: PostgresServer, user: str = MONITOR, *, port: int | None = None) -> PostgresActivity:
    fleet = Inventory.model_validate(
        {
            "fleet": "test",
            "environment": "development",
            "defaults": {"connect_timeout_s": LIMIT_S, "query_timeout_s": LIMIT_S},
            "postgres": [
                {
                    "name": "main",
                    "role": "primary",
                    "tcp": f"{postgres.host}:{port or postgres.port}",
                    "user": user,
                    "sslmode": "disable",
                }
            ],
        }
    )
    return PostgresActivity(PostgresConnector(fleet, Direct(), LabPasswords(postgres.secrets)))


@pytest.fixture
async def session(postgres: PostgresServer) -> AsyncIterator[ActivitySession]:
    made = await activity(postgres).session("main")
    yield made
    await made.close()


@contextmanager
def client(postgres: PostgresServer, name: str, user: str = "app") -> Iterator[Client]:
    with postgres.connect("app", user=user, application_name=name) as made:
        yield made


async def seen(session: ActivitySession, client: Client) -> Backend:
    (found,) = await session.backends([client.info.backend_pid], timeout_s=LIMIT_S)
    return found


def lives(postgres: PostgresServer, pid: int) -> bool:
    return bool(postgres.value(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"))


async def test_a_backend_is_read_with_its_ages_and_who_blocks_it(
    session: ActivitySession, postgres: PostgresServer
) -> None:
    with client(postgres, "billing") as holder, client(postgres, "web", "worker") as waiter:
        holder.execute("BEGIN")
        holder.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        waiting = asyncio.create_task(
            asyncio.to_thread(waiter.execute, f"SELECT pg_advisory_lock({LOCK}), pg_advisory_unlock({LOCK})")
        )
        try:
            await until(lambda: postgres.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
            idle = await seen(session, holder)
            blocked = await seen(session, waiter)
        finally:
            holder.execute("COMMIT")
            await asyncio.wait_for(waiting, LIMIT_S)
        ended = await seen(session, holder)

    assert (idle.node, idle.database, idle.user, idle.application_name) == ("main", "app", "app", "billing")
    assert idle.state == "idle in transaction"
    assert idle.client_address == postgres.host
    assert idle.blocked_by == ()
    assert idle.xact_age_s is not None
    assert idle.state_age_s is not None
    assert idle.xact_age_s >= idle.state_age_s >= 0
    (blocker,) = blocked.blocked_by or ()
    assert (blocker.pid, blocker.user, blocker.application_name) == (idle.pid, "app", "billing")
    assert blocker.state == "idle in transaction"
    assert (ended.state, ended.xact_age_s, ended.xact_started_at) == ("idle", None, None)


async def test_who_blocks_is_asked_for_the_oldest_waiters_only(
    session: ActivitySession, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_module, "BLOCKERS_ASKED", 2)
    with ExitStack() as stack:
        holder, *waiters = [stack.enter_context(client(postgres, f"c{n}")) for n in range(5)]
        holder.execute("BEGIN")
        holder.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        for waiter in waiters:
            waiter.execute("BEGIN")
        question = f"SELECT pg_advisory_xact_lock({LOCK})"
        waiting = [asyncio.create_task(asyncio.to_thread(_ask_and_end, one, question)) for one in waiters]
        try:
            await until(lambda: postgres.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 4)
            pids = [one.info.backend_pid for one in waiters]
            found = {backend.pid: backend for backend in await session.backends(pids, timeout_s=LIMIT_S)}
        finally:
            holder.execute("COMMIT")
            await asyncio.wait_for(asyncio.gather(*waiting), LIMIT_S)
    asked = [found[pid].blocked_by is not None for pid in pids]
    assert asked == [True, True, False, False], "None: not asked, which is not the same as not blocked"


def _ask_and_end(client: Client, question: str) -> None:
    client.execute(question)
    client.execute("COMMIT")


async def test_numbers_that_are_no_pid_are_not_found(session: ActivitySession) -> None:
    assert await session.backends([0, -7, 2**31, 2**40, 2**31 - 1], timeout_s=LIMIT_S) == ()
    assert await session.backends([], timeout_s=LIMIT_S) == ()
    assert await read_backend(session._connection, 2**31 - 1, where="main", timeout_s=LIMIT_S) is None


async def test_without_the_right_to_see_only_names_are_known(postgres: PostgresServer) -> None:
    with client(postgres, "billing", "worker") as other, postgres.connect("app", user="app") as own:
        session = await activity(postgres, "reports").session("main")
        try:
            hidden = await seen(session, other)
            own.execute("BEGIN")
            own.execute("SELECT 1")
            member = await seen(session, own)
        finally:
            await session.close()
    assert hidden.hidden
    assert (hidden.user, hidden.database) == ("worker", "app")
    assert (hidden.started_at, hidden.state, hidden.xact_age_s, hidden.blocked_by) == (None, None, None, None)
    assert not member.hidden, "reports is a member of app"
    assert member.state == "idle in transaction"


async def signalled(
    session: ActivitySession, backend: Backend, *, terminate: bool, late_s: float = 0.0
) -> bool:
    assert backend.started_at is not None
    start = backend.started_at + timedelta(seconds=late_s)
    return await signal_backend(
        session._connection, backend.pid, start, terminate, where="main", timeout_s=LIMIT_S
    )


@pytest.fixture
async def superuser(postgres: PostgresServer) -> AsyncIterator[ActivitySession]:
    made = await activity(postgres, SUPERUSER).session("main")
    yield made
    await made.close()


async def test_a_cancel_ends_the_query_and_leaves_the_session(
    superuser: ActivitySession, postgres: PostgresServer
) -> None:
    with client(postgres, "slow") as slow:
        running = asyncio.create_task(asyncio.to_thread(slow.execute, "SELECT pg_sleep(60)"))
        pid = slow.info.backend_pid
        await until(lambda: _sleeps(postgres, pid))
        assert await signalled(superuser, await seen(superuser, slow), terminate=False)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(running, LIMIT_S)
        assert slow.execute("SELECT 1").fetchone() == (1,)


def _sleeps(postgres: PostgresServer, pid: int) -> bool:
    return bool(postgres.value(f"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {pid}"))


async def test_a_terminate_ends_the_session_and_then_finds_nobody(
    superuser: ActivitySession, postgres: PostgresServer
) -> None:
    with client(postgres, "stuck") as stuck:
        stuck.execute("BEGIN")
        backend = await seen(superuser, stuck)
        assert backend.started_at is not None
        assert await superuser.signal(backend.pid, backend.started_at, terminate=True, timeout_s=LIMIT_S)
        await until(lambda: not lives(postgres, backend.pid))
        assert not await signalled(superuser, backend, terminate=True)
        stuck.close()


@pytest.mark.parametrize("terminate", [False, True])
@pytest.mark.parametrize("late_s", [0.000001, -0.000001])
async def test_a_pid_that_belongs_to_another_backend_by_now_is_not_hit(
    superuser: ActivitySession, postgres: PostgresServer, terminate: bool, late_s: float
) -> None:
    with client(postgres, "holder") as holder, client(postgres, "innocent") as innocent:
        holder.execute(f"SELECT pg_advisory_lock({LOCK})")
        question = f"SELECT pg_advisory_lock({LOCK})"
        running = asyncio.create_task(asyncio.to_thread(innocent.execute, question))
        try:
            await until(lambda: postgres.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
            backend = await seen(superuser, innocent)
            assert not await signalled(superuser, backend, terminate=terminate, late_s=late_s)
        finally:
            holder.execute(f"SELECT pg_advisory_unlock({LOCK})")
        await asyncio.wait_for(running, LIMIT_S)
        assert innocent.execute("SELECT 1").fetchone() == (1,)


async def test_a_role_that_may_not_signal_is_refused_and_goes_on(
    session: ActivitySession, postgres: PostgresServer
) -> None:
    with client(postgres, "safe") as safe:
        backend = await seen(session, safe)
        with without_signals(postgres), pytest.raises(AdminError) as caught:
            await signalled(session, backend, terminate=True)
        assert caught.value.sqlstate == "42501"
        assert "pg_signal_backend" in (caught.value.hint or "")
        assert safe.execute("SELECT 1").fetchone() == (1,)
        assert (await seen(session, safe)).pid == backend.pid, "the session is usable still"


async def test_a_signal_without_an_answer_is_told_as_such(postgres: PostgresServer) -> None:
    with client(postgres, "any") as one, FaultProxy(postgres.port) as proxy:
        session = await activity(postgres, SUPERUSER, port=proxy.port).session("main")
        backend = await seen(session, one)
        proxy.black_hole = True
        assert backend.started_at is not None
        with pytest.raises((DeadlineError, LostConnection)):
            await session.signal(backend.pid, backend.started_at, terminate=False, timeout_s=0.3)
        await session.close()


class Counting(PostgresActivity):
    """Counts the sessions it opens and how many are open at once."""

    def __init__(self, inner: PostgresActivity) -> None:
        self._inner = inner
        self.opened: list[ActivitySession] = []
        self.any_opened = asyncio.Event()
        self.most = 0

    async def session(self, name: str) -> ActivitySession:
        made = await self._inner.session(name)
        self.opened.append(made)
        self.most = max(self.most, self.open)
        self.any_opened.set()
        return made

    @property
    def open(self) -> int:
        return sum(not one._connection.is_closed() for one in self.opened)


async def test_many_who_ask_at_once_share_one_session_that_ends_with_the_last(
    postgres: PostgresServer,
) -> None:
    counting = Counting(activity(postgres))
    source = PostgresBackends(counting, ["main"], limit_s=LIMIT_S)
    with client(postgres, "one") as one:
        pid = one.info.backend_pid
        answers = await asyncio.gather(*(source.backends([pid]) for _ in range(12)))
        again = await source.backends([pid])
    found = [[backend.pid for backend in some if isinstance(backend, Backend)] for some in (*answers, again)]
    assert found == [[pid]] * 13
    assert counting.most == 1
    assert len(counting.opened) == 2, "one for the twelve, one for the thirteenth"
    assert counting.open == 0


async def test_who_is_cancelled_leaves_no_session_behind(postgres: PostgresServer) -> None:
    with FaultProxy(postgres.port) as proxy:
        counting = Counting(activity(postgres, port=proxy.port))
        source = PostgresBackends(counting, ["main"], limit_s=LIMIT_S)
        asked = asyncio.create_task(source.backends([1]))
        await asyncio.wait_for(counting.any_opened.wait(), LIMIT_S)
        proxy.black_hole = True
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert counting.open == 0


async def test_a_session_that_was_lost_is_not_asked_again_for_the_next_one(postgres: PostgresServer) -> None:
    class FirstIsLost(Counting):
        async def session(self, name: str) -> ActivitySession:
            made = await super().session(name)
            if len(self.opened) == 1:
                made._connection.terminate()
            return made

    flaky = FirstIsLost(activity(postgres))
    source = PostgresBackends(flaky, ["main"], limit_s=LIMIT_S)
    with client(postgres, "one") as one:
        pid = one.info.backend_pid
        (first,), (second,) = await asyncio.gather(source.backends([pid]), source.backends([pid]))
    assert isinstance(first, BackendGap)
    assert first.node == "main"
    assert isinstance(second, Backend)
    assert second.pid == pid
    assert flaky.open == 0
