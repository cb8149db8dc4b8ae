"""What is asked at the deadline of a rolling restart, and when an answer counts."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from console.model.version import Version
from console.operations.control import Control
from console.operations.outcome import EventKind
from console.operations.restart import question as question_module
from console.operations.restart.methods import Choice, Method, RestartParameters, Stragglers
from console.operations.restart.question import Question

V124 = Version(1, 24)


class Ask:
    """As much of an `Ask` as decides what can be answered."""

    def __init__(self, version: Version) -> None:
        self.seen = type("Seen", (), {"version": version})()
        self.parameters = RestartParameters(stragglers=Stragglers.ASK)
        self.found = type("Found", (), {"choice": Choice(Method.ROLLING, "")})()


class Step:
    """Remembers what it was told."""

    target = "edge-1"

    def __init__(self, version: Version) -> None:
        self.ask = Ask(version)
        self.control = Control()
        self.told: list[tuple[EventKind, Any]] = []
        self.warnings: list[str] = []

    def tell(self, kind: EventKind, text: str, data: Any = None) -> None:
        self.told.append((kind, data if data is not None else text))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def offered(self) -> list[str]:
        asked = [data for kind, data in self.told if kind is EventKind.ASKING]
        return [key for key, _ in asked[-1]["choices"]]


def asking(version: Version = V124) -> tuple[Step, Question]:
    step = Step(version)
    return step, Question(step)  # type: ignore[arg-type]


async def test_an_answer_is_taken_once_and_closes_the_question() -> None:
    step, question = asking()
    assert question.answer(["a client"], 1) is None
    assert step.offered == ["wait", "kill-idle", "give-up"]
    step.control.answer("edge-1", "wait")
    assert question.answer(["a client"], 1) is Stragglers.WAIT
    assert not question.is_open
    assert step.offered == []


async def test_what_was_answered_before_it_was_asked_does_not_count() -> None:
    step, question = asking()
    step.control.answer("edge-1", "kill-idle")
    assert question.answer(["a client"], 1) is None
    assert question.answer(["a client"], 1) is None


@pytest.mark.parametrize("said", ["ask", "now", ""])
async def test_only_what_is_offered_is_an_answer(said: str) -> None:
    step, question = asking()
    question.answer([], 1)
    step.control.answer("edge-1", said)
    assert question.answer([], 1) is None
    assert question.is_open


async def test_until_1_23_nobody_can_be_cut() -> None:
    step, question = asking(Version(1, 23))
    question.answer([], 1)
    assert step.offered == ["wait", "give-up"]
    step.control.answer("edge-1", "kill-idle")
    assert question.answer([], 1) is None


async def test_nobody_answers_and_it_is_given_up() -> None:
    step, question = asking()
    assert question.answer([], 1) is None
    later = asyncio.get_running_loop().time() + question_module.ANSWER_LIMIT_S + 1
    with patch.object(asyncio.get_running_loop(), "time", lambda: later):
        assert question.answer([], 1) is Stragglers.GIVE_UP
    assert step.warnings == ["nobody answered within 120 s: given up"]
    assert step.offered == []
