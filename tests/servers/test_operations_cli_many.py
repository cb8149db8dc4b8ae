"""Operations on several bouncers as a shell sees them: waves, limits, tables, and plans that are approved."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.faults import killed
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import LIMIT_S, Shell, open_transaction, until
from tests.servers.verbs_kit import table

NAMES = ("core", "east", "west")
SOMEBODY = 4242
"""A user id that is nobody's."""
AGREED = ("--yes", "--confirm", "test 0")


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Shell]:
    """Three bouncers, one of each version, and a fourth that is not there."""
    versions = dict(zip(NAMES, ("1.18", "1.24", "1.26"), strict=True))
    servers = {name: make_pgbouncer(version, name=name) for name, version in versions.items()}
    with Shell(servers, tmp_path, nowhere=("gone",)) as made:
        yield made


def test_one_that_cannot_be_reached_stops_all_unless_a_failure_is_allowed(shell: Shell) -> None:
    refused = shell("reload", "all", "--yes")
    assert refused.returncode == 3
    assert "gone cannot be reached" in refused.stderr
    assert shell.records("intent") == []

    allowed = shell("reload", "all", "--yes", "--serial", "100%", "--max-failed", "1")
    assert allowed.returncode == 1, "what was named and not reached has failed"
    rows = [line.split()[:2] for line in allowed.stdout.splitlines()]
    assert rows[:5] == [["TARGET", "OUTCOME"], *([name, "ok"] for name in NAMES), ["gone", "unreachable"]]
    assert allowed.stdout.endswith("3 ok, 1 unreachable; exit 1: 1 target could not be reached\n")

    code, lines = shell.json_lines("reload", "all", "--yes", "--serial", "100%", "--max-failed", "25%")
    assert code == 1
    run = lines[-1]
    assert (run["type"], run["targets"], run["exit_code"]) == ("run", 4, 1)
    assert [out["name"] for out in run["unreachable"]] == ["gone"]
    assert [line["target"] for line in lines if line["type"] == "receipt"] == list(NAMES)


def test_waves_go_in_their_order_with_a_gate_between_them(shell: Shell) -> None:
    ended = shell("reload", "all,!gone", "--yes", "--serial", "1,2", "--soak", "200ms")
    assert ended.returncode == 0, ended.stderr
    told = [
        line for line in ended.stderr.splitlines() if re.match("test: wave|test: the gate|.*: → RELOAD", line)
    ]
    assert told[:3] == [
        "test: wave 1 of 2: core",
        "core: → RELOAD",
        "test: the gate is open: the wave is healthy (a login to the admin console)",
    ]
    assert told[3] == "test: wave 2 of 2: east, west"
    assert sorted(told[4:]) == ["east: → RELOAD", "west: → RELOAD"]
    assert ended.stdout.endswith("\n3 ok\n")


def test_a_client_that_waited_before_the_run_does_not_keep_the_gate_shut(shell: Shell) -> None:
    """Both servers of `tiny` are held, so a third client waits, and goes on waiting over the whole run."""
    server = shell.servers["core"]
    waves = ("--serial", "1,2", "--max-wait", "500ms", "--soak", "500ms", "--gate-timeout", "5s")
    with server.connect("tiny") as waiter:
        waiting = threading.Thread(target=waiter.execute, args=("SELECT 1",))
        with open_transaction(server, "tiny"), open_transaction(server, "tiny"), server.admin() as console:
            waiting.start()
            until(lambda: any(pool["maxwait"] for pool in table(console, "POOLS")))
            ended = shell("reload", "all,!gone", "--yes", *waves)
            waited = waiting.is_alive()
        waiting.join(LIMIT_S)
    assert waited
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("\n3 ok\n")
    assert "wait longer than --max-wait (0.5 s) already: core (tiny/app, " in ended.stderr


def test_the_gate_logs_in_through_the_bouncer_as_its_clients_do(
    make_pgbouncer: MakePgBouncer, tmp_path: Path
) -> None:
    servers = {name: make_pgbouncer("1.26", name=name) for name in ("core", "east")}
    probe = 'probe_user = "app"\nprobe_database = "app"\nprobe_password_from = "env:APP_WORD"'
    with Shell(servers, tmp_path, more=probe) as shell:
        shell.environ["APP_WORD"] = shell.server.secrets.password("app")
        words = ("reload", "all", "--yes", "--serial", "1", "--gate-timeout", "1s")
        ended = shell(*words)
        assert ended.returncode == 0, ended.stderr
        assert "test: the gate is open: the wave is healthy (a query as app on app)" in ended.stderr

        shell.tell("core", 'DISABLE "app"')
        ended = shell(*words)
    assert ended.returncode == 1, ended.stdout
    assert "not begun: the gate after wave 1 did not open: core: " in " ".join(ended.stdout.split())
    assert "is disabled" in ended.stdout


def test_a_first_wave_that_fails_leaves_the_others_alone(shell: Shell) -> None:
    with open_transaction(shell.servers["core"]):
        ended = shell("reconnect", "all,!gone", *AGREED, "--serial", "1,100%", "--timeout", "0.5")
    assert ended.returncode == 1, ended.stderr
    assert {record["target"] for record in shell.records("intent")} == {"core"}
    assert re.search(r"^east +skipped ", ended.stdout, re.MULTILINE)
    assert re.search(r"^2 skipped, 1 failed; exit 1: 1 target failed$", ended.stdout, re.MULTILINE)


