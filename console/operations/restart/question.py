"""Asks whoever watches a rolling restart what becomes of clients that stay, while they are watched on.

It waits for nothing: the caller looks again and again. Nobody answers in time: that is giving up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.operations.outcome import EventKind
from console.operations.restart.methods import Stragglers
from console.operations.restart.plan import WORDS, choices
from console.operations.step import Step, plural

ANSWER_LIMIT_S = 120.0
_AGAIN_S = 2.0
"""So often it is told how long an answer is waited for."""
_MEANING = {
    Stragglers.WAIT: "as long again, then it is asked once more",
    Stragglers.KILL_IDLE: "those in a transaction get as long again",
    Stragglers.GIVE_UP: "the run ends as failed. The shutdown cannot be revoked: the bouncer goes on serving "
    "them, and its host starts it when the last one has left",
}


class Question:
    """One target's."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._until_s: float | None = None
        self._told_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether an answer is waited for."""
        return self._until_s is not None

    def answer(self, about: Sequence[str], count: int) -> Stragglers | None:
        """Ask, or take the answer; None: there is none yet.

        Args:
            about: a line for each client that stays.
            count: how many they are.
        """
        now_s = asyncio.get_running_loop().time()
        name = str(self._step.target)
        given = self._step.control.answer_to(name) if self.is_open else None
        if self._until_s is None:
            # What was answered to an earlier question is no answer to this one.
            self._step.control.answer_to(name)
            self._until_s = now_s + ANSWER_LIMIT_S
        possible = choices(self._step.ask)
        if given in possible:
            chosen = Stragglers(given)
            self.close()
            self._step.tell(EventKind.NOTE, f"{plural(count, 'client')} left: {WORDS[chosen]}")
            return chosen
        left_s = self._until_s - now_s
        if left_s <= 0:
            self.close()
            self._step.warn(f"nobody answered within {ANSWER_LIMIT_S:g} s: given up")
            return Stragglers.GIVE_UP
        if now_s - self._told_s >= _AGAIN_S:
            self._told_s = now_s
            self._step.tell(
                EventKind.ASKING,
                f"{plural(count, 'client')} stay: what becomes of them?",
                {
                    "choices": [[one.value, f"{WORDS[one]}: {_MEANING[one]}"] for one in possible],
                    "about": list(about),
                    "remaining_s": round(left_s, 1),
                },
            )
        return None

    def close(self) -> None:
        """Take the question back; safe to call often."""
        if self._until_s is not None:
            self._until_s, self._told_s = None, 0.0
            self._step.tell(EventKind.ASKING, "the question is over", {"choices": []})
