"""Progress of a run: each thing once, what repeats itself once a second, a countdown in one line."""

from __future__ import annotations

import io
import json
import os
import pty
from typing import Any

import pytest

from console.cli.diagnostics import ExitCode
from console.cli.operation_output import Telling, ending, standing
from console.cli.outlet import Outlet
from console.operations.outcome import Event, EventKind, Outcome, RunReceipt, TargetReceipt, Unreachable
from console.operations.target import Target


def event(kind: EventKind, text: str, at_s: float = 0.0, target: str = "edge", **data: Any) -> Event:
    return Event(at_s, "run", target, kind, text, data)


def waiting(at_s: float, target: str = "edge", servers: int = 2) -> Event:
    return event(EventKind.WAITING, f"waiting at {at_s}", at_s, target, servers=servers, remaining_s=9 - at_s)


class Told:
    """A telling and what it told."""

    def __init__(self, *, many: bool, as_json: bool = False) -> None:
        self.lines = io.StringIO()
        self.objects = io.StringIO()
        objects = Outlet(self.objects) if as_json else None
        self.telling = Telling(Outlet(self.lines), objects, many=many)

    def event(self, *events: Event) -> list[str]:
        """Tell events and return all lines so far."""
        for one in events:
            self.telling.event(one)
        return self.lines.getvalue().splitlines()


def test_an_event_is_a_line_target_first() -> None:
    sent, finished = event(EventKind.SENT, "→ PAUSE"), event(EventKind.FINISHED, "ok: done")
    assert Told(many=False).event(sent, finished) == ["edge: → PAUSE"], "one target's receipt follows at once"
    assert Told(many=True).event(sent, finished) == ["edge: → PAUSE", "edge: ok: done"]


def test_what_is_waited_for_is_told_once_a_second() -> None:
    lines = Told(many=False).event(*(waiting(tenths / 10) for tenths in range(0, 25, 2)))
    assert lines == ["edge: waiting at 0.0", "edge: waiting at 1.0", "edge: waiting at 2.0"]


def test_how_far_it_is_with_what_has_to_be_ready_is_told_once_a_second() -> None:
    kind = EventKind.PREPARING
    events = [event(kind, f"guardian: {n} of 9 sessions open", n / 2, "fleet") for n in range(4)]
    lines = Told(many=True).event(*events)
    assert lines == ["guardian: 0 of 9 sessions open", "guardian: 2 of 9 sessions open"]


def test_many_that_wait_are_one_line() -> None:
    lines = Told(many=True).event(
        waiting(0.0, "a"),
        *(waiting(0.5, name) for name in "bcde"),
        event(EventKind.HELD, "paused and drained", 0.6, "b"),
        waiting(1.5, "a", servers=1),
    )
    assert lines == [
        "a: waiting at 0.0",
        "b: paused and drained",
        "waiting for servers of a (1), c (2), d (2) and 1 more; 7.5 s left",
    ]


async def test_on_a_terminal_a_wait_is_told_when_it_changes_and_counted_down_in_place() -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w", encoding="utf-8") as stream:
            telling = Telling(Outlet(stream), None, many=False)
            for at_s, servers in ((0.0, 2), (1.0, 2), (2.0, 1)):
                telling.event(waiting(at_s, servers=servers))
            telling.event(event(EventKind.HELD, "held", 3.0))
            await telling.end()
            read = b""
            while not read.endswith(b"held\r\n"):
                read += os.read(ours, 65_536)
            lines = read.decode().split("\r\n")
    finally:
        os.close(ours)
    shown = [line.rsplit("\r", 1)[-1] for line in lines]
    assert shown == ["edge: waiting at 0.0", "edge: waiting at 2.0", "edge: held", ""]
    assert "waiting for servers of edge (2); 8.0 s left" in lines[1]


