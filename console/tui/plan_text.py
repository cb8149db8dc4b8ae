"""Plans, verdicts, events and receipts as text for the plan and run screens. Pure; it decides nothing."""

from __future__ import annotations

import time

from console.operations.outcome import Outcome, RunReceipt, TargetReceipt
from console.operations.plan import Plan, PoolImpact, TargetPlan
from console.view import numbers
from console.view.cells import Cell, Tone
from widgets.plan_view import Section

OUTCOME_TONES: dict[Outcome, Tone] = {
    Outcome.OK: Tone.GOOD,
    Outcome.NO_CHANGE: Tone.GOOD,
    Outcome.SKIPPED: Tone.WARN,
    Outcome.FAILED: Tone.BAD,
    Outcome.UNKNOWN: Tone.BAD,
}
_POOLS_SHOWN = 6


def plan_sections(plan: Plan) -> list[Section]:
    """Return what a person must read before a plan is carried out."""
    sections = []
    for item in plan.targets:
        sections.append(_sent(plan, item))
        sections.append(_meaning(plan, item))
    if plan.left_out:
        reasons: dict[str, list[str]] = {}
        for entry in plan.left_out:
            reasons.setdefault(entry.reason, []).append(entry.name)
        left = [(_names(names), reason) for reason, names in reasons.items()]
        sections.append(Section("Not touched", left))
    return sections


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 2 else f"{len(names)} other bouncers"


def _sent(plan: Plan, item: TargetPlan) -> Section:
    nothing = "" if item.changes else " - nothing: it already is as wanted"
    waiting = sum(pool.waiting for pool in item.pools)
    active = sum(pool.servers_active for pool in item.pools)
    return Section(
        f"Sent to {item.target} (PgBouncer {item.version}){nothing}",
        facts=(
            ("state now", item.present),
            ("clients", f"{numbers.count(item.clients)} connected, {numbers.count(waiting)} waiting"),
            ("servers", f"{numbers.count(item.servers)} open, {numbers.count(active)} held by a client"),
            ("time limit", _limit(plan, item)),
        ),
        statements=item.statements,
        warnings=tuple(filter(None, (*item.warnings, item.blocked))),
    )


def _limit(plan: Plan, item: TargetPlan) -> str:
    limit = numbers.duration_s(plan.parameters.timeout_s)
    return f"{limit}; what is not complete by then is resumed again" if item.rescue else limit


def _meaning(plan: Plan, item: TargetPlan) -> Section:
    facts: list[tuple[str, str]] = [("clients feel", effect) for effect in item.effects]
    if plan.op == "pause":
        facts.append(("it lasts", "until it is resumed: it stays paused when Pooldeck ends"))
        facts.append(("clients are cut", _cut(item.query_wait_timeout_s)))
    facts.append(("success means", item.verified_by))
    undo = " ; ".join(item.undo) if item.undo else f"none: {item.no_undo_reason}"
    facts.append(("undo", undo))
    facts.append(("chosen because", item.why))
    shown = item.pools[:_POOLS_SHOWN]
    facts += [(f"pool {pool.database}/{pool.user}", _pool(pool)) for pool in shown]
    if len(item.pools) > len(shown):
        facts.append(("…", f"and {len(item.pools) - len(shown)} more pools"))
    return Section("What it means", facts)


def _cut(limit_s: float | None) -> str:
    """When clients that wait are disconnected: query_wait_timeout, 0 = never."""
    if limit_s is None:
        return f"{numbers.NOT_AVAILABLE}: query_wait_timeout could not be read"
    if not limit_s:
        return "never (query_wait_timeout is 0)"
    return f"after {numbers.duration_s(limit_s)} of waiting (query_wait_timeout)"


def _pool(pool: PoolImpact) -> str:
    mode = pool.pool_mode or numbers.NOT_AVAILABLE
    noun = "client" if pool.clients == 1 else "clients"
    return (
        f"{mode}: {numbers.count(pool.clients)} {noun}, {numbers.count(pool.waiting)} waiting, "
        f"{numbers.count(pool.servers_active)} of {numbers.count(pool.servers)} servers held"
    )


def what_moved(old: Plan, new: Plan) -> str:
    """Say in one line how the world differs from what a plan rests on."""
    moved = []
    before = {str(item.target): item for item in old.targets}
    for item in new.targets:
        known = before.get(str(item.target))
        if known is None:
            moved.append(f"{item.target} is new")
        elif known.present != item.present:
            moved.append(f"{item.target} was {known.present}, is {item.present}")
        elif known.statements != item.statements:
            moved.append(f"{item.target} needs other statements")
        else:
            keys = [key for key, value in item.facts.items() if known.facts.get(key) != value]
            if keys:
                moved.append(f"{item.target}: {', '.join(keys)} changed")
    left = set(before) - {str(item.target) for item in new.targets}
    moved += [f"{name} is no longer chosen" for name in sorted(left)]
    return "; ".join(moved) or "what it rests on has changed"


def receipt_cells(receipt: RunReceipt) -> list[Cell]:
    """Return the result, a line each: outcome word first."""
    lines: list[Cell] = []
    for target in receipt.targets:
        tone = OUTCOME_TONES[target.outcome]
        took = numbers.duration_s(target.duration_s)
        lines.append(Cell(f"{target.outcome.value.upper()}  {target.target}  {target.detail} ({took})", tone))
        lines += [Cell(f"  {line}", tone_of_line) for line, tone_of_line in _facts(target)]
    return lines


def _facts(target: TargetReceipt) -> list[tuple[str, Tone]]:
    facts = [(f"state: {target.before} > {target.after or 'could not be read'}", Tone.PLAIN)]
    facts += [(f"verified: {text}", Tone.PLAIN) for text in target.verified]
    facts += [(f"changed: {text}", Tone.PLAIN) for text in target.differences]
    facts += [(f"not drained: {text}", Tone.WARN) for text in target.still_active]
    facts += [
        (
            f"held by: {holder.user}@{holder.address} {holder.application_name or ''} "
            f"on {holder.database}, {holder.state} since {holder.since}",
            Tone.WARN,
        )
        for holder in target.holders
    ]
    if target.clients_cut_at_s is not None:
        when = time.strftime("%H:%M:%S UTC", time.gmtime(target.clients_cut_at_s))
        facts.append((f"clients that wait are cut from {when} on unless it is resumed", Tone.WARN))
    facts += [(f"warning: {text}", Tone.WARN) for text in target.warnings]
    facts += [(f"next: {text}", Tone.INFO) for text in target.next_steps]
    return facts
