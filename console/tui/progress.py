"""What a run's events add up to: how each target stands, and what is held for how long. Pure state.

It is fed each event once, as it comes; it asks nobody and draws nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from console.operations.outcome import Event, EventKind, Outcome, RunReceipt
from console.operations.plan import Plan
from console.view.cells import Tone

OUTCOME_TONES: dict[Outcome, Tone] = {
    Outcome.OK: Tone.GOOD,
    Outcome.NO_CHANGE: Tone.GOOD,
    Outcome.SKIPPED: Tone.WARN,
    Outcome.FAILED: Tone.BAD,
    Outcome.UNKNOWN: Tone.BAD,
}
_WORDS: Mapping[EventKind, tuple[str, Tone]] = {
    EventKind.STARTED: ("started", Tone.INFO),
    EventKind.SENT: ("sent", Tone.INFO),
    EventKind.WAITING: ("waiting", Tone.INFO),
    EventKind.HELD: ("held", Tone.WARN),
    EventKind.UNDOING: ("undoing", Tone.WARN),
    EventKind.ASKING: ("asking", Tone.WARN),
}
"""Kinds that change how a target stands; what is said besides only changes the detail."""
_SAID = frozenset({EventKind.NOTE, EventKind.WARNING, EventKind.ANSWERED})
_OF_THE_WHOLE = frozenset({EventKind.NOTE, EventKind.UNDOING})
"""What is told of the run as a whole: the step that it is at."""
NOT_BEGUN = "not begun"


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target of a run, as of now."""

    target: str
    word: str
    tone: Tone
    since_s: float | None
    """Wall clock; None: it was not begun."""
    detail: str

    @property
    def trouble(self) -> bool:
        """Whether it did not end well."""
        return self.tone is Tone.BAD or self.word == Outcome.SKIPPED.value


@dataclass(frozen=True, slots=True)
class Hold:
    """What a run holds."""

    targets: tuple[str, ...]
    remaining_s: float
    """As of `at_s`."""
    waiting: int
    maxwait_s: float
    at_s: float
    """Monotonic clock, when it was told."""

    def left_s(self, now_s: float) -> float:
        """Return what is left of it."""
        return max(0.0, self.remaining_s - (now_s - self.at_s))

    @property
    def name(self) -> str:
        """The target, or how many."""
        return self.targets[0] if len(self.targets) == 1 else f"{len(self.targets)} targets"


@dataclass(frozen=True, slots=True)
class Question:
    """What a run wants to know about a target."""

    target: str
    text: str
    choices: tuple[tuple[str, str], ...]
    """The answer, and what it means."""
    about: tuple[str, ...]
    remaining_s: float
    """As of `at_s`."""
    at_s: float
    """Monotonic clock, when it was told."""

    def left_s(self, now_s: float) -> float:
        """Return how long an answer is still waited for."""
        return max(0.0, self.remaining_s - (now_s - self.at_s))


@dataclass
class Progress:
    """How far a run is."""

    plan: Plan
    states: dict[str, TargetState] = field(default_factory=dict)
    """By target, in the plan's order; those that were never reached come last."""
    stage: str = ""
    """The wave, gate or step, or how far what it needs is ready, as told; "" when there is none."""
    questions: dict[str, Question] = field(default_factory=dict)
    """By target: what it waits to be told."""
    _preparing: bool = False
    _told: tuple[float, int, float, float] | None = None
    receipt: RunReceipt | None = None
    failed: str | None = None
    """Why there is no receipt although it is over."""

    def __post_init__(self) -> None:
        """Begin with every target not begun."""
        for item in self.plan.targets:
            name = str(item.target)
            self.states[name] = TargetState(name, NOT_BEGUN, Tone.DIM, None, "")
        for out in self.plan.unreachable:
            self.states[out.name] = TargetState(out.name, "unreachable", Tone.BAD, None, out.reason)

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return self.receipt is not None or self.failed is not None

    @property
    def hold(self) -> Hold | None:
        """What it holds for its time; None before everything is held, and afterwards."""
        held = tuple(state.target for state in self.states.values() if state.word == "held")
        if self._told is None or not held or self.over:
            return None
        remaining_s, waiting, maxwait_s, at_s = self._told
        return Hold(held, remaining_s, waiting, maxwait_s, at_s)

    @property
    def paused(self) -> tuple[str, ...]:
        """Targets that may be paused by it now."""
        words = ("sent", "waiting", "held", "undoing")
        return tuple(state.target for state in self.states.values() if state.word in words)

    @property
    def counts(self) -> str:
        """How many stand how, e.g. `12 ok, 1 failed, 7 not begun`."""
        found = Counter(state.word for state in self.states.values())
        return ", ".join(f"{number} {word}" for word, number in found.items())

    def take(self, event: Event, now_s: float) -> None:
        """Take an event in.

        Args:
            event: the next one.
            now_s: the monotonic clock.
        """
        data = event.data
        if event.kind is EventKind.HOLDING:
            self._told = (
                float(data.get("remaining_s", 0.0)),
                int(data.get("waiting", 0)),
                float(data.get("maxwait_s", 0.0)),
                now_s,
            )
        elif event.kind is EventKind.ASKING:
            self._ask(event, now_s)
        elif event.kind in (EventKind.WAVE, EventKind.GATE, EventKind.PREPARING):
            self.stage = event.text
            self._preparing = event.kind is EventKind.PREPARING
        elif event.target not in self.states and event.kind in _OF_THE_WHOLE:
            self.stage = event.text
            self._preparing = False
        elif event.kind is EventKind.SENT and self._preparing:
            self.stage = ""
            self._preparing = False
        state = self.states.get(event.target)
        if state is not None:
            self.states[event.target] = _next(state, event)

    def _ask(self, event: Event, now_s: float) -> None:
        choices = tuple((str(key), str(words)) for key, words in event.data.get("choices", ()))
        self.questions.pop(event.target, None)
        if choices:
            about = tuple(map(str, event.data.get("about", ())))
            remaining_s = float(event.data.get("remaining_s", 0.0))
            self.questions[event.target] = Question(
                event.target, event.text, choices, about, remaining_s, now_s
            )

    def end(self, receipt: RunReceipt) -> None:
        """Take the receipt in: it has the last word on every target."""
        self.receipt = receipt
        self.questions.clear()
        for target in receipt.targets:
            name = str(target.target)
            self.states[name] = TargetState(
                name,
                target.word,
                OUTCOME_TONES[target.outcome],
                target.started_at_s + target.duration_s,
                target.detail,
            )


def _next(state: TargetState, event: Event) -> TargetState:
    if event.kind is EventKind.FINISHED:
        outcome = Outcome(str(event.data["outcome"]))
        word, _, detail = event.text.partition(": ")
        return TargetState(state.target, word, OUTCOME_TONES[outcome], event.at_s, detail)
    if event.kind is EventKind.HELD:
        # How many wait changes while it is held: it is told of all targets together.
        return TargetState(state.target, *_WORDS[event.kind], event.at_s, "paused and drained")
    if event.kind is EventKind.ASKING and not event.data.get("choices"):
        return TargetState(state.target, *_WORDS[EventKind.WAITING], event.at_s, state.detail)
    word, tone = _WORDS.get(event.kind, (state.word, state.tone))
    if event.kind is EventKind.SENT and state.word == "undoing":
        word, tone = state.word, state.tone
    if word == state.word:
        said = event.kind in _SAID or event.kind in _WORDS
        return TargetState(
            state.target, word, tone, state.since_s or event.at_s, event.text if said else state.detail
        )
    return TargetState(state.target, word, tone, event.at_s, event.text)
