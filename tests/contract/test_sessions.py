"""Sessions on a real admin console: what goes over the wire, what is refused, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from console.errors import AdminError, DeadlineError, LostConnection, NodeError, Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from console.poolers.admin import SHOWS, AdminReader, AdminWriter, Login
from console.poolers.dialects import dialect_for
from console.transport.base import Endpoint
from tests.contract.conftest import LIMIT_S, OpenReader, OpenWriter, login_to
from tests.harness.faults import FaultProxy, killed

DIALECT = dialect_for("pgbouncer")


@contextlib.asynccontextmanager
async def eavesdropper(server: PgBouncerServer) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A relay to `server`: gives its port, and what clients say as a list that grows."""
    said: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, record: list[bytes] | None
    ) -> None:
        while data := await source.read(65_536):
            if record is not None:
                record.append(data)
            target.write(data)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(server.host, server.port)
        tasks.add(asyncio.create_task(pump(far_reader, writer, None)))
        tasks.add(asyncio.create_task(pump(reader, far_writer, said)))

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], said
        await asyncio.wait_for(asyncio.gather(*tasks), LIMIT_S)


def message_kinds(stream: bytes) -> str:
    """Return the kinds of the messages after the startup message, one letter each."""
    (length,) = struct.unpack_from("!i", stream)
    kinds, at = "", length
    while at < len(stream):
        kinds += chr(stream[at])
        at += 1 + int(struct.unpack_from("!i", stream, at + 1)[0])
    return kinds


async def test_only_simple_queries_go_over_the_wire_however_often_one_asks(bouncer: PgBouncerServer) -> None:
    """A console drops whoever prepares a statement; drivers do that by themselves after a few runs."""
    async with eavesdropper(bouncer) as (port, said):
        login = login_to(bouncer, unix=False, sslmode="disable")
        reader = await AdminReader.connect(
            Login("relayed", Endpoint("127.0.0.1", port), login.user, login.password, login.tls),
            timeout_s=LIMIT_S,
        )
        for _ in range(10):
            assert (await reader.show("POOLS", timeout_s=LIMIT_S)).rows
        await reader.close()
    kinds = message_kinds(b"".join(said))
    assert kinds.replace("p", "") == "Q" * 10 + "X"
    assert b"application_name\0pooldeck\0" in said[0]
    assert b"options" not in said[0]


@pytest.mark.parametrize("what", ["FDS", "POOLS; PAUSE", "pools", "", "HELP"])
async def test_a_reader_cannot_be_talked_into_anything_else(
    what: str, bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer, ADMIN)
    with pytest.raises(ValueError, match="not something a reader may ask"):
        await reader.show(what, timeout_s=LIMIT_S)
    assert not hasattr(reader, "execute")


def test_everything_a_reader_can_send_is_a_show() -> None:
    assert all(statement == f"SHOW {word}".encode() for word, statement in SHOWS.items())
    assert "FDS" not in SHOWS


async def test_what_the_console_refuses_is_an_admin_error_and_the_session_goes_on(
    bouncer: PgBouncerServer, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer)
    with pytest.raises(AdminError, match="no such database: nowhere") as caught:
        await writer.execute(DIALECT.pause("nowhere"), LIMIT_S)
    assert (caught.value.sqlstate, caught.value.where) == ("08P01", bouncer.name)
    with pytest.raises(AdminError, match="cannot pause admin db"):
        await writer.execute(DIALECT.pause("pgbouncer"), LIMIT_S)
    with pytest.raises(AdminError, match="is not paused"):
        await writer.execute(DIALECT.resume("app"), LIMIT_S)
    assert (await writer.show("VERSION", timeout_s=LIMIT_S)).rows


async def test_a_failed_reload_has_its_own_code_where_the_version_tells(
    bouncer: PgBouncerServer, pgbouncer_version: str, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer)
    broken = bouncer.config_path.read_text() + "\nno_such_key = 1\n"
    bouncer.launcher.write_file(bouncer.config_path, broken)
    if pgbouncer_version < "1.25":
        assert await writer.execute(DIALECT.reload(), LIMIT_S) == "RELOAD"
        return
    with pytest.raises(AdminError, match="RELOAD failed") as caught:
        await writer.execute(DIALECT.reload(), LIMIT_S)
    assert caught.value.sqlstate == "F0000"


async def test_a_stats_user_may_not_change_anything(
    bouncer: PgBouncerServer, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer, MONITOR)
    with pytest.raises(AdminError, match="admin access needed"):
        await writer.execute(DIALECT.pause(None), LIMIT_S)


async def test_notices_come_with_their_statement(bouncer: PgBouncerServer, open_writer: OpenWriter) -> None:
    writer = await open_writer(bouncer)
    await writer.execute("SET client_encoding = 'UTF8'", LIMIT_S)
    assert list(writer.notices) == ["SET ignored"]
    await writer.execute("RELOAD", LIMIT_S)
    assert not list(writer.notices)


