"""Receipts as lines of the run screen. Pure; it decides nothing."""

from __future__ import annotations

import time

from console.operations.outcome import Outcome, RunReceipt, TargetReceipt
from console.tui.progress import OUTCOME_TONES
from console.view.cells import Cell, Tone

IN_FULL = 3
"""Receipts of so many targets are told in full; of more, only of those that did not go well."""
_GOOD = (Outcome.OK, Outcome.NO_CHANGE)


def receipt_cells(receipt: RunReceipt) -> list[Cell]:
    """Return the result, a line each: outcome word first, what did not go well before all else."""
    # Who ended first is what the others were ended for.
    targets = sorted(
        receipt.targets, key=lambda one: (one.outcome in _GOOD, one.started_at_s + one.duration_s)
    )
    lines: list[Cell] = []
    if len(targets) + len(receipt.unreachable) > 1:
        tone = OUTCOME_TONES[receipt.outcome]
        lines.append(Cell(f"{receipt.outcome.value.upper()}  {receipt.counts}", tone))
    lines += [Cell(f"UNREACHABLE  {out.name}  {out.reason}", Tone.BAD) for out in receipt.unreachable]
    if len(targets) > IN_FULL:
        targets = [one for one in targets if one.outcome not in _GOOD]
    for target in targets:
        took = "" if target.outcome is Outcome.SKIPPED else f" in {target.duration_s:.2f} s"
        words = f"{target.word.upper()}  {target.target}{took}: {target.detail}"
        lines.append(Cell(words, OUTCOME_TONES[target.outcome]))
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
    if target.held_until_s is not None:
        when = time.strftime("%H:%M:%S UTC", time.gmtime(target.held_until_s))
        facts.append((f"its guardian resumes it at {when}; :leases shows it", Tone.WARN))
    if target.clients_cut_at_s is not None:
        when = time.strftime("%H:%M:%S UTC", time.gmtime(target.clients_cut_at_s))
        facts.append((f"clients that wait are cut from {when} on unless it is resumed", Tone.WARN))
    facts += [(f"warning: {text}", Tone.WARN) for text in target.warnings]
    facts += [(f"log: {text}", Tone.WARN) for text in target.log]
    facts += [(f"next: {text}", Tone.INFO) for text in target.next_steps]
    return facts
