"""How a pooler is supervised: from the inventory or its process to commands. Pure."""

from __future__ import annotations

import pytest

from console.config.schema import Process
from console.hosts.facts import ProcessFacts
from console.hosts.processes import Process as HostProcess
from console.model.version import Version
from console.operations.process.supervision import (
    Kind,
    Stop,
    Supervision,
    detected,
    of_inventory,
    signal_for,
    unit_facts,
    unit_program,
)

OLD, NEW = Version(1, 18), Version(1, 24)


def facts(cgroup: str, words: tuple[str, ...]) -> ProcessFacts:
    return ProcessFacts(HostProcess(7, 1, "boot", "S", words, words[0]), cgroup)


SYSTEMD = Process(kind="systemd", unit="pgbouncer@1.service", sudo=True)
COMMAND = Process(kind="command", start_command=("/usr/sbin/pgbouncer", "-d", "/etc/a.ini"))
DOCKER = Process(kind="docker", container="bouncer")
SWARM = Process(kind="swarm", service="bouncers")
SUDO = ("sudo", "-n")
CTL = ("systemctl", "--no-ask-password")


@pytest.mark.parametrize(
    ("process", "stop", "drain", "start"),
    [
        (
            SYSTEMD,
            (*SUDO, *CTL, "stop", "pgbouncer@1.service"),
            (*SUDO, *CTL, "kill", "--signal=SIGTERM", "pgbouncer@1.service"),
            (*SUDO, *CTL, "start", "pgbouncer@1.service"),
        ),
        (COMMAND, ("kill", "-QUIT", "7"), ("kill", "-TERM", "7"), COMMAND.start_command),
        (
            DOCKER,
            ("docker", "kill", "--signal=SIGQUIT", "bouncer"),
            ("docker", "kill", "--signal=SIGTERM", "bouncer"),
            ("docker", "start", "bouncer"),
        ),
        (SWARM, (), (), ("docker", "service", "update", "--force", "--detach=false", "bouncers")),
    ],
    ids=["systemd", "command", "docker", "swarm"],
)
def test_each_supervision_has_its_commands(
    process: Process, stop: tuple[str, ...], drain: tuple[str, ...], start: tuple[str, ...]
) -> None:
    made = of_inventory(process)
    assert made.stop(Stop.NOW, NEW, 7) == stop
    assert made.stop(Stop.FOR_CLIENTS, NEW, 7) == drain
    assert made.start() == start


def test_signals_are_chosen_by_version() -> None:
    """Trap T17: SIGTERM exits at once until 1.22 and waits for clients from 1.23 on."""
    assert signal_for(Stop.NOW, Version(1, 22, 1)) == "TERM"
    assert signal_for(Stop.NOW, Version(1, 23)) == "QUIT"
    assert signal_for(Stop.FOR_CLIENTS, Version(1, 23)) == "TERM"
    assert of_inventory(DOCKER).stop(Stop.NOW, OLD, 7)[2] == "--signal=SIGTERM"


def test_logs_are_where_each_supervision_keeps_them() -> None:
    assert of_inventory(COMMAND).log("/var/log/a.log", 9) == ("tail", "-n", "9", "--", "/var/log/a.log")
    assert of_inventory(COMMAND).log(None, 9) == ()
    unit = of_inventory(SYSTEMD)
    assert unit.log(None, 9) == (
        *SUDO,
        *["journalctl", "--no-pager", "--quiet", "-n", "9", "-o", "cat", "-u"],
        unit.name,
    )
    assert unit.log("/l", 9) == (*SUDO, "tail", "-n", "9", "--", "/l")
    assert of_inventory(DOCKER).log("/l", 9) == ("docker", "logs", "--tail=9", "bouncer")
    assert of_inventory(SWARM).log("/l", 9) == ("docker", "service", "logs", "--raw", "--tail=9", "bouncers")


@pytest.mark.parametrize(
    ("cgroup", "words", "wanted"),
    [
        ("/system.slice/pgbouncer.service", ("x",), (Kind.SYSTEMD, "pgbouncer.service")),
        ("/system.slice/system-pg.slice/pg@1.service/a", ("x",), (Kind.SYSTEMD, "pg@1.service")),
        (f"/system.slice/docker-{'ab' * 32}.scope", ("x",), (Kind.DOCKER, "ab" * 6)),
        (f"/docker/{'cd' * 32}", ("x",), (Kind.DOCKER, "cd" * 6)),
        ("/user.slice/session-3.scope", ("/usr/sbin/pgbouncer", "-d", "/a.ini"), (Kind.COMMAND, "")),
        ("/system.slice/ssh.service", ("pgbouncer", "-qd", "/a.ini"), (Kind.COMMAND, "")),
        ("/", ("/usr/sbin/pgbouncer", "/a.ini"), None),
        ("/", ("something", "-d"), None),
    ],
)
def test_supervision_is_detected_from_the_control_group_else_the_command_line(
    cgroup: str, words: tuple[str, ...], wanted: tuple[Kind, str] | None
) -> None:
    found = detected(facts(cgroup, words))
    assert (None if found is None else (found.kind, found.name)) == wanted
    if found is not None:
        assert found.detected
        assert not found.sudo
        assert found.start_command == (words if found.kind is Kind.COMMAND else ())


def test_only_a_plain_pgbouncer_is_asked_for_its_version() -> None:
    """A script with `--version` behind it might start a pooler."""
    assert Supervision(Kind.COMMAND, "", ("/opt/start-it", "-d")).program is None
    assert Supervision(Kind.COMMAND, "", ("/opt/start-pgbouncer.sh",)).program is None
    command = ("setpriv", "--reuid=9", "/opt/pgbouncer-1.26/pgbouncer", "-d", "/etc/pgbouncer.ini")
    assert Supervision(Kind.COMMAND, "", command).program == "/opt/pgbouncer-1.26/pgbouncer"
    unit = unit_facts(
        "MainPID=7\nExecStart={ path=/usr/sbin/pgbouncer ; argv[]=/usr/sbin/pgbouncer a }\nX=1\n"
    )
    assert unit["MainPID"] == "7"
    assert "X" not in unit
    assert unit_program(unit) == "/usr/sbin/pgbouncer"
    assert unit_program({"ExecStart": "{ path=/bin/sh ; }"}) is None
