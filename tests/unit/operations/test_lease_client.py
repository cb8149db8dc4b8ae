"""A run and a guardian that is not as it should be: it does not start, says nothing, hangs, or goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from console.audit.actor import Actor
from console.audit.processes import process_start
from console.config.schema import Bouncer, Inventory
from console.errors import DeadlineError, NodeError
from console.operations.lease import client, conversation
from console.operations.lease.client import GuardianLeases
from console.operations.lease.conversation import GuardianLease
from tests.unit.operations.lease_kit import EDGE, LIMIT_S, Bed, CountingPooler, order_for, until

_READY = '{"say":"ready","uncovered":[],"notes":["no keeper"]}'
_LISTEN = """
import socket, sys, time
link = socket.socket(fileno=int(sys.argv[1]))
data = b""
while not data.endswith(b"\\n"):
    data += link.recv(65536) or sys.exit()
"""
_HANG = f"{_LISTEN}link.sendall(b'{_READY}\\n'); time.sleep(60)"


def _leases(folder: Path, program: str) -> GuardianLeases:
    inventory = Inventory(
        fleet="test",
        environment="development",
        bouncers=(Bouncer(name="edge", tcp="127.0.0.1:1", admin_user="admin"),),
    )
    return GuardianLeases(inventory, (sys.executable, "-c", program), folder, actor=Actor.current({}))


def _tell(_: str, __: str) -> None:
    return


async def test_a_guardian_that_ends_at_once(tmp_path: Path) -> None:
    leases = _leases(tmp_path, "import sys; sys.exit('a reason for the log')")
    with pytest.raises(NodeError, match="the guardian") as caught:
        await leases.arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)
    assert caught.value.hint == f"its log is {tmp_path / 'guardian.log'}"
    await until(lambda: "a reason for the log" in (tmp_path / "guardian.log").read_text())
    assert (tmp_path / "guardian.log").stat().st_mode & 0o777 == 0o600


async def test_a_guardian_that_cannot_be_started(tmp_path: Path) -> None:
    leases = GuardianLeases(
        Inventory(fleet="test", environment="development"),
        (str(tmp_path / "nothing"),),
        tmp_path,
        actor=Actor.current({}),
    )
    with pytest.raises(NodeError, match="cannot be started: No such file"):
        await leases.arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)


async def test_a_guardian_that_never_stands_by(tmp_path: Path) -> None:
    leases = _leases(tmp_path, _LISTEN + "link.recv(1)")
    with pytest.raises(DeadlineError, match=r"did not stand by within 1\.5 s"):
        await leases.arm(order_for(EDGE), _tell, timeout_s=1.5)


@pytest.mark.parametrize(
    ("says", "message"),
    [('{"say":"failed","reason":"no journal"}', "no journal"), ("nonsense", "cannot be understood")],
)
async def test_a_guardian_that_declines(tmp_path: Path, says: str, message: str) -> None:
    leases = _leases(tmp_path, f"{_LISTEN}link.sendall({says!r}.encode() + b'\\n'); link.recv(1)")
    with pytest.raises(NodeError, match=message):
        await leases.arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)


async def test_a_guardian_that_is_not_wanted_any_more_ends(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    program = f"import os; open({str(told)!r}, 'w').write(str(os.getpid()))\n{_LISTEN}"
    leases = _leases(tmp_path, program)
    leases.prepare()
    leases.prepare()
    await until(lambda: told.exists() and bool(told.read_text()))
    leases.dismiss()
    leases.dismiss()
    await until(_is_gone(told))


def _is_gone(told: Path) -> Callable[[], bool]:
    return lambda: process_start(int(told.read_text())) is None


async def test_one_that_was_started_ahead_and_has_ended_is_replaced(tmp_path: Path) -> None:
    once = tmp_path / "once"
    program = (
        f"import os, sys\n"
        f"if not os.path.exists({str(once)!r}): open({str(once)!r}, 'w').close(); sys.exit(0)\n"
        f"{_LISTEN}link.sendall(b'{_READY}\\n'); link.recv(1); link.recv(1)"
    )
    leases = _leases(tmp_path, program)
    leases.prepare()
    assert leases._spare is not None
    _, process = await asyncio.shield(leases._spare)
    await until(lambda: process.returncode is not None)
    lease = await leases.arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)
    assert lease.notes == ("no keeper",)
    assert not lease.lost.is_set()
    lease.abandon()
    await until(lambda: process_start(lease.pid) is None)


async def test_a_guardian_that_hangs_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SILENCE_LIMIT_S", 0.3)
    monkeypatch.setattr(conversation, "HEARTBEAT_S", 0.1)
    told: list[str] = []
    leases = _leases(tmp_path, _HANG)
    lease = await leases.arm(order_for(EDGE), lambda _, text: told.append(text), timeout_s=LIMIT_S)
    async with asyncio.timeout(LIMIT_S):
        await lease.lost.wait()
    assert told == ["the guardian has said nothing for 0.3 s"]
    with pytest.raises(NodeError, match="gone"):
        lease.expose([EDGE])
    lease.abandon()
    os.kill(lease.pid, signal.SIGKILL)


async def test_what_a_full_buffer_does_not_take_was_not_said(tmp_path: Path) -> None:
    leases = _leases(tmp_path, _HANG)
    lease = await leases.arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)
    with pytest.raises(NodeError, match="the guardian is gone"):
        _fill(lease)
    assert lease.lost.is_set()
    lease.abandon()
    os.kill(lease.pid, signal.SIGKILL)


def _fill(lease: GuardianLease) -> None:
    for _ in range(1_000_000):
        lease.expose([EDGE])


async def test_a_run_that_wakes_up_after_the_end_of_its_lease_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "HEARTBEAT_S", 60.0)
    heard = tmp_path / "heard"
    program = (
        f"{_LISTEN}link.sendall(b'{_READY}\\n'); link.recv(99)\n"
        'link.sendall(b\'{"say":"ending","reason":"silence"}\\n\')\n'
        f"open({str(heard)!r}, 'wb').write(link.recv(99)); link.recv(99)"
    )
    lease = await _leases(tmp_path, program).arm(order_for(EDGE), _tell, timeout_s=LIMIT_S)
    await until(lambda: heard.exists() and heard.read_bytes() == b'{"say":"beat"}\n')
    assert lease.lost.is_set()
    with pytest.raises(NodeError, match="has ended the lease"):
        lease.expose([EDGE])
    lease.abandon()


async def test_an_exposure_is_heard_before_the_next_word_is_said(tmp_path: Path) -> None:
    """Nothing waits between `expose` and the statement: it has left this process when it returns."""
    pooler = CountingPooler()
    bed = Bed(pooler, tmp_path)
    lease = await bed.open()
    lease.expose([EDGE])
    lease.abandon()
    await pooler.take("PAUSE")
    assert await bed.ended() == 0
    assert not pooler.paused


async def test_a_lease_that_is_over_says_no_more(tmp_path: Path) -> None:
    bed = Bed(CountingPooler(), tmp_path)
    lease = await bed.open()
    await lease.close()
    await lease.close()
    lease.held([EDGE])
    await lease.release([EDGE])
    with pytest.raises(NodeError):
        lease.expose([EDGE])
    with pytest.raises(NodeError):
        await lease.hand_over(1.0)
    assert await bed.ended() == 0
    assert bed.told == [], "an end that was asked for is no loss"


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "guardian.log"
    log.write_bytes(b"x" * (client.LOG_MAX_BYTES + 1))
    _leases(tmp_path, "")._log_file().close()
    assert log.read_bytes() == b""
    assert (tmp_path / "guardian.log.old").stat().st_size == client.LOG_MAX_BYTES + 1
