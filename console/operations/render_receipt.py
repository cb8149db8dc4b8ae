"""What came out of a run as plain text: one target in full, many as a table with what needs attention below.

It tells; what an outcome means for a shell is the command line's.
"""

from __future__ import annotations

from collections.abc import Iterator

from console.operations.outcome import Exchange, Outcome, RunReceipt, TargetReceipt
from console.operations.render_layout import grouped, labelled, table, wrapped
from console.view.numbers import NOT_AVAILABLE, time_of_day

_GOOD = frozenset({Outcome.OK, Outcome.NO_CHANGE})


def receipt_text(receipt: TargetReceipt, *, width: int | None = None) -> str:
    """Return one target's receipt as lines."""
    lines = wrapped(
        f"{receipt.target}: {receipt.word.upper()} in {receipt.duration_s:.2f} s: {receipt.detail}",
        width,
        rest="  ",
    )
    lines += labelled("state", (f"{receipt.before} → {receipt.after or 'not known'}",), width)
    lines += labelled("sent", map(_exchange, receipt.exchanges), width)
    lines += labelled("verified", receipt.verified, width)
    lines += labelled("changed", receipt.differences, width)
    lines += _trouble(receipt, width)
    return "\n".join(lines)


def run_text(receipt: RunReceipt, *, width: int | None = None, brief: bool = False) -> str:
    """Return a run on many targets: a table, then what of those that did not go well it does not say.

    Args:
        receipt: of the run.
        width: columns of the terminal; None: no line is broken.
        brief: only the table.
    """
    rows = [[str(one.target), one.word, f"{one.duration_s:.2f} s", one.detail] for one in receipt.targets]
    rows += [[out.name, "unreachable", NOT_AVAILABLE, out.reason] for out in receipt.unreachable]
    lines = table(["~TARGET", "<OUTCOME", ">TOOK", "~DETAIL"], rows, width)
    if brief:
        return "\n".join(lines)
    for one in receipt.targets:
        trouble = list(_trouble(one, width)) if one.outcome not in _GOOD else []
        lines += ["", f"{one.target}:", *trouble] if trouble else []
    beside = list(_in_common([one for one in receipt.targets if one.outcome in _GOOD], width))
    return "\n".join([*lines, *(["", *beside] if beside else [])])


def cut_text(receipt: TargetReceipt, now_s: float) -> str | None:
    """Return when waiting clients are cut if the target stays paused; None when they are not."""
    if receipt.clients_cut_at_s is None:
        return None
    return f"the first waiting clients are cut from {moment_text(receipt.clients_cut_at_s, now_s)} on"


def moment_text(at_s: float, now_s: float) -> str:
    """Return a moment of the wall clock as `19:03:12 UTC (in 30 s)`."""
    return f"{time_of_day(at_s)} (in {max(0.0, at_s - now_s):.0f} s)"


def _in_common(receipts: list[TargetReceipt], width: int | None) -> Iterator[str]:
    """Yield what is to be known of targets that went well, each text once."""
    total = len(receipts)

    def of(label: str, key: str) -> Iterator[str]:
        found = [(str(one.target), text) for one in receipts for text in getattr(one, key)]
        return labelled(label, grouped(found, total), width)

    yield from of("changed", "differences")
    yield from of("warning", "warnings")


def _trouble(receipt: TargetReceipt, width: int | None) -> Iterator[str]:
    yield from labelled("active", receipt.still_active, width)
    holders = [
        f"{holder.user}@{holder.address} {holder.application_name or '(no name)'} on "
        f"{holder.database}, query since {holder.since}"
        for holder in receipt.holders
    ]
    yield from labelled("held by", holders, width)
    yield from labelled("warning", receipt.warnings, width)
    yield from labelled("log", receipt.log, width)
    yield from labelled("next", receipt.next_steps, width)


def _exchange(sent: Exchange) -> str:
    took = "" if sent.duration_s is None else f" ({sent.duration_s * 1000:.0f} ms)"
    return f"{sent.statement} → {sent.reply or 'no answer'}{took}"
