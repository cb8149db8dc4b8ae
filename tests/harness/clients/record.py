"""What one client has seen, with the monotonic time of each success; nothing is thrown away or sampled."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """One client's run.

    Attributes:
        began_s, ended_s: CLOCK_MONOTONIC, which all processes of a machine share; the start of its first
            transaction and the end of its loop.
        done_s: when each success was known.
        failures: moments and kinds of failed transactions.
        retries: kinds of connects that went wrong and were tried again, by kind.
        retried: transactions whose connect succeeded after such a retry.
        lost_idle: connections found closed between two transactions, by kind; nothing has failed by it.
        connect_ms: how long each successful connect took, its retries included.
        unknown: transactions whose COMMIT was sent and not answered.
    """

    client: int
    group: str
    began_s: float = 0.0
    ended_s: float = 0.0
    done_s: array[float] = field(default_factory=lambda: array("d"))
    failures: list[tuple[float, str]] = field(default_factory=list)
    retries: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    lost_idle: Counter[str] = field(default_factory=Counter)
    connect_ms: array[float] = field(default_factory=lambda: array("d"))
    unknown: int = 0
    examples: list[str] = field(default_factory=list)

    def gaps_s(self) -> list[tuple[float, float]]:
        """Return (start, length) of each time without a success, the run's first and last included."""
        moments = [self.began_s, *self.done_s, self.ended_s]
        return [(before, after - before) for before, after in itertools.pairwise(moments)]
