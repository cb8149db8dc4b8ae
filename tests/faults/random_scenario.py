"""What may happen to one bouncer, drawn at random from a number alone, so that a failure can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from console.operations.lease.base import SILENCE_LIMIT_S
from tests.harness.servers import PGBOUNCER_LINES

TARGETS = ("edge", "edge/app", "edge/*")
LONGEST_DRAIN_S, LONGEST_HOLD_S = 3, 4


class Fault(StrEnum):
    """What is done to a run while it goes. The first ones come first by turns."""

    BOTH_KILLED = "kill -9 of console and guardian"
    CONSOLE_KILLED = "kill -9 of the console"
    RESTARTED = "the bouncer killed and started again"
    GUARDIAN_KILLED = "kill -9 of the guardian"
    CUT = "every connection cut"
    RESUMED_BY_HAND = "somebody's own RESUME"
    CTRL_C = "Ctrl-C"
    UNREACHABLE = "every connection cut, and new ones refused for a while"
    CONSOLE_STOPPED = "the console stopped for longer than the silence limit"
    CTRL_C_TWICE = "Ctrl-C twice"
    HUNG_UP = "SIGHUP"
    TERMINATED = "SIGTERM"
    RESUMED = "pooldeck resume"
    MENDED = "pooldeck mend"
    NONE = "none"


class Moment(StrEnum):
    """When that is."""

    STARTED = "once started"
    ARMED = "once its guardian stands by"
    PAUSED = "once paused"
    HELD = "once held"
    ENDED = "once ended"


SHORT_FAULTS = (Fault.CTRL_C, Fault.TERMINATED, Fault.CONSOLE_KILLED, Fault.BOTH_KILLED, Fault.CUT)
COMMON_FAULTS = tuple(fault for fault in Fault if fault is not Fault.CONSOLE_STOPPED)
"""That one takes ten seconds: it comes by turns alone."""
GUARDED_FAULTS = (
    Fault.GUARDIAN_KILLED,
    Fault.RESTARTED,
    Fault.CUT,
    Fault.UNREACHABLE,
    Fault.RESUMED_BY_HAND,
    Fault.RESUMED,
    Fault.MENDED,
)
"""What can happen to a pause whose console has left it to its guardian."""


@dataclass(frozen=True, slots=True)
class Act:
    """One command, and what is done to it."""

    words: tuple[str, ...]
    """Of `pooldeck`; `--yes` and what is to be confirmed is added."""
    fault: Fault = Fault.NONE
    moment: Moment = Moment.STARTED
    after_s: float = 0.0
    """So long after the moment."""
    for_s: float = 0.0
    """How long a fault with a duration lasts."""
    busy: bool = False
    """A client has a transaction open, until the command ended or the scenario did."""
    waits: bool = True
    """The next one comes once this one ended; False: at once."""

    def __str__(self) -> str:
        parts = [f"pooldeck {' '.join(self.words)}"]
        if self.busy:
            parts.append("a transaction is open")
        if self.fault is not Fault.NONE:
            lasts = f" for {self.for_s} s" if self.for_s else ""
            parts.append(f"{self.fault}{lasts}, {self.after_s} s {self.moment}")
        if not self.waits:
            parts.append("not waited for")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to one bouncer."""

    seed: int
    version: str
    load: bool
    """A client that asks one short query after the other."""
    foreign: int | None
    """Before this act, once nothing of ours is left, somebody pauses the database `other`; None: nobody."""
    acts: tuple[Act, ...]

    def __str__(self) -> str:
        told = [f"seed {self.seed}: PgBouncer {self.version}, {'with' if self.load else 'without'} load"]
        for number, act in enumerate(self.acts):
            if number == self.foreign:
                told.append("somebody else: PAUSE other")
            told.append(str(act))
        return "\n  ".join(told)


def draw(seed: int) -> Scenario:
    """Make a scenario; the same one for the same number. Its first fault goes by turns."""
    dice = random.Random(seed)
    acts = [_draw_pause(dice, list(Fault)[seed % len(Fault)])]
    for _ in range(dice.randint(2, 4)):
        acts.append(_draw_pause(dice) if dice.random() < 0.5 else _draw_short(dice))
    first = acts.pop(0)
    acts.insert(dice.randint(0, len(acts)), first)
    return Scenario(
        seed=seed,
        version=PGBOUNCER_LINES[(seed + seed // len(Fault)) % len(PGBOUNCER_LINES)],
        load=dice.random() < 0.6,
        foreign=dice.randrange(len(acts)) if dice.random() < 0.25 else None,
        acts=tuple(acts),
    )


def _draw_pause(dice: random.Random, fault: Fault | None = None) -> Act:
    busy = dice.random() < 0.35
    words = ["pause", dice.choice(TARGETS)]
    words += ["--for", f"{dice.randint(1, LONGEST_HOLD_S)}s"]
    words += ["--timeout", str(dice.randint(1, LONGEST_DRAIN_S))]
    if dice.random() < 0.25:
        words.append("--detach")
    fault = fault or dice.choice(COMMON_FAULTS)
    moments = [Moment.STARTED, Moment.ARMED, *[Moment.PAUSED] * 4]
    if not busy:
        moments += [Moment.HELD] * 4
    if "--detach" in words and fault in GUARDED_FAULTS:
        moments = [Moment.PAUSED, *[Moment.ENDED] * 3]
    return Act(
        words=tuple(words),
        fault=fault,
        moment=dice.choice(moments),
        after_s=round(dice.choice((0.0, dice.random(), dice.random() * 0.2)), 2),
        for_s=_lasting(dice, fault),
        busy=busy,
        waits=dice.random() < 0.7,
    )


def _draw_short(dice: random.Random) -> Act:
    words: tuple[str, ...] = dice.choice(
        (
            ("resume", dice.choice(("edge", "edge/app"))),
            ("kill", "edge/app"),
            ("kill", "edge/app"),
            ("reload", "edge"),
            ("disable", "edge/app"),
            ("enable", "edge/app"),
            ("set", "edge", "default_pool_size", str(dice.randint(5, 30))),
            ("reconnect", "edge/app", "--timeout", "3"),
            ("mend",),
        )
    )
    fault = dice.choice(SHORT_FAULTS) if dice.random() < 0.5 else Fault.NONE
    moments = (Moment.STARTED, Moment.ARMED, Moment.PAUSED) if words[0] == "kill" else (Moment.STARTED,)
    return Act(
        words=words,
        fault=fault,
        moment=dice.choice(moments),
        # A command takes about a second until its first statement.
        after_s=round(dice.random() * (0.1 if words[0] == "kill" else 2.0), 2),
        waits=fault is not Fault.NONE or dice.random() < 0.7,
    )


def _lasting(dice: random.Random, fault: Fault) -> float:
    if fault is Fault.CONSOLE_STOPPED:
        return SILENCE_LIMIT_S + 1
    return round(dice.random() * 2, 1) if fault in (Fault.RESTARTED, Fault.UNREACHABLE) else 0.0