def test_json_has_every_event_and_what_repeats_itself_once_a_second_and_target() -> None:
    told = Told(many=True, as_json=True)
    for at_s in (0.0, 0.4, 0.8, 1.2):
        told.event(waiting(at_s, "a"), waiting(at_s, "b"))
    assert told.event(event(EventKind.FINISHED, "ok: done\x1b[2J", 2.0, "a")) == []
    lines = [json.loads(line) for line in told.objects.getvalue().splitlines()]
    assert {line["type"] for line in lines} == {"event"}
    assert [(line["target"], line["at"]) for line in lines] == [
        ("a", 0.0),
        ("b", 0.0),
        ("a", 1.2),
        ("b", 1.2),
        ("a", 2.0),
    ]
    assert lines[-1]["text"] == "ok: done\x1b[2J", "programs get it as it is"


def receipt(outcome: Outcome, **more: Any) -> TargetReceipt:
    values: dict[str, Any] = {"before": "running", "after": "running", "started_at_s": 0.0, "duration_s": 1.0}
    return TargetReceipt(Target("edge"), outcome, "detail", **{**values, **more})


@pytest.mark.parametrize(
    ("receipts", "unreachable", "code", "reason"),
    [
        ([receipt(Outcome.OK), receipt(Outcome.NO_CHANGE)], 0, ExitCode.OK, None),
        ([receipt(Outcome.OK), receipt(Outcome.FAILED)], 0, ExitCode.FAILED, "1 target failed"),
        ([receipt(Outcome.OK)], 2, ExitCode.FAILED, "2 targets could not be reached"),
        (
            [receipt(Outcome.FAILED), receipt(Outcome.FAILED, refused_by="guard.observed")],
            1,
            ExitCode.FAILED,
            "2 targets failed and 1 target could not be reached",
        ),
        (
            [receipt(Outcome.OK), receipt(Outcome.SKIPPED, refused_by="guard.observed")],
            0,
            ExitCode.REFUSED,
            "what the plan rests on has changed",
        ),
        ([receipt(Outcome.SKIPPED)], 0, ExitCode.REFUSED, "nothing was begun"),
        (
            [receipt(Outcome.OK), *[receipt(Outcome.SKIPPED, skipped_because="the gate did not open")] * 2],
            0,
            ExitCode.FAILED,
            "2 targets were not begun",
        ),
        ([receipt(Outcome.FAILED, interrupted=True)], 0, ExitCode.INTERRUPTED, "interrupted"),
        (
            [receipt(Outcome.UNKNOWN, interrupted=True), receipt(Outcome.FAILED)],
            0,
            ExitCode.UNKNOWN,
            "what became of 1 target is not known",
        ),
    ],
)
def test_the_exit_code_is_the_worst_that_happened_and_says_why(
    receipts: list[TargetReceipt], unreachable: int, code: ExitCode, reason: str | None
) -> None:
    gone = tuple(Unreachable(f"n{number}", "refused") for number in range(unreachable))
    assert ending(RunReceipt("run", "pause", "hash", tuple(receipts), gone)) == (code, reason)


def _standing(*receipts: TargetReceipt, holds: bool = True) -> list[str]:
    return standing(RunReceipt("run", "pause", "hash", receipts), 1_000_000.0, holds=holds)


def test_what_is_left_held_says_until_when_and_who_ends_it() -> None:
    left = receipt(Outcome.OK, after="paused", held_until_s=1_000_030.0)
    assert _standing(left) == [
        "edge is held until 13:47:10 UTC (in 30 s); the guardian resumes then",
        "  sooner: pooldeck resume edge; what is held: pooldeck leases",
    ]
    assert _standing(left, left)[1].startswith("  sooner: pooldeck resume SELECTOR")


def test_what_could_not_be_resumed_is_shouted() -> None:
    stuck = receipt(Outcome.FAILED, after="paused", clients_cut_at_s=1_000_060.0)
    assert _standing(stuck) == [
        "*** edge STILL IS PAUSED; its guardian goes on trying; by hand: pooldeck resume edge",
        "*** the first waiting clients are cut from 13:47:40 UTC (in 60 s) on",
    ]
    assert _standing(receipt(Outcome.NO_CHANGE, after="paused")) == [], "somebody else's is theirs"
    assert _standing(stuck, holds=False) == []
