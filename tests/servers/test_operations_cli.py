"""`pooldeck pause|resume|reload` as a shell sees them: exit codes, questions, JSON, and who ends a pause."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.lab.secrets import ADMIN, MONITOR
from tests.harness.servers import MakePgBouncer
from tests.servers.cli_kit import LIMIT_S, Shell, Terminal, open_transaction, until


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Shell]:
    with Shell({"edge": make_pgbouncer()}, tmp_path) as made:
        yield made


def test_a_pause_is_held_for_its_time_and_then_ended(shell: Shell) -> None:
    process = shell.start("pause", "edge", "--yes", "--for", "1500ms")
    until(shell.paused)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert re.match(r"edge: OK in [0-9.]+ s: held for 1\.5 s; it reads as running again\n", out)
    assert "test: holding 1 target, " in err
    assert not shell.paused()
    assert shell("resume", "edge").returncode == 0, "no change needs nobody's word"


def test_a_detached_pause_says_until_when_who_ends_it_and_how_to_end_it(shell: Shell) -> None:
    paused = shell("pause", "edge", "--yes", "--for", "40s", "--detach")
    assert paused.returncode == 0, paused.stderr
    assert shell.paused()
    assert re.search(
        r"edge is held until \d\d:\d\d:\d\d UTC \(in (39|40) s\); the guardian resumes then\n"
        r"  sooner: pooldeck resume edge; what is held: pooldeck leases\n",
        paused.stderr,
    )
    again = shell("pause", "edge")
    assert again.returncode == 0
    assert "NO CHANGE" in again.stdout

    resumed = shell("resume", "edge", "--yes")
    assert resumed.returncode == 0
    assert "edge: OK" in resumed.stdout
    assert not shell.paused()


def test_json_is_an_object_a_line_events_first_the_run_last(shell: Shell) -> None:
    code, lines = shell.json_lines("pause", "edge", "--yes", "--for", "0")
    assert code == 0
    kinds = [line["type"] for line in lines]
    assert kinds == ["event"] * (len(kinds) - 2) + ["receipt", "run"]
    # A slow machine tells that it is preparing.
    told = [line["event"] for line in lines[:-2] if line["event"] != "preparing"]
    assert told[:2] == ["started", "sent"]
    assert (lines[-2]["target"], lines[-2]["outcome"], lines[-2]["after"]) == ("edge", "ok", "running")
    assert lines[-1]["outcome"] == "ok"
    assert lines[-1]["exit_code"] == 0
    assert len({line["run"] for line in lines}) == 1


def test_json_leaves_standard_error_to_errors(shell: Shell) -> None:
    ended = shell("resume", "edge", "--yes", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_plan_shows_and_sends_nothing(shell: Shell) -> None:
    text = shell("pause", "edge", "--plan", "--for", "20s")
    assert text.returncode == 0
    assert "  sends      PAUSE\n" in text.stdout
    assert "  undo       pooldeck resume edge\n" in text.stdout
    plan = json.loads(shell("pause", "edge", "--plan", "--json", "--for", "20s").stdout)
    assert plan["type"] == "plan"
    assert plan["targets"][0]["statements"] == ["PAUSE"]
    assert plan["verdict"]["kind"] == "confirm"
    hint = f"pause edge --for 20s --approve {plan['hash'][:12]}\n"
    assert text.stdout.endswith(hint), "the same world gives the same plan, and text and JSON agree"
    assert not shell.paused()


def test_without_a_terminal_somebody_has_to_say_yes(shell: Shell) -> None:
    refused = shell("pause", "edge")
    assert refused.returncode == 3
    assert "pass --yes" in refused.stderr
    assert not shell.paused()


def test_production_wants_the_name_besides_yes(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> None:
    shell = Shell({"edge": make_pgbouncer()}, tmp_path, environment="production")
    refused = shell("pause", "edge", "--yes")
    assert refused.returncode == 3
    assert "--yes --confirm edge" in refused.stderr
    wrong = shell("pause", "edge", "--yes", "--confirm", "edge-1")
    assert wrong.returncode == 3
    assert "--confirm 'edge-1' is not 'edge'" in wrong.stderr
    assert shell.records("intent") == []
    assert shell("pause", "edge", "--for", "0", "--yes", "--confirm", "edge").returncode == 0
    shell.tell("edge", "PAUSE")
    assert shell("resume", "edge", "--yes").returncode == 0, "ending a pause needs no name"


def test_read_only_refuses_every_verb(shell: Shell) -> None:
    shell.tell("edge", "PAUSE")
    for verb in ("pause", "resume", "reload"):
        refused = subprocess.run(
            [
                sys.executable,
                "-m",
                "console.cli.main",
                "--fleet",
                str(shell.fleet),
                "--read-only",
                verb,
                "edge",
                "-y",
            ],
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert refused.returncode == 3, refused.stderr
        assert "read-only" in refused.stderr
    assert shell.paused()


def test_wrong_targets_are_usage_errors(shell: Shell) -> None:
    for selector in ("nowhere", "edge/nothing", "edge/pgbouncer"):
        wrong = shell("pause", selector, "--yes")
        assert wrong.returncode == 2, wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_a_pause_that_does_not_complete_is_exit_1(shell: Shell) -> None:
    with open_transaction(shell.server):
        failed = shell("pause", "edge", "--yes", "--timeout", "0.5")
        assert failed.returncode == 1
        assert "FAILED" in failed.stdout
        assert "reads as running again" in failed.stdout
        assert not shell.paused()


def test_a_broken_file_is_refused_with_its_line(shell: Shell) -> None:
    path = shell.server.config_path
    text = path.read_text().replace("[pgbouncer]\n", "[pgbouncer]\nno_such_setting = 1\n")
    shell.server.launcher.write_file(path, text)
    refused = shell("reload", "edge", "--yes")
    assert refused.returncode == 3
    assert f"{path}:" in refused.stderr
    assert "no_such_setting" in refused.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_output_hides_neither_the_outcome_nor_the_standing_pause(shell: Shell, stream: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        ended = subprocess.run(
            shell.argv("pause", "edge", "--yes", "--detach"),
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=LIMIT_S,
            check=False,
            **streams,  # type: ignore[call-overload]
        )
    assert ended.returncode == 0, "the pause was reached, and the exit code says so"
    assert shell.paused()
    if stream == "stdout":
        assert "the receipt could not be written (No space left on device)" in ended.stderr
        assert "edge is held until" in ended.stderr
        assert "internal error" not in ended.stderr
    else:
        assert "edge: OK" in ended.stdout


def test_without_standard_input_nobody_is_there_to_agree(shell: Shell) -> None:
    ended = shell.run_in_shell('"$@" <&-', "pause", "edge")
    assert ended.returncode == 3, ended.stderr
    assert "nobody is here to agree" in ended.stderr
    assert not shell.paused()


def test_a_journal_that_cannot_be_written_says_what_to_do(shell: Shell) -> None:
    (shell.state / "pooldeck" / "journal.jsonl").mkdir(parents=True)
    failed = shell("pause", "edge", "--yes")
    assert failed.returncode == 1
    assert "nothing was sent" in failed.stdout
    assert "free space or mend its permissions" in failed.stdout
    assert not shell.paused()


def test_a_limit_out_of_bounds_is_told_by_its_option(shell: Shell) -> None:
    wrong = shell("pause", "edge", "--timeout", "0")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("pooldeck: pause: ")
    assert "timeout must be greater than 0" in wrong.stderr


def test_on_a_terminal_the_name_has_to_be_typed(shell: Shell) -> None:
    assert _typed(shell, "edgy\n") == 3
    assert shell.records("intent") == []
    assert _typed(shell, "edge\n") == 0
    assert [record["statements"] for record in shell.records("intent")] == [["PAUSE"]]
    assert not shell.paused()


def _typed(shell: Shell, answer: str) -> int:
    with Terminal() as terminal:
        process = terminal.start(shell, "pause", "edge", "--for", "0")
        terminal.read_until("type edge: ")
        terminal.type(answer)
        terminal.read_to_end(process)
        return process.wait(LIMIT_S)


def test_what_was_typed_before_the_question_is_no_answer(shell: Shell) -> None:
    with Terminal() as terminal:
        terminal.type("\n")
        process = terminal.start(shell, "reload", "edge")
        terminal.read_until("anything else to stop: ")
        terminal.type("no\n")
        seen = terminal.read_to_end(process)
        assert process.returncode == 3, seen
        assert "RELOAD in" not in seen


def test_a_plan_fits_the_terminal_it_is_shown_in(shell: Shell) -> None:
    with Terminal(columns=72) as terminal:
        process = terminal.start(shell, "pause", "edge", "--plan")
        shown = terminal.read_to_end(process)
    assert process.returncode == 0
    assert "at the end it reads as running" in " ".join(shown.split())
    lines = [line for line in shown.splitlines() if "to run it" not in line and "--fleet" not in line]
    assert max(len(line) for line in lines) <= 72, shown


def test_an_admin_user_that_is_none_is_told_where_to_mend_it(shell: Shell) -> None:
    shell.fleet.write_text(
        shell.fleet.read_text().replace(f'admin_user = "{ADMIN}"', f'admin_user = "{MONITOR}"')
    )
    shell.environ["ADMIN_WORD"] = shell.environ["MONITOR_WORD"]
    failed = shell("pause", "edge", "--yes")
    assert failed.returncode == 1
    assert "is no admin there" in failed.stderr
    assert "next: list it in admin_users" in failed.stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("pause e", ["edge"]), ("pause '!e", ["!edge"]), ("pause all,!e", ["all,!edge"]), ("pause x", [])],
)
def test_the_shell_completes_names_of_bouncers(shell: Shell, typed: str, completed: list[str]) -> None:
    environ = {**os.environ, "_POOLDECK_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    environ["COMP_WORDS"] = f"pooldeck --fleet {shell.fleet} {typed}"
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'pooldeck'; from console.cli.main import main; main()",
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.stdout.split() == completed, ended.stderr