@pytest.mark.trap("T12")
def test_all_are_paused_together_or_none(shell: Shell) -> None:
    refused = shell("pause", "all,!gone", "--yes", "--for", "1s")
    assert refused.returncode == 3, "several targets want their clients counted"
    assert "pass --yes --confirm 'test 0'" in refused.stderr
    held = shell("pause", "all,!gone", *AGREED, "--for", "1s")
    assert held.returncode == 0, held.stderr
    assert re.search("test: holding 3 targets, 1 s left", held.stderr)
    with open_transaction(shell.servers["west"]):
        failed = shell("pause", "all,!gone", *AGREED, "--timeout", "1")
    assert failed.returncode == 1
    assert "west could not be paused" in failed.stdout
    assert "3 failed; exit 1: 3 targets failed" in failed.stdout
    assert [name for name in NAMES if shell.paused(name)] == []


def test_ctrl_c_between_waves_begins_no_other(shell: Shell) -> None:
    process = shell.start("reload", "all,!gone", "--yes", "--serial", "1", "--soak", "60s")
    assert process.stderr is not None
    while "soaking" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "stopping after the step under way, undoing what can be undone; Ctrl-C again: now" in err
    assert re.search(r"^1 ok, 2 skipped; exit 130: interrupted$", out, re.MULTILINE)
    assert {record["target"] for record in shell.records("intent")} == {"core"}
    assert "not begun: the run was interrupted" in out


# -- approved plans ---------------------------------------------------------------------------------


def planned(shell: Shell, *words: str) -> tuple[Path, str]:
    """Save a plan and return its file and hash."""
    path = shell.fleet.parent / "plan.json"
    saved = shell(*words, "--save", str(path))
    assert saved.returncode == 0, saved.stderr
    assert shell.records("intent") == []
    return path, json.loads(path.read_text())["hash"]


RECONNECT = ("reconnect", "all,!gone", "--serial", "100%")


def test_an_approved_plan_runs_without_a_question(shell: Shell) -> None:
    path, plan_hash = planned(shell, *RECONNECT, "--reason", "CHG-12")
    for named in (str(path), plan_hash[:12]):
        ended = shell(*RECONNECT, "--approve", named)
        assert ended.returncode == 0, ended.stderr
        assert f"approved: plan {plan_hash[:12]}, made by " in ended.stderr
    intents = shell.records("intent")
    assert {intent["plan"] for intent in intents} == {plan_hash}
    assert {intent["reason"] for intent in intents} == {"CHG-12"}, "the plan's own reason, when none is given"


@pytest.mark.parametrize("by_hash", [True, False])
def test_what_changed_behind_the_plans_back_is_refused_and_named(shell: Shell, by_hash: bool) -> None:
    path, plan_hash = planned(shell, *RECONNECT)
    shell.tell("east", "SET default_pool_size = 33")
    refused = shell(*RECONNECT, "--approve", plan_hash[:16] if by_hash else str(path))
    assert refused.returncode == 3
    lines = refused.stderr.splitlines()
    assert [line for line in lines if line.startswith("moved: ")] == [
        "moved: east: setting default_pool_size: 10 → 33"
    ]
    assert lines[-2].startswith(
        f"pooldeck: guard.approve: plan {plan_hash[:12]} is not what would be done now"
    )
    assert shell.records("intent") == []


def test_a_bouncer_that_went_away_since_is_named(shell: Shell) -> None:
    words = (*RECONNECT, "--max-failed", "1")
    path, _ = planned(shell, *words)
    with killed(shell.servers["west"]):
        refused = shell(*words, "--approve", str(path))
    assert refused.returncode == 3
    assert re.search(r"^moved: west: cannot be reached now: .*refused", refused.stderr, re.MULTILINE)


def test_a_plan_of_another_command_is_a_usage_error(shell: Shell) -> None:
    path, _ = planned(shell, *RECONNECT)
    wrong = shell("reconnect", "all,!gone", "--approve", str(path))
    assert wrong.returncode == 2
    assert "the plan is of another command (--serial: 100%, not 1,25%,100%)" in wrong.stderr
    wrong = shell("resume", "all,!gone", "--approve", str(path))
    assert wrong.returncode == 2
    assert "(op: reconnect, not resume" in wrong.stderr


def test_a_hash_that_nobody_has_is_refused(shell: Shell) -> None:
    refused = shell(*RECONNECT, "--approve", "0" * 12)
    assert refused.returncode == 3
    assert "no copy of that plan is kept here" in refused.stderr


def test_two_persons_means_the_plan_is_somebody_elses(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    with Shell({"edge": make_pgbouncer()}, tmp_path, more='[policy]\ntwo_person = ["reconnect"]\n') as shell:
        path, plan_hash = planned(shell, "reconnect", "edge")
        for words in (("--yes",), ("--approve", str(path)), ("--approve", plan_hash)):
            refused = shell("reconnect", "edge", *words)
            assert refused.returncode == 3
            assert "policy.two_person" in refused.stderr
        assert shell.records("intent") == []

        os.chown(path, SOMEBODY, -1)
        ended = shell("reconnect", "edge", "--approve", str(path))
        assert ended.returncode == 0, ended.stderr
        (intent,) = shell.records("intent")
        assert intent["plan_maker"] == str(SOMEBODY)
        assert intent["answer"] == f"--approve {plan_hash[:12]} of {SOMEBODY}"

        path.chmod(0o666)
        assert (
            "others than its owner can write it" in shell("reconnect", "edge", "--approve", str(path)).stderr
        )