async def test_a_pause_that_takes_too_long_ends_its_session_and_stays_pending(
    bouncer: PgBouncerServer, open_reader: OpenReader, open_writer: OpenWriter
) -> None:
    """PAUSE has no limit of its own: ours ends the session, and another one resumes."""
    reader, writer = await open_reader(bouncer), await open_writer(bouncer)
    with bouncer.connect("app") as client:
        client.execute("BEGIN")
        with pytest.raises(DeadlineError) as caught:
            await writer.execute(DIALECT.pause("app"), 0.2)
        assert caught.value.limit_s == 0.2
        assert writer.lost is not None
        with pytest.raises(NodeError, match="before the question was sent"):
            await writer.show("STATE", timeout_s=LIMIT_S)
        databases = DIALECT.parse_databases(await reader.show("DATABASES", timeout_s=LIMIT_S))
        assert [database.name for database in databases if database.paused] == ["app"]
        second = await open_writer(bouncer)
        assert await second.execute(DIALECT.resume("app"), LIMIT_S) == "RESUME"
        client.execute("COMMIT")


async def test_a_cancelled_statement_ends_its_session(
    bouncer: PgBouncerServer, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer)
    with bouncer.connect("app") as client:
        client.execute("BEGIN")
        task = asyncio.create_task(writer.execute(DIALECT.pause(None), None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert writer.lost is not None
        second = await open_writer(bouncer)
        assert await second.execute(DIALECT.resume(None), LIMIT_S) == "RESUME"


async def test_a_pooler_that_dies_with_a_statement_under_way_leaves_the_outcome_unknown(
    bouncer: PgBouncerServer, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer)
    with contextlib.closing(bouncer.connect("app")) as client:
        client.execute("BEGIN")
        pending = asyncio.create_task(writer.execute(DIALECT.pause(None), None))
        await asyncio.sleep(0)
        with killed(bouncer):
            with pytest.raises(LostConnection, match="before the answer was complete") as caught:
                await asyncio.wait_for(pending, LIMIT_S)
            assert caught.value.phase is Phase.PROTOCOL


async def test_an_idle_reader_knows_at_once_that_the_pooler_went_away(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer)
    with killed(bouncer):
        async with asyncio.timeout(LIMIT_S):
            while reader.lost is None:  # noqa: ASYNC110  (that it is known unasked is the point)
                await asyncio.sleep(0.001)
        with pytest.raises(NodeError, match="before the question was sent") as caught:
            await reader.show("POOLS", timeout_s=LIMIT_S)
    assert not isinstance(caught.value, LostConnection)


async def test_what_was_refused_earlier_is_not_blamed_for_a_lost_session(
    bouncer: PgBouncerServer, open_writer: OpenWriter
) -> None:
    writer = await open_writer(bouncer)
    await writer.execute("SET client_encoding = 'UTF8'", LIMIT_S)
    with pytest.raises(AdminError):
        await writer.execute(DIALECT.pause("nowhere"), LIMIT_S)
    with killed(bouncer), pytest.raises(NodeError) as caught:
        await writer.execute("RELOAD", LIMIT_S)
    assert "closed the connection" in caught.value.message
    assert "nowhere" not in caught.value.message


async def test_an_answer_cut_in_the_middle_is_told_apart_from_an_answer(bouncer: PgBouncerServer) -> None:
    with FaultProxy(bouncer.port) as proxy:
        login = login_to(bouncer, unix=False, sslmode="disable")
        reader = await AdminReader.connect(
            Login("cut", Endpoint("127.0.0.1", proxy.port), login.user, login.password, login.tls),
            timeout_s=LIMIT_S,
        )
        proxy.cut_after = 200
        with pytest.raises(LostConnection) as caught:
            await reader.show("CONFIG", timeout_s=LIMIT_S)
    assert caught.value.phase is Phase.PROTOCOL
    assert caught.value.where == "cut"


async def test_several_askers_of_one_reader_each_get_their_own_answer(
    bouncer: PgBouncerServer, open_reader: OpenReader
) -> None:
    reader = await open_reader(bouncer)
    wanted = ("VERSION", "POOLS", "DATABASES", "LISTS", "CONFIG", "USERS") * 3
    tables = await asyncio.gather(*(reader.show(what, timeout_s=LIMIT_S) for what in wanted))
    first_names = [table.names[0] for table in tables]
    assert first_names == ["version", "database", "name", "list", "key", "name"] * 3
    assert all(table.answer_us > 0 for table in tables)


async def test_a_writer_is_a_session_of_its_own(bouncer: PgBouncerServer, open_reader: OpenReader) -> None:
    """Closing one session leaves the other; closing twice is allowed."""
    reader = await open_reader(bouncer)
    writer = await AdminWriter.connect(login_to(bouncer, ADMIN), timeout_s=LIMIT_S)
    await writer.close()
    await writer.close()
    assert (await reader.show("VERSION", timeout_s=LIMIT_S)).rows
