"""When to ask what: the poll budget, due dates, back-off. Pure arithmetic on monotonic seconds.

It must not read a clock, sleep or talk to anything. A pooler is single-threaded, so every answer it builds is
time its clients wait (design.md 3): what is here keeps that cost bounded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from console.errors import Phase

CLIENT_ROW_COST_S = 9e-3 / 4000
"""What one row of SHOW CLIENTS costs the pooler, from our own run (4,000 clients, 9 ms)."""
_TIMER_SLACK_S = 1e-6
"""asyncio may call a timer one clock resolution early; that must not count as the tick before."""


@dataclass(frozen=True, slots=True)
class PollBudget:
    """How often each question is asked of one pooler. All in seconds unless the name says otherwise."""

    tick_s: float = 1.0
    """STATE, POOLS, DATABASES, LISTS; also the pace of snapshots and of the history."""
    stats_s: float = 5.0
    """STATS and SERVERS."""
    settings_s: float = 60.0
    """CONFIG, USERS, VERSION."""
    postgres_s: float = 5.0
    """A Postgres node's reading."""
    clients_s: float = 2.0
    """CLIENTS while someone watches and there are few of them."""
    clients_many: int = 3_000
    """From so many clients on, `clients_many_s` is the shortest interval."""
    clients_many_s: float = 5.0
    clients_limit: int = 20_000
    """Above it CLIENTS is not asked at all: one answer would stall the pooler for some 50 ms."""
    knock_s: float = 5.0
    """Whether a pooler without clients still lets some in: no SHOW tells that it shuts down."""
    clients_share: float = 0.01
    """The share of a pooler's time that CLIENTS may take."""
    backoff_first_s: float = 1.0
    backoff_login_s: float = 5.0
    """The first wait after a refused login or a missing password: each try is a line in somebody's log."""
    backoff_limit_s: float = 30.0
    slow_after_s: float = 2.0
    """An answer outstanding for longer makes its pooler stale, before the deadline makes it unreachable."""

    def clients_interval_s(self, clients: int, answer_s: float | None) -> float | None:
        """Return the seconds between two SHOW CLIENTS, or None when it must not be asked.

        Args:
            clients: connected clients, as SHOW LISTS counts them.
            answer_s: how long the last answer took, None when there was none.
        """
        if clients > self.clients_limit:
            return None
        base = self.clients_s if clients < self.clients_many else self.clients_many_s
        cost_s = max(answer_s or 0.0, clients * CLIENT_ROW_COST_S)
        return max(base, cost_s / self.clients_share)


@dataclass(slots=True)
class Due:
    """One question's next turn.

    The second reading comes early, so that rates exist soon; the third is put off at random, so that a
    fleet's dear questions do not all fall into the same second.
    """

    period_s: float
    early_s: float | None = None
    """Seconds from the first to the second reading; None: no early one."""
    rng: random.Random = field(default_factory=random.Random, repr=False)
    at_s: float = 0.0
    turns: int = 0

    def now(self, monotonic_s: float) -> bool:
        """Say whether the question is due. It always is before its first turn."""
        return not self.turns or monotonic_s >= self.at_s

    def done(self, monotonic_s: float) -> None:
        """Count a turn taken at `monotonic_s` and set the next one."""
        self.turns += 1
        if self.turns == 1 and self.early_s is not None:
            self.at_s = monotonic_s + self.early_s
        elif self.turns == (1 if self.early_s is None else 2):
            self.at_s = monotonic_s + self.period_s * self.rng.uniform(0.5, 1.0)
        else:
            self.at_s = monotonic_s + self.period_s

    def hasten(self) -> None:
        """Make the question due at once."""
        self.turns = 0


@dataclass(slots=True)
class Backoff:
    """Waits between tries to reach a node: doubling, bounded, jittered so a fleet does not knock as one."""

    budget: PollBudget
    rng: random.Random = field(default_factory=random.Random, repr=False)
    failures: int = 0

    def next_s(self, phase: Phase) -> float:
        """Count a failure in `phase` and return how many seconds to wait before the next try."""
        patient = phase in (Phase.CREDENTIALS, Phase.AUTH)
        first_s = self.budget.backoff_login_s if patient else self.budget.backoff_first_s
        whole_s = min(self.budget.backoff_limit_s, first_s * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return whole_s * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Forget the failures: the node answered in full."""
        self.failures = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """Evenly spaced ticks. Poolers begin theirs at different phases: a fleet does not fire in one instant."""

    start_s: float
    tick_s: float

    def index(self, monotonic_s: float) -> int:
        """Return the number of the tick that `monotonic_s` lies in; the first is 0."""
        return int((monotonic_s - self.start_s + _TIMER_SLACK_S) // self.tick_s)

    def next_s(self, monotonic_s: float) -> float:
        """Return the seconds from `monotonic_s` to the next tick; missed ticks are not made up for."""
        if monotonic_s < self.start_s:
            return self.start_s - monotonic_s
        return self.start_s + (self.index(monotonic_s) + 1) * self.tick_s - monotonic_s
