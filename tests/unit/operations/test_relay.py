"""The relay's script, run by a real shell on real processes of this machine."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from console.errors import NodeError, Phase
from console.hosts.commands import HostCommands, run_here
from console.hosts.facts import ProcessFacts, read_facts
from console.hosts.processes import HostProcesses
from console.operations.process.relay import OVER, Progress, Relay, earlier_relays

LIMIT_S = 10.0
HERE = HostCommands(run_here, "this machine")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[Relay]:
    made = Relay(HERE, "edge.1-a", timeout_s=LIMIT_S)
    yield made
    await made.tidy()


async def facts_of(process: subprocess.Popen[bytes]) -> ProcessFacts:
    found = await read_facts(HostProcesses(HERE, timeout_s=LIMIT_S), process.pid)
    assert found is not None
    return found


def is_there(path: str) -> bool:
    return Path(path).exists()


def make(path: str) -> None:
    Path(path).mkdir(mode=0o700)


async def over(relay: Relay) -> Progress:
    end = time.monotonic() + LIMIT_S
    while (progress := await relay.progress()) not in OVER:
        assert time.monotonic() < end, progress
        await asyncio.sleep(0.02)
    assert progress is not None
    return progress


async def at(relay: Relay, wanted: Progress) -> None:
    end = time.monotonic() + LIMIT_S
    while await relay.progress() is not wanted:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_it_stops_waits_and_starts(
    relay: Relay, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "it's started; really"
    launched = await relay.launch(
        ("kill", "-TERM", str(sleeper.pid)), ("touch", str(mark)), await facts_of(sleeper)
    )
    assert (launched.problem, launched.unsure) == (None, None)
    assert await over(relay) is Progress.STARTED
    assert mark.exists()
    assert sleeper.wait(LIMIT_S) == -15
    await relay.tidy()
    assert not is_there(relay.folder)
    assert await relay.progress() is Progress.NOT_SEEN


async def test_a_process_that_takes_its_time_is_waited_for_and_found_by_others(
    relay: Relay, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    await relay.launch(("true",), ("touch", str(mark)), await facts_of(sleeper))
    await at(relay, Progress.WAITING)
    (seen,) = await earlier_relays(HERE, "edge.1-a", timeout_s=LIMIT_S)
    assert (seen.folder, seen.under_way, seen.progress) == (relay.folder, True, Progress.WAITING)
    assert await earlier_relays(HERE, "1-a", timeout_s=LIMIT_S) == ()
    assert not mark.exists()
    sleeper.kill()
    assert await over(relay) is Progress.STARTED
    assert mark.exists()
    (seen,) = await earlier_relays(HERE, "edge.1-a", timeout_s=LIMIT_S)
    assert not seen.under_way


async def test_it_is_called_off_by_removing_its_folder(
    relay: Relay, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    await relay.launch(("true",), ("touch", str(mark)), await facts_of(sleeper))
    await at(relay, Progress.WAITING)
    pid = int((Path(relay.folder) / "pid").read_text())
    await relay.tidy()
    end = time.monotonic() + LIMIT_S
    while is_there(f"/proc/{pid}"):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    sleeper.kill()
    assert not mark.exists()


async def test_a_stop_that_fails_starts_nothing_and_its_words_are_kept(
    relay: Relay, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    stop = ("sh", "-c", "echo not allowed >&2; exit 4")
    await relay.launch(stop, ("touch", str(mark)), await facts_of(sleeper))
    assert await over(relay) is Progress.REFUSED
    assert await relay.said() == ("not allowed",)
    assert not mark.exists()
    assert sleeper.poll() is None


async def test_a_process_that_is_another_one_by_now_is_left_alone(
    relay: Relay, sleeper: subprocess.Popen[bytes]
) -> None:
    facts = await facts_of(sleeper)
    other = replace(facts, process=replace(facts.process, start_ticks=facts.process.start_ticks + 1))
    await relay.launch(("kill", str(sleeper.pid)), ("true",), other)
    assert await over(relay) is Progress.MOVED
    assert sleeper.poll() is None


async def test_a_start_that_fails_is_told(relay: Relay, sleeper: subprocess.Popen[bytes]) -> None:
    start = ("sh", "-c", "echo no such file >&2; exit 1")
    await relay.launch(("kill", str(sleeper.pid)), start, await facts_of(sleeper))
    assert await over(relay) is Progress.NOT_STARTED
    assert await relay.said() == ("no such file",)


async def test_without_a_process_there_is_only_the_start(relay: Relay, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    await relay.launch((), ("touch", str(mark)), None)
    assert await over(relay) is Progress.STARTED
    assert mark.exists()


async def test_a_host_without_an_answer_is_not_known_to_have_begun() -> None:
    async def silent(*_: object) -> object:
        raise NodeError(Phase.SSH, "no answer within 5 s")

    relay = Relay(HostCommands(silent, "host edge-1"), "edge", timeout_s=1)  # type: ignore[arg-type]
    launched = await relay.launch(("true",), ("true",), None)
    assert (launched.problem, launched.unsure) == (None, "no answer within 5 s (ssh)")
    assert await relay.progress() is None


async def test_a_folder_that_cannot_be_made_begins_nothing(relay: Relay) -> None:
    make(relay.folder)
    launched = await relay.launch(("false",), ("true",), None)
    assert launched.problem is not None
    assert "exists" in launched.problem
    assert await relay.progress() is Progress.NOT_SEEN
