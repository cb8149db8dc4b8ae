"""A pooler that somebody suspended (until 1.25) lets no console in: its process is found, and resumed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from console.errors import NodeError, Phase
from console.guard.verdict import Confirm
from console.hosts.commands import run_here
from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.operations.outcome import Outcome
from console.operations.plan import Plan
from console.operations.render import plan_text
from console.transport.base import CommandResult
from console.tui.plan_text import plan_sections
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import Shell
from tests.servers.operations_kit import Direct
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.verbs_kit import VerbDesk

__all__ = ["kit"]
PATIENCE_S = 0.7


@contextlib.contextmanager
def suspended(server: PgBouncerServer) -> Iterator[psycopg.Connection[Any]]:
    """Suspend it, with a client that came before; a second console keeps it so.

    When the last console leaves, a pooler goes on by itself.
    """
    with server.connect() as client, server.admin() as console, server.admin():
        client.execute("SELECT 1")
        console.execute("SUSPEND")
        yield client


@pytest.fixture
def pooler(make_pgbouncer: MakePgBouncer) -> PgBouncerServer:
    return make_pgbouncer("1.24")


@pytest.fixture
def desk(pooler: PgBouncerServer, postgres: PostgresServer, tmp_path: Path) -> VerbDesk:
    return VerbDesk(pooler, postgres, tmp_path / "journal.jsonl", patience_s=PATIENCE_S)


async def failure(desk: VerbDesk, op: str, selector: str = "edge") -> tuple[str, str]:
    """Return message and hint of a plan that cannot be made."""
    with pytest.raises(NodeError) as raised:
        await desk.service.plan(op, selector)
    return raised.value.message, raised.value.hint or ""


def shown(plan: Plan) -> str:
    """Return all that the console's plan screen says."""
    return "\n".join(
        " ".join([section.title, *(f"{a} {b}" for a, b in section.facts), *section.statements])
        for section in plan_sections(plan)
    )


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize(("line", "op"), [("1.18", "resume"), ("1.24", "mend")])
@pytest.mark.trap("T15")
async def test_on_this_machine_its_process_is_found_and_resumed(
    make_pgbouncer: MakePgBouncer, postgres: PostgresServer, tmp_path: Path, line: str, unix: bool, op: str
) -> None:
    server = make_pgbouncer(line)
    desk = VerbDesk(server, postgres, tmp_path / "journal.jsonl", unix=unix, patience_s=PATIENCE_S)
    async with desk.service:
        with suspended(server) as client:
            plan = await desk.service.plan(op, "edge")
            command = f"kill -USR2 {server.pid}"
            assert plan.targets[0].statements == (command,)
            assert isinstance(desk.service.judge(plan), Confirm)
            receipt = await desk.finish(desk.submit(plan))
            assert (receipt.outcome, receipt.after) == (Outcome.OK, "running")
            assert "read back: neither suspended nor paused" in receipt.verified
            assert client.execute("SELECT 42").fetchone() == (42,)
        assert not (await desk.service.plan(op, "edge")).changes
    intent, outcome = desk.records()
    assert (intent["kind"], intent["statements"]) == ("intent", [command])
    assert "on this machine" in intent["before"]
    assert (outcome["outcome"], outcome["exchanges"][0]["statement"]) == ("ok", command)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_on_its_host_it_is_done_over_ssh(
    kit: SshKit, pooler: PgBouncerServer, postgres: PostgresServer, tmp_path: Path, unix: bool
) -> None:
    async with kit.transport(db=kit.host(kit.sshd())) as transport:
        desk = VerbDesk(
            pooler,
            postgres,
            tmp_path / "journal.jsonl",
            unix=unix,
            host="db",
            transport=transport,
            patience_s=PATIENCE_S * 2,
        )
        async with desk.service:
            with suspended(pooler) as client:
                receipt = await desk.do("mend")
                assert receipt.outcome is Outcome.OK
                assert client.execute("SELECT 42").fetchone() == (42,)
    assert f"process {pooler.pid} on host db" in desk.records()[0]["before"]


