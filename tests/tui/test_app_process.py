"""The processes of bouncers in the console: asked for when opened, again by a key; n/a has a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from console.hosts.facts import ProcessFacts
from console.hosts.processes import Process
from console.model.version import Version
from console.operations.process.finding import ProcessLook
from console.operations.process.reader import ProcessReader
from console.operations.process.report import ProcessReport
from console.operations.process.supervision import Kind, Supervision
from console.tui.screens import process as process_module
from console.tui.screens.process import ProcessScreen
from tests.tui.driving import burst, recorded_app, text_of, until
from tests.tui.recording import WALL_S

Deck = Pilot[Any]
sizes = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
PGBOUNCER = "/usr/sbin/pgbouncer"
INI = "/etc/pgbouncer/pgbouncer.ini"


def report(name: str) -> ProcessReport:
    """One that runs, of another user, older than the program on disk."""
    process = Process(4711, 100, "boot", "S", (PGBOUNCER, "-d", INI), PGBOUNCER)
    facts = ProcessFacts(
        process,
        started_at_s=WALL_S - 90_000,
        uid=105,
        cpu_s=812.4,
        rss_bytes=44_040_192,
        open_files=None,
        open_files_limit=65_536,
    )
    supervision = Supervision(Kind.COMMAND, "", start_command=(PGBOUNCER, "-d", INI))
    look = ProcessLook(
        None, supervision, facts, program=PGBOUNCER, program_version=Version(1, 26, 1), user=1000
    )
    return ProcessReport(name, look, WALL_S, Version(1, 24, 1), None, 0.42)


def gone(name: str) -> ProcessReport:
    look = ProcessLook(None, None, None, "the inventory names no host for it")
    return ProcessReport(name, look, WALL_S, None, "Connection refused (connect)", None)


class Hosts:
    """Stands in for a `ProcessReader`: hosts that answer when they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.answer = asyncio.Event()
        self.silent: set[str] = set()

    async def read(
        self, names: Sequence[str], *, done: Callable[[ProcessReport], None]
    ) -> tuple[ProcessReport, ...]:
        self.asked.append(tuple(names))
        await self.answer.wait()
        for name in names:
            if name not in self.silent:
                done(gone(name) if name.startswith("gone") else report(name))
        if self.silent & set(names):
            await asyncio.Event().wait()
        return ()


def app_on(hosts: Hosts) -> Any:
    return recorded_app(processes=cast("ProcessReader", hosts))


async def asked(pilot: Deck, text: str) -> None:
    await until(pilot, lambda: text in text_of(pilot.app))


@sizes
def test_what_it_looks_like(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    hosts = Hosts()
    hosts.answer.set()

    async def before(pilot: Deck) -> None:
        await asked(pilot, "of 10 answer")
        await burst(pilot, "colon", *"process edge-1b,gone-2", "enter")
        await asked(pilot, "read now")
        await pilot.pause()

    assert snap_compare(app_on(hosts), terminal_size=size, run_before=before)


async def test_it_is_asked_when_opened_and_again_by_r_only() -> None:
    hosts = Hosts()
    app = app_on(hosts)
    async with app.run_test(size=(120, 40)) as pilot:
        await asked(pilot, "of 10 answer")
        await until(pilot, lambda: app.table.panel.grid.move_cursor("edge-1a"))
        await pilot.press("x")
        await asked(pilot, "being read: its host is asked")
        assert "reading, for 0 s (at most 60 s)" in text_of(app)
        await pilot.press("r")
        assert hosts.asked == [("edge-1a",)], "it is being read already"
        hosts.answer.set()
        await asked(pilot, "1.24.1 runs; the next start takes 1.26.1")
        assert "n/a of 65536: only its owner and root may see them (sudo = true)" in text_of(app)
        await pilot.press("r")
        await until(pilot, lambda: len(hosts.asked) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ProcessScreen))


async def test_a_host_that_does_not_answer_is_told_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "LIMIT_S", 0.2)
    hosts = Hosts()
    hosts.answer.set()
    hosts.silent = {"edge-2a"}
    app = app_on(hosts)
    async with app.run_test(size=(120, 40)) as pilot:
        await asked(pilot, "of 10 answer")
        await burst(pilot, "colon", *"process edge-1a,edge-2a", "enter")
        await asked(pilot, "not read within 0.2 s: edge-2a; r reads again")
        assert "not read in time" in text_of(app)
        hosts.silent.clear()
        await pilot.press("r")
        await until(pilot, lambda: "not read" not in text_of(app))


async def test_without_a_way_to_hosts_it_says_so() -> None:
    app = recorded_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await asked(pilot, "of 10 answer")
        await burst(pilot, "colon", *"process edge-1a", "enter")
        await until(pilot, lambda: any("cannot ask the hosts" in one.message for one in app._notifications))


def test_what_is_not_known_is_never_nothing() -> None:
    known = report("edge")
    facts = known.look.process
    assert facts is not None
    blind = replace(facts, cpu_s=None, rss_bytes=None, open_files_limit=None)
    lines = dict(replace(known, look=replace(known.look, process=blind), cpu_share=None).lines())
    assert lines["cpu"] == "n/a: its host tells no clock ticks"
    assert lines["memory"] == "n/a: its host does not tell"
    assert lines["open files"].startswith("n/a of no known limit: ")
