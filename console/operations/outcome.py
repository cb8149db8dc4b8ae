"""What comes out of a run: events while it goes, receipts when it is over. Values only, all JSON-able."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from console.operations.target import Target

NOTHING: Mapping[str, Any] = MappingProxyType({})
SHUTTING_DOWN = "shutting down"
"""The state word of a pooler that will exit by itself, and what it says to a RESUME."""


class Outcome(StrEnum):
    """How a target ended (design.md, 4)."""

    OK = "ok"
    NO_CHANGE = "no change"
    SKIPPED = "skipped"
    """Nothing was sent: the guard refused, or the world had moved since the plan."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The connection was lost and reading back could not tell."""


_WORST_LAST = (Outcome.NO_CHANGE, Outcome.OK, Outcome.SKIPPED, Outcome.FAILED, Outcome.UNKNOWN)


TAKEN_BACK = "taken back"
"""The word for `TargetReceipt.taken_back`; its outcome is that of the undoing."""


class EventKind(StrEnum):
    """What an event tells."""

    STARTED = "started"
    SENT = "sent"
    ANSWERED = "answered"
    WAITING = "waiting"
    """A pause is not complete; `data` has `servers` and `remaining_s`."""
    PREPARING = "preparing"
    """Before the first statement: how far what has to be ready is."""
    WAVE = "wave"
    """A wave begins; `data` has `wave`, `waves` and `targets`."""
    GATE = "gate"
    """Between waves: what the gate waits for, or that it is open."""
    HELD = "held"
    """A target is paused and drained."""
    HOLDING = "holding"
    """All targets are held; `data` has `remaining_s`, `waiting` and `maxwait_s`."""
    ENDING = "ending"
    """The target will exit by itself, once nobody is left: sessions on it keep it from that."""
    ASKING = "asking"
    """The run waits for an answer about a target, for a while. `data` has `choices` (pairs: answer, what it
    means), `about` (lines) and `remaining_s`. No choices: the question is over."""
    NOTE = "note"
    UNDOING = "undoing"
    WARNING = "warning"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a run."""

    at_s: float
    """Wall clock, seconds since the epoch."""
    run_id: str
    target: str
    kind: EventKind
    text: str
    """For people; complete without `data`."""
    data: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "at": self.at_s,
            "run": self.run_id,
            "target": self.target,
            "event": self.kind.value,
            "text": self.text,
            **self.data,
        }


@dataclass(frozen=True, slots=True)
class Exchange:
    """One statement and what came back."""

    statement: str
    reply: str | None
    """The command tag or the error's text; None when nothing came."""
    duration_s: float | None
    """None while the answer is outstanding: a PAUSE that is given up never gets one."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A client that kept a server, so that a pause could not complete."""

    database: str
    user: str
    state: str
    address: str
    application_name: str | None
    since: str
    """When its query began, as the pooler wrote it (its local zone)."""


@dataclass(frozen=True, slots=True)
class TargetReceipt:
    """What was done to one target, and what it was read to be afterwards."""

    target: Target
    outcome: Outcome
    detail: str
    """One sentence or two; says what happened and why."""
    before: str
    """The state as words, e.g. `running`."""
    after: str | None
    """None when it could not be read."""
    started_at_s: float
    duration_s: float
    exchanges: tuple[Exchange, ...] = ()
    verified: tuple[str, ...] = ()
    """Each thing that was read back and found so."""
    differences: tuple[str, ...] = ()
    """Reload: settings and databases that changed."""
    still_active: tuple[str, ...] = ()
    """Pause: pools that were not drained when time was up."""
    holders: tuple[Holder, ...] = ()
    next_steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    """Restart: the last words of a start that failed, and of the pooler's log."""
    clients_cut_at_s: float | None = None
    """Wall clock: when the first waiting clients are cut if it stays paused; None: never, or not paused."""
    held_until_s: float | None = None
    """Wall clock: when a pause that was left to its guardian ends."""
    refused_by: str | None = None
    """The guard's rule when it was refused at the last moment."""
    interrupted: bool = False
    """Somebody cancelled it, and it was undone."""
    skipped_because: str | None = None
    """Why it was not begun, or was ended, because of another target or of the gate; None: it was not."""
    taken_back: bool = False
    """It was done, and undone again because the run was interrupted: it is as it was."""

    @property
    def word(self) -> str:
        """How it ended, for people."""
        return TAKEN_BACK if self.taken_back else self.outcome.value

    @property
    def shuts_down(self) -> bool:
        """Whether the pooler was left shutting down, or said that it is."""
        return self.after == SHUTTING_DOWN or any(
            SHUTTING_DOWN in (exchange.reply or "") for exchange in self.exchanges
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {**asdict(self), "target": str(self.target), "outcome": self.outcome.value}


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A target that was named and could not be read: it counts as failed."""

    name: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class RunReceipt:
    """A run that is over."""

    run_id: str
    op: str
    plan_hash: str
    targets: tuple[TargetReceipt, ...] = field(default=())
    unreachable: tuple[Unreachable, ...] = ()
    """Named, and never reached: each counts as failed."""

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of its targets."""
        found = [target.outcome for target in self.targets]
        found += [Outcome.FAILED] * len(self.unreachable)
        return max(found, key=_WORST_LAST.index, default=Outcome.SKIPPED)

    @property
    def counts(self) -> str:
        """How many targets ended in which way, e.g. `18 ok, 1 failed, 1 unreachable`."""
        found = Counter(target.word for target in self.targets)
        words = [outcome.value for outcome in Outcome]
        words.insert(1, TAKEN_BACK)
        parts = [f"{found[word]} {word}" for word in words if found[word]]
        if self.unreachable:
            parts.append(f"{len(self.unreachable)} unreachable")
        return ", ".join(parts) or "no target"

    @property
    def refused(self) -> bool:
        """Whether the guard refused a target at the last moment."""
        return any(target.refused_by for target in self.targets)

    @property
    def interrupted(self) -> bool:
        """Whether somebody cancelled it."""
        return any(target.interrupted for target in self.targets)
