"""Totals of a fleet, honest about what they leave out: "1,204 clients on 3 of 4 bouncers".

A bouncer that does not answer is not counted as 0. No IO, no colours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from console.model.fleet import Resting, Stale
from console.view import numbers
from console.view.cells import Cell, Tone
from console.view.fleet import BouncerRow


@dataclass(frozen=True, slots=True)
class Total:
    """A sum and how many bouncers it covers."""

    value: float | None
    """None when no bouncer gave a number."""
    known: int


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """Sums over the bouncers whose numbers may be shown."""

    bouncers: int
    answering: int
    stale: int
    resting: int
    faulty: int
    paused: int
    clients: Total
    waiting: Total
    maxwait_us: int | None
    servers_active: Total
    servers_idle: Total
    xact_per_s: Total
    query_per_s: Total


def fleet_totals(rows: Sequence[BouncerRow]) -> FleetTotals:
    """Add the rows up."""
    waits = [row.maxwait_us for row in rows if row.maxwait_us is not None]
    return FleetTotals(
        bouncers=len(rows),
        answering=sum(row.sample is not None for row in rows),
        stale=sum(isinstance(row.pooler.freshness, Stale) for row in rows),
        resting=sum(isinstance(row.pooler.freshness, Resting) for row in rows),
        faulty=sum(row.faulty for row in rows),
        paused=sum(row.paused for row in rows),
        clients=_sum(rows, lambda row: row.total("cl_active")),
        waiting=_sum(rows, lambda row: row.total("cl_waiting")),
        maxwait_us=max(waits, default=None),
        servers_active=_sum(rows, lambda row: row.total("sv_active")),
        servers_idle=_sum(rows, lambda row: row.total("sv_idle")),
        xact_per_s=_sum(rows, lambda row: row.rates.xact_per_s if row.rates else None),
        query_per_s=_sum(rows, lambda row: row.rates.query_per_s if row.rates else None),
    )


def _sum(rows: Sequence[BouncerRow], value: Callable[[BouncerRow], float | None]) -> Total:
    known = [number for number in map(value, rows) if number is not None]
    return Total(sum(known) if known else None, len(known))


def strip(totals: FleetTotals) -> tuple[tuple[Cell, ...], ...]:
    """Return the totals as two lines of cells: who is there, and what moves."""
    waiting = totals.waiting.value or 0
    first = [Cell(f"{numbers.count(totals.clients.value)} active clients {_coverage(totals)}", Tone.STRONG)]
    silent = totals.bouncers - totals.answering - totals.resting
    if silent:
        first.append(Cell(f"{silent} not answering", Tone.BAD))
    if totals.resting:
        first.append(Cell(f"{totals.resting} shutting down", Tone.WARN))
    if totals.paused:
        first.append(Cell(f"{totals.paused} PAUSED", Tone.BAD))
    if totals.stale:
        first.append(Cell(f"{totals.stale} stale", Tone.WARN))
    wait = f"{numbers.count(totals.waiting.value)} waiting"
    if totals.maxwait_us:
        wait += f" up to {numbers.duration_us(totals.maxwait_us)}"
    active, idle = numbers.count(totals.servers_active.value), numbers.count(totals.servers_idle.value)
    second = (
        Cell(wait, Tone.WARN if waiting else Tone.PLAIN),
        Cell(f"{active} sv active {idle} idle"),
        Cell(f"{numbers.rate(totals.xact_per_s.value)} tx/s{_part(totals, totals.xact_per_s)}"),
        Cell(f"{numbers.rate(totals.query_per_s.value)} q/s{_part(totals, totals.query_per_s)}"),
    )
    return tuple(first), second


def _coverage(totals: FleetTotals) -> str:
    noun = "bouncer" if totals.bouncers == 1 else "bouncers"
    if totals.answering == totals.bouncers:
        return f"on {totals.bouncers} {noun}"
    return f"on {totals.answering} of {totals.bouncers} {noun}"


def _part(totals: FleetTotals, total: Total) -> str:
    """Say so when a sum covers fewer bouncers than answer (rates need two readings)."""
    if total.value is None or total.known == totals.answering:
        return ""
    return f" (on {total.known} of {totals.answering})"
