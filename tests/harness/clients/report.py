"""A run in figures: per group and in all; JSON, and a short table.

Two distributions, both in milliseconds. `gap`: all times between two successes of one client, the wished
rest included. `stall`: each client's longest gap; it is what one feels of an operation, and its max is what
is judged.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.harness.clients.record import Record


@dataclass(frozen=True, slots=True)
class Spread:
    """p50, p99 (nearest rank) and max of some milliseconds; all None when there were none."""

    p50: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        if not ordered:
            return cls(None, None, None)
        found = [ordered[max(0, math.ceil(len(ordered) * share) - 1)] for share in (0.5, 0.99, 1.0)]
        return cls(*(round(value, 2) for value in found))

    def __str__(self) -> str:
        return " / ".join(
            "-" if value is None else f"{value:,.0f}" for value in (self.p50, self.p99, self.max)
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What some clients saw.

    Attributes:
        failed: transactions that failed, by kind.
        retries: connects that were refused or reset and tried again, by kind; `retried`: the transactions
            that went well after it. None of them is a failure.
        lost_idle: connections found closed between transactions, by kind; no failure either.
        unknown: of the failed, those that may have been committed.
    """

    name: str
    clients: int
    done: int
    failed: dict[str, int]
    retries: dict[str, int]
    retried: int
    lost_idle: dict[str, int]
    unknown: int
    gap_ms: Spread
    stall_ms: Spread
    connect_ms: Spread

    @classmethod
    def of(cls, name: str, records: Sequence[Record], window: tuple[float, float] | None = None) -> Figures:
        """Sum up; `window` takes what lies in it, and every gap that touches it in full length."""
        begin, end = window or (-math.inf, math.inf)
        gaps = [
            [length for start, length in record.gaps_s() if start <= end and start + length >= begin]
            for record in records
        ]
        failed = Counter(kind for r in records for at, kind in r.failures if begin <= at <= end)
        return cls(
            name=name,
            clients=len(records),
            done=sum(begin <= at <= end for record in records for at in record.done_s),
            failed=dict(failed.most_common()),
            retries=dict(sum((record.retries for record in records), Counter())),
            retried=sum(record.retried for record in records),
            lost_idle=dict(sum((record.lost_idle for record in records), Counter())),
            unknown=sum(record.unknown for record in records),
            gap_ms=Spread.of(gap * 1_000 for one in gaps for gap in one),
            stall_ms=Spread.of(max(one) * 1_000 for one in gaps if one),
            connect_ms=Spread.of(taken for record in records for taken in record.connect_ms),
        )


@dataclass(frozen=True, slots=True)
class Overhead:
    """What measuring cost, and how far to trust it.

    Attributes:
        cpu_share: of one core, over the run.
        cpu_us_per_transaction: of ours, for three round trips.
        lag_ms: how late the event loop came to what was due: every time read may be late by as much.
        core_wait_ms: how long the process waited for a core in all; None where Linux does not tell.
    """

    cpu_share: float
    cpu_us_per_transaction: float
    lag_ms: Spread
    core_wait_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. `windows` are the parts that the driver marked, by name.

    `kept`: of the clients that never close a connection by themselves; None: there are none.
    """

    seconds: float
    total: Figures
    groups: tuple[Figures, ...]
    windows: tuple[Figures, ...]
    overhead: Overhead
    done_by_client: dict[int, int]
    unknown_by_client: dict[int, int]
    examples: tuple[str, ...] = field(default=())
    kept: Figures | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        told: dict[str, Any] = json.loads(text)
        overhead = told["overhead"]
        return cls(
            seconds=told["seconds"],
            total=_figures(told["total"]),
            groups=tuple(map(_figures, told["groups"])),
            windows=tuple(map(_figures, told["windows"])),
            overhead=Overhead(**{**overhead, "lag_ms": Spread(**overhead["lag_ms"])}),
            done_by_client={int(key): value for key, value in told["done_by_client"].items()},
            unknown_by_client={int(key): value for key, value in told["unknown_by_client"].items()},
            examples=tuple(told["examples"]),
            kept=None if told["kept"] is None else _figures(told["kept"]),
        )

    def window(self, name: str) -> Figures:
        """Return the figures of a marked part."""
        return next(one for one in self.windows if one.name == name)

    def table(self) -> str:
        """Return a short table: a line a group, then the windows and the sum."""
        head = ("clients", "done", "failed", "retried", "closed idle", "gap ms", "longest stall ms")
        rows = [("", *head)]
        for one in (*self.groups, *self.windows, self.total):
            label = f"{one.name} ×{one.clients}"
            rows.append(
                (
                    "" if one in self.groups else "=",
                    label,
                    f"{one.done:,}",
                    str(sum(one.failed.values())),
                    str(one.retried),
                    str(sum(one.lost_idle.values())),
                    str(one.gap_ms),
                    str(one.stall_ms),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [f"  failed  {count} × {kind}" for kind, count in self.total.failed.items()]
        lines += [f"  connect {count} × {kind}" for kind, count in self.total.retries.items()]
        lines += [f"  closed  {count} × {kind}" for kind, count in self.total.lost_idle.items()]
        cost = self.overhead
        wait = "" if cost.core_wait_ms is None else f", waited {cost.core_wait_ms:.0f} ms for a core"
        lines.append(
            f"  measuring took {cost.cpu_share:.0%} of a core, {cost.cpu_us_per_transaction:.0f} µs a "
            f"transaction; late by {cost.lag_ms} ms{wait}"
        )
        return "\n".join(lines)


def _figures(told: dict[str, Any]) -> Figures:
    spreads = {key: Spread(**told[key]) for key in ("gap_ms", "stall_ms", "connect_ms")}
    return Figures(**{**told, **spreads})
