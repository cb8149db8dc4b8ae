"""What is said of a pooler that lets nobody in and is not seen to be suspended: what, where, what next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from console.config.schema import Bouncer
from console.config.schema import Process as Supervision
from console.errors import DeadlineError, NodeError, Phase
from console.hosts.commands import HostCommands
from console.hosts.listeners import Listener, Listeners
from console.hosts.processes import HostProcesses, Process
from console.operations.suspended import Suspended, _Case, look_if_suspended
from console.transport.base import CommandResult
from console.transport.fake import FakeTransport

SILENCE = DeadlineError(Phase.PROTOCOL, "no answer within 5 s", limit_s=5, where="edge", hint="it may hang")
REFUSED = NodeError(Phase.CONNECT, "Connection refused", where="edge", hint="is it running?")


def bouncer(**more: Any) -> Bouncer:
    return Bouncer.model_validate({"name": "edge", "tcp": "10.0.0.7:6432", **more})


def process(pid: int = 4711, state: str = "S") -> Process:
    return Process(pid, 2, "boot", state, ("pgbouncer",), "/usr/sbin/pgbouncer")


def listener(pid: int = 4711, *, takes: bool | None = False, state: str = "S", files: int = 9) -> Listener:
    return Listener(process(pid, state), takes, files, 100)


async def never(argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b"") -> CommandResult:
    raise AssertionError("nothing is asked here")


def judged(found: Listeners, error: NodeError = SILENCE, **more: Any) -> NodeError:
    case = _Case(bouncer(host="db", **more), error)
    with pytest.raises(NodeError) as raised:
        case.judge(HostCommands(never, "host db"), found)
    return raised.value


def test_one_that_takes_no_connection_is_suspended() -> None:
    case = _Case(bouncer(host="db"), SILENCE)
    found = Listeners(1, (listener(),), (process(1),))
    assert case.judge(HostCommands(never, "host db"), found) == process()


@pytest.mark.parametrize(("sudo", "command"), [(False, "kill -USR2 4711"), (True, "sudo -n kill -USR2 4711")])
def test_sudo_is_used_only_where_the_inventory_says_so(sudo: bool, command: str) -> None:
    processes = HostProcesses(HostCommands(never, "host db", sudo), timeout_s=1)
    assert Suspended("edge", "10.0.0.7:6432", "silence", process(), processes).command == command


@pytest.mark.parametrize(
    ("found", "message", "hint"),
    [
        (Listeners(0, (), ()), "nobody listens on 10.0.0.7:6432 on host db", "it may hang"),
        (
            Listeners(1, (), ()),
            "what listens on 10.0.0.7:6432 on host db is no process called pgbouncer",
            "on host db: sudo kill -USR2 PID, with the pid that this names there: sudo ss -ltnp 'sport = :64",
        ),
        (
            Listeners(1, (), (process(),)),
            "process 4711 on host db may be it, but belongs to another account",
            "on host db: sudo kill -USR2 4711; with sudo = true",
        ),
        (
            Listeners(1, (), (process(), process(4712))),
            "one of the processes 4711, 4712 on host db may be it",
            "sudo ss -ltnp",
        ),
        (
            Listeners(1, (listener(), listener(4712)), ()),
            "several processes listen on 10.0.0.7:6432 on host db: 4711, 4712",
            "a takeover (-R) may be stuck",
        ),
        (
            Listeners(1, (listener(state="T"),), ()),
            "its process 4711 on host db is stopped",
            "on host db: kill -CONT 4711",
        ),
        (
            Listeners(1, (listener(files=100),), ()),
            "has all of the 100 files open that it may",
            "LimitNOFILE",
        ),
        (
            Listeners(1, (listener(takes=True, state="R"),), ()),
            "its process 4711 on host db is not suspended: it waits for connections and does not answer",
            "it hangs or is busy",
        ),
        (
            Listeners(1, (listener(takes=None),), ()),
            "whether its process 4711 on host db takes connections cannot be seen",
            "on host db: kill -USR2 4711",
        ),
    ],
)
def test_what_it_is_instead_is_told_with_what_to_do(found: Listeners, message: str, hint: str) -> None:
    error = judged(found)
    assert error.message.startswith("no answer within 5 s; ")
    assert message in error.message
    assert hint in (error.hint or "")
    assert (error.phase, error.where) == (Phase.PROTOCOL, "edge")


def test_a_refusal_keeps_its_own_reason() -> None:
    assert judged(Listeners(0, (), ()), REFUSED) is REFUSED
    assert judged(Listeners(1, (listener(takes=True),), ()), REFUSED) is REFUSED


def test_a_stopped_process_explains_a_queue_that_is_full_too() -> None:
    full = NodeError(Phase.CONNECT, "Resource temporarily unavailable")
    assert "is stopped" in judged(Listeners(1, (listener(state="T"),), ()), full).message


async def look(
    entry: Bouncer, transport: FakeTransport | None = None, error: NodeError = SILENCE
) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await look_if_suspended(entry, transport, error, timeout_s=1)
    return raised.value


async def test_without_a_way_to_its_host_the_command_is_told() -> None:
    error = await look(bouncer())
    assert "the inventory names no host for it" in error.message
    assert "on the machine where it runs: sudo kill -USR2 PID" in (error.hint or "")
    error = await look(bouncer(host="db"))
    assert "the host db cannot be reached from here" in error.message
    error = await look(bouncer(tcp=None, unix="/run/pgb", port=6432, host="db"))
    assert "sudo ss -lxp src /run/pgb/.s.PGSQL.6432" in (error.hint or "")


async def test_a_host_that_does_not_answer_is_told() -> None:
    error = await look(bouncer(host="db"), FakeTransport(hang=frozenset({"db"})))
    assert "cannot be seen on host db: no SSH connection within 1 s" in error.message


async def test_sudo_that_refuses_is_told() -> None:
    class Refuses(FakeTransport):
        async def run(self, host: str, argv: Sequence[str], **_: Any) -> CommandResult:  # noqa: ARG002
            said = b"sudo: a password is required\n" if "sudo" in argv else b""
            listed = b"/proc/4711/cmdline\n" if "sh" in argv else b"4711 (pgbouncer) S" + b" 1" * 30
            if "grep" in argv:
                listed = b"0: 0700000A:1920 0:0 0A 0:0 0:0 0 0 0 9 1"
            return CommandResult(1 if said else 0, b"" if said else listed, said, False)

    supervision = Supervision(kind="systemd", unit="pgbouncer.service", sudo=True)
    error = await look(bouncer(host="db", process=supervision), Refuses())
    assert "sudo refuses: a password is required" in error.message


async def test_in_a_container_the_command_is_dockers() -> None:
    supervision = Supervision(kind="docker", container="my pgb")
    error = await look(bouncer(host="db", process=supervision), FakeTransport())
    assert "docker kill --signal=USR2 'my pgb'" in (error.hint or "")


@pytest.mark.parametrize("phase", [Phase.SSH, Phase.AUTH, Phase.CREDENTIALS, Phase.PARSE])
async def test_what_is_no_silence_is_not_looked_into(phase: Phase) -> None:
    error = NodeError(phase, "something else")
    transport = FakeTransport()
    assert await look(bouncer(host="db"), transport, error) is error
    assert not transport.calls


async def test_a_machine_that_is_down_is_not_taken_for_suspended() -> None:
    down = DeadlineError(Phase.CONNECT, "no answer within 5 s while connecting", limit_s=5)
    assert await look(bouncer(), None, down) is down
