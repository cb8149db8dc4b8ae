"""Plans and receipts as plain text, for terminals, pipes and logs. No colour, no escape codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from console.operations.outcome import Exchange, TargetReceipt
from console.operations.plan import Plan, PoolImpact, TargetPlan
from console.operations.step import plural


def plan_text(plan: Plan) -> str:
    """Return a plan as lines to read before agreeing."""
    lines = [f"{plan.title}   fleet {plan.fleet} ({plan.environment})   plan {plan.hash[:12]}"]
    for item in plan.targets:
        lines += _target_lines(item)
    if plan.left_out:
        lines.append(f"left out: {', '.join(out.name for out in plan.left_out)}")
    return "\n".join(lines)


def _target_lines(item: TargetPlan) -> Iterator[str]:
    yield f"{item.target}: {item.present} (PgBouncer {item.version}; {item.why})"
    if not item.changes:
        yield "  no change: it is so already"
    else:
        yield from _labelled("sends", item.statements)
        yield from _labelled("or else", item.rescue)
    yield f"  hits       {plural(item.clients, 'client')}, {plural(item.servers, 'server connection')}"
    yield from (f"             {_pool_line(pool)}" for pool in item.pools)
    yield from _labelled("clients", item.effects)
    yield f"  patience   a client waits at most {_wait(item.query_wait_timeout_s)}"
    yield f"  verified   {item.verified_by}"
    yield from _labelled("undo", item.undo or (f"none: {item.no_undo_reason}",))
    yield from _labelled("warning", item.warnings)
    if item.blocked:
        yield f"  REFUSED    {item.blocked}"


def _pool_line(pool: PoolImpact) -> str:
    return (
        f"{pool.database}/{pool.user} {pool.pool_mode or 'mode n/a'}: {plural(pool.clients, 'client')} "
        f"({pool.waiting} waiting), {plural(pool.servers, 'server')} ({pool.servers_active} in use)"
    )


def _wait(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    return f"{seconds:g} s (query_wait_timeout)" if seconds else "for ever (query_wait_timeout is 0)"


def _labelled(label: str, texts: Iterable[str]) -> Iterator[str]:
    return (f"  {label:<10} {text}" for text in texts)


def receipt_text(receipt: TargetReceipt) -> str:
    """Return a receipt as lines."""
    lines = [f"{receipt.target}: {receipt.outcome.upper()} in {receipt.duration_s:.2f} s: {receipt.detail}"]
    lines.append(f"  state      {receipt.before} → {receipt.after or 'not known'}")
    lines += [f"  sent       {_exchange(sent)}" for sent in receipt.exchanges]
    lines += _labelled("verified", receipt.verified)
    lines += _labelled("changed", receipt.differences)
    lines += _labelled("active", receipt.still_active)
    lines += [
        f"  held by    {holder.user}@{holder.address} {holder.application_name or '(no name)'} on "
        f"{holder.database}, query since {holder.since}"
        for holder in receipt.holders
    ]
    lines += _labelled("warning", receipt.warnings)
    lines += _labelled("next", receipt.next_steps)
    return "\n".join(lines)


def _exchange(sent: Exchange) -> str:
    took = "" if sent.duration_s is None else f" ({sent.duration_s * 1000:.0f} ms)"
    return f"{sent.statement} → {sent.reply or 'no answer'}{took}"


def cut_text(receipt: TargetReceipt, now_s: float) -> str | None:
    """Return when waiting clients are cut if the target stays paused; None when they are not."""
    if receipt.clients_cut_at_s is None:
        return None
    at = datetime.fromtimestamp(receipt.clients_cut_at_s, UTC)
    in_s = receipt.clients_cut_at_s - now_s
    return f"the first waiting clients are cut from {at:%H:%M:%S} UTC on, in {in_s:.0f} s"