async def test_the_plan_says_how_it_knows_and_what_the_signal_does_besides(
    desk: VerbDesk, pooler: PgBouncerServer
) -> None:
    with suspended(pooler):
        plan = await desk.service.plan("resume", "edge")
        text = plan_text(plan)
        assert f"suspended: process {pooler.pid} on this machine takes no connection" in text
        assert "no login: no answer within 0.7 s" in text
        assert f"process {pooler.pid} listens on {pooler.host}:{pooler.port} and does not look" in text
        assert str(pooler.config_path) in text
        assert "it ends a PAUSE of the whole bouncer too" in text
        assert "who suspended it cannot be seen" in text
        assert "0 clients" not in text
        assert "could not be counted" in text
        assert "could not be counted" in desk.service.judge(plan).question  # type: ignore[union-attr]
        assert plan.as_dict()["targets"][0]["clients"] is None
        assert "could not be counted" in shown(plan)
        assert f"kill -USR2 {pooler.pid}" in shown(plan)
        pooler.send_signal(signal.SIGUSR2)


def test_from_the_shell_it_is_one_of_many(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    servers = {"edge-1": make_pgbouncer("1.24"), "edge-2": make_pgbouncer("1.24")}
    with Shell(servers, tmp_path) as shell, suspended(servers["edge-2"]) as client:
        done = shell("mend", "--yes")
        assert done.returncode == 0, done.stderr
        assert f"kill -USR2 {servers['edge-2'].pid}" in done.stderr
        assert re.search("^edge-1 +no change .*nothing to mend$", done.stdout, re.MULTILINE)
        assert re.search(
            "^edge-2 +ok .*the signal was sent, and it lets logins in$", done.stdout, re.MULTILINE
        )
        assert client.execute("SELECT 42").fetchone() == (42,)


async def test_its_databases_wait_for_the_pooler_itself(desk: VerbDesk, pooler: PgBouncerServer) -> None:
    with suspended(pooler):
        message, hint = await failure(desk, "resume", "edge/app")
        assert "nobody is let in, so its databases cannot be looked at" in message
        assert hint == "pooldeck resume edge"
        # Every other verb says what would help.
        assert "pooldeck mend" in (await failure(desk, "pause"))[1]
        pooler.send_signal(signal.SIGUSR2)


@pytest.mark.parametrize("also_suspended", [False, True])
async def test_a_stopped_process_is_not_taken_for_a_suspended_pooler(
    desk: VerbDesk, pooler: PgBouncerServer, also_suspended: bool
) -> None:
    with contextlib.ExitStack() as stack:
        if also_suspended:
            stack.enter_context(suspended(pooler))
        with pooler.stopped():
            message, hint = await failure(desk, "mend")
        assert f"its process {pooler.pid} on this machine is stopped" in message
        assert f"kill -CONT {pooler.pid}" in hint
        pooler.send_signal(signal.SIGUSR2)
    assert not (await desk.service.plan("mend", "edge")).changes


async def test_one_that_ran_out_of_files_is_not_taken_for_a_suspended_one(
    desk: VerbDesk, pooler: PgBouncerServer
) -> None:
    with pooler.connect() as client:
        client.execute("SELECT 1")
        limit = len(os.listdir(f"/proc/{pooler.pid}/fd"))
        set_file_limit(pooler, limit)
        message, hint = await failure(desk, "mend")
        assert f"has all of the {limit} files open that it may" in message
        assert "LimitNOFILE" in hint
        set_file_limit(pooler, 1000)


def set_file_limit(server: PgBouncerServer, number: int) -> None:
    account = server.launcher.account
    who: dict[str, Any] = (
        {"user": account.uid, "group": account.gid, "extra_groups": []} if account.switch else {}
    )
    subprocess.run(["prlimit", f"--pid={server.pid}", f"--nofile={number}:"], check=True, **who)


async def test_another_process_than_the_planned_one_gets_no_signal(
    desk: VerbDesk, pooler: PgBouncerServer
) -> None:
    async with desk.service:
        with suspended(pooler):
            plan = await desk.service.plan("resume", "edge")
            planned = pooler.pid
            pooler.kill()
        pooler.start()
        assert pooler.pid != planned
        with suspended(pooler):
            receipt = await desk.finish(desk.submit(plan))
            assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
            assert f"suspended process: {planned}, started" in receipt.detail
            assert not receipt.exchanges
            pooler.send_signal(signal.SIGUSR2)
    assert [record["kind"] for record in desk.records()] == ["refused"]


async def test_one_that_goes_on_meanwhile_gets_no_signal(desk: VerbDesk, pooler: PgBouncerServer) -> None:
    async with desk.service:
        with suspended(pooler):
            plan = await desk.service.plan("mend", "edge")
            pooler.send_signal(signal.SIGUSR2)
        receipt = await desk.finish(desk.submit(plan))
        assert receipt.refused_by == "guard.observed"
        assert "admin console: lets nobody in → absent" in receipt.detail


class Nearby(Direct):
    """SSH to this machine, but for the faults that no real host can be made to have at the right moment."""

    def __init__(self) -> None:
        self.denied: str | None = None
        """What the words of a command begin with that is not permitted."""
        self.lost_after: str | None = None
        """Of a command whose answer gets lost; it is carried out."""
        self.swallowed: str | None = None
        """Of a command that says it did it, and did not."""

    async def run(self, host: str, argv: Sequence[str], **limits: Any) -> CommandResult:
        line = shlex.join(argv)
        if self.denied is not None and self.denied in line:
            return CommandResult(1, b"", b"it: Operation not permitted\n", False)
        if self.swallowed is not None and self.swallowed in line:
            return CommandResult(0, b"", b"", False)
        done = await run_here(argv, limits["timeout_s"], limits["max_output_bytes"])
        if self.lost_after is not None and self.lost_after in line:
            raise NodeError(Phase.SSH, "the SSH connection was lost", where=host)
        return done


@pytest.fixture
def nearby() -> Nearby:
    return Nearby()


@pytest.fixture
def far_desk(pooler: PgBouncerServer, postgres: PostgresServer, tmp_path: Path, nearby: Nearby) -> VerbDesk:
    return VerbDesk(
        pooler, postgres, tmp_path / "far.jsonl", host="db", transport=nearby, patience_s=PATIENCE_S
    )


async def test_a_process_of_another_account_is_left_alone_and_the_command_is_told(
    far_desk: VerbDesk, nearby: Nearby, pooler: PgBouncerServer
) -> None:
    nearby.denied = f"ls -l /proc/{pooler.pid}/fd"
    with suspended(pooler):
        message, hint = await failure(far_desk, "mend")
        assert f"process {pooler.pid} on host db may be it, but belongs to another account" in message
        assert f"on host db: sudo kill -USR2 {pooler.pid}" in hint
        assert "sudo = true" in hint
        pooler.send_signal(signal.SIGUSR2)


async def test_a_signal_that_is_refused_is_a_failure_with_what_to_run(
    far_desk: VerbDesk, nearby: Nearby, pooler: PgBouncerServer
) -> None:
    nearby.denied = "kill -USR2"
    async with far_desk.service:
        with suspended(pooler):
            receipt = await far_desk.do("resume")
            assert receipt.outcome is Outcome.FAILED
            assert "the signal was not sent: it: Operation not permitted" in receipt.detail
            assert receipt.next_steps == (f"on host db: sudo kill -USR2 {pooler.pid}",)
            pooler.send_signal(signal.SIGUSR2)


async def test_when_the_answer_is_lost_reading_back_decides(
    far_desk: VerbDesk, nearby: Nearby, pooler: PgBouncerServer
) -> None:
    nearby.lost_after = "kill -USR2"
    async with far_desk.service:
        with suspended(pooler):
            receipt = await far_desk.do("resume")
    assert (receipt.outcome, receipt.after) == (Outcome.OK, "running")
    assert "the answer was lost" in receipt.detail
    assert [one.reply for one in receipt.exchanges] == [None]


async def test_a_signal_that_does_not_help_is_no_success(
    far_desk: VerbDesk, nearby: Nearby, pooler: PgBouncerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearby.swallowed = "kill -USR2"
    monkeypatch.setattr("console.operations.resume_suspended.READ_BACK_LIMIT_S", 1.0)
    async with far_desk.service:
        with suspended(pooler):
            receipt = await far_desk.do("resume")
            assert receipt.outcome is Outcome.FAILED
            assert "no login is let in yet" in receipt.detail
            pooler.send_signal(signal.SIGUSR2)
