"""Remote commands through a real sshd: words arrive as they are, limits hold, nothing is left running."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from console.errors import DeadlineError, NodeError, Phase, UsageError
from tests.harness.faults import FaultProxy
from tests.servers.ssh_kit import LIMIT_S, SshKit, kit, logged_connections, until

__all__ = ["kit"]  # a fixture
HOSTILE = [
    "$(touch /tmp/pwned)",
    "`id`",
    "; echo no",
    "a'b\"c",
    "two\nlines",
    "*",
    "~",
    "-rf",
    "",
    "tab\there",
    "back\\slash",
    "!history",
    "$HOME",
    "ünïcödé ☃",
    "& | > < #",
]


async def test_hostile_words_arrive_as_they_are(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        result = await transport.run("a", ["printf", "%s\\0", *HOSTILE], timeout_s=LIMIT_S)
    assert result.stdout.decode().split("\0")[:-1] == HOSTILE
    assert (result.exit_status, result.stderr, result.truncated) == (0, b"", False)


async def test_status_signal_and_both_outputs_come_back(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        result = await transport.run("a", ["sh", "-c", "echo out; echo err >&2; exit 7"], timeout_s=LIMIT_S)
        assert (result.exit_status, result.stdout, result.stderr) == (7, b"out\n", b"err\n")
        assert result.signal is None
        killed = await transport.run("a", ["sh", "-c", "kill -TERM $$"], timeout_s=LIMIT_S)
        assert (killed.exit_status, killed.signal) == (None, "TERM")
        missing = await transport.run("a", ["/no/such/program"], timeout_s=LIMIT_S)
        assert missing.exit_status == 127
        assert b"/no/such/program" in missing.stderr


async def test_input_goes_in_whole_and_ends(kit: SshKit) -> None:
    data = os.urandom(3_000_000)
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        result = await transport.run("a", ["cat"], timeout_s=LIMIT_S, stdin=data, max_output_bytes=4_000_000)
        assert result.stdout == data
        assert not result.truncated
        unread = await transport.run("a", ["true"], timeout_s=LIMIT_S, stdin=data)
        assert unread.exit_status == 0


async def test_output_is_bounded_and_says_so(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        words = ["head", "-c", "5000000", "/dev/zero"]
        result = await transport.run("a", words, timeout_s=LIMIT_S, max_output_bytes=1000)
        assert (len(result.stdout), result.truncated, result.exit_status) == (1000, True, 0)
        exact = await transport.run("a", ["printf", "12345"], timeout_s=LIMIT_S, max_output_bytes=5)
        assert (exact.stdout, exact.truncated) == (b"12345", False)


async def test_a_late_command_is_killed_on_the_far_side(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        await transport.run("a", ["true"], timeout_s=LIMIT_S)
        mark = f"31{os.getpid()}"
        start_s = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            await transport.run("a", ["sh", "-c", f"trap '' TERM; sleep {mark} & wait"], timeout_s=0.5)
        assert time.monotonic() - start_s < 1.5
        assert caught.value.phase is Phase.SSH
        await until(lambda: not _running(mark))
        assert (await transport.run("a", ["echo", "next"], timeout_s=LIMIT_S)).stdout == b"next\n"


async def test_a_cancelled_command_is_killed_on_the_far_side(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        mark = f"32{os.getpid()}"
        task = asyncio.create_task(transport.run("a", ["sleep", mark], timeout_s=60.0))
        await until(lambda: _running(mark))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not _running(mark))


async def test_a_daemon_that_keeps_the_output_open_does_not_hold_the_caller(kit: SshKit) -> None:
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        start_s = time.monotonic()
        result = await transport.run("a", ["sh", "-c", "sleep 20 & echo started"], timeout_s=LIMIT_S)
        assert (result.exit_status, result.stdout) == (0, b"started\n")
        assert time.monotonic() - start_s < 5.0


async def test_many_commands_at_once_share_the_connection_and_its_session_limit(kit: SshKit) -> None:
    server = kit.sshd(MaxSessions="10")
    async with kit.transport(a=kit.host(server)) as transport:
        results = await asyncio.gather(
            *(transport.run("a", ["echo", str(n)], timeout_s=LIMIT_S) for n in range(30))
        )
        assert [int(result.stdout) for result in results] == list(range(30))
        assert logged_connections(server) == 1


async def test_commands_that_end_while_their_input_does_break_nothing(kit: SshKit) -> None:
    """Paramiko may send the end of the input after the close of its channel; OpenSSH then hangs up."""
    server = kit.sshd(MaxSessions="100")
    async with kit.transport(a=kit.host(server)) as transport:
        await transport.run("a", ["true"], timeout_s=LIMIT_S)
        for _ in range(10):
            runs = (transport.run("a", ["exit"], timeout_s=LIMIT_S, stdin=b"x") for _ in range(20))
            assert {result.exit_status for result in await asyncio.gather(*runs)} == {0}
        assert logged_connections(server) == 1


async def test_a_key_that_may_run_no_command_is_named_so(kit: SshKit) -> None:
    server = kit.sshd(MaxSessions="0")
    async with kit.transport(a=kit.host(server)) as transport:
        with pytest.raises(NodeError) as caught:
            await transport.run("a", ["true"], timeout_s=LIMIT_S)
        assert "would not run a command" in caught.value.message


async def test_a_connection_lost_in_a_command_is_an_error_not_a_result(kit: SshKit) -> None:
    server = kit.sshd()
    with FaultProxy(server.port) as proxy:
        kit.know_as(server, proxy.port)
        async with kit.transport(a=kit.host(server, port=proxy.port)) as transport:
            mark = f"33{os.getpid()}"
            task = asyncio.create_task(transport.run("a", ["sleep", mark], timeout_s=60.0))
            await until(lambda: _running(mark))
            proxy.cut()
            with pytest.raises(NodeError, match="lost"):
                await asyncio.wait_for(task, 5.0)


@pytest.mark.parametrize("argv", [[], [""], ["echo", "nul\0"]])
async def test_words_that_no_command_line_can_carry_are_refused_before_anything_is_dialled(
    kit: SshKit, argv: list[str]
) -> None:
    async with kit.transport() as transport:
        with pytest.raises(UsageError):
            await transport.run("a", argv, timeout_s=LIMIT_S)


def _running(mark: str) -> bool:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", mark.encode()]:
                return True
    return False
