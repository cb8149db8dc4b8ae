"""Plans as plain text, for terminals, pipes and logs: one target in full, many as a table. No colour.

`render_receipt` has what comes out of a run, `render_layout` the lines themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from console.operations.outcome import Unreachable
from console.operations.plan import LeftOut, Plan, PoolImpact, TargetPlan
from console.operations.radius import Held, radius_lines
from console.operations.radius_text import who
from console.operations.render_layout import (
    LABEL_COLUMNS,
    grouped,
    labelled,
    narrowest,
    some,
    table,
    wrapped,
)
from console.operations.step import plural
from console.view.numbers import NOT_AVAILABLE, count, duration_s

IN_FULL = 3
"""So many targets are shown in full unasked; of more, the table and what they have in common."""
POOLS_SHOWN = 6
LINES_SHOWN = 6
"""So many different texts under one label, when there are many targets."""
AS_ONE = "none: all as one, step by step; what fails is taken back on all"
DIFF_SHOWN = 60
"""So many lines of a diff."""
_SENDS_COLUMNS = 12
_DISPENSABLE = ("<VERSION", ">SERVERS", "~STATE")
"""Columns that a narrow terminal does without, the first one first."""
_RADIUS_WIDTH = 66
_RADIUS_NARROWEST = 24
_MODES = ("transaction", "statement", "session")
_NOT_COUNTED = "its clients could not be counted: nobody is let in"
_Grouping = Callable[[Callable[[TargetPlan], Iterable[str]], Iterable[TargetPlan]], list[str]]


def plan_text(plan: Plan, *, width: int | None = None, verbose: bool = False) -> str:
    """Return a plan as lines to read before agreeing.

    Args:
        plan: the plan.
        width: columns of the terminal; None: no line is broken, and only the table is kept narrow by itself.
        verbose: every target in full, however many they are, and all their pools.
    """
    lines = _header(plan, width)
    if plan.target_count > 1:
        lines += [*labelled("waves", (_waves(plan),), width), *labelled("lasts", _lasts(plan), width), ""]
        lines += [*_table(plan, width), ""]
    if verbose or len(plan.targets) <= IN_FULL:
        for item in plan.targets:
            lines += _target_lines(plan, item, width, verbose=verbose)
    else:
        lines += _in_common(plan, width)
    lines += _steps(plan, width)
    lines += _beside(plan, width)
    if not verbose and len(plan.targets) > IN_FULL:
        lines += labelled("more", ("-v shows every target in full",), width)
    return "\n".join(lines)


def _header(plan: Plan, width: int | None) -> list[str]:
    what = plan.op.upper()
    named = plan.title if plan.target_count == 1 else f"{what} {plan.target_count} targets: {plan.selector}"
    parts = [named, f"fleet {plan.fleet} ({plan.environment})", f"plan {plan.hash[:12]}"]
    line = "   ".join(parts)
    return [line] if width is None or len(line) <= width else parts


def _waves(plan: Plan) -> str:
    if plan.spec.conduct is not None:
        return AS_ONE
    sizes = [len(wave) for wave in plan.waves]
    order = "all at once" if len(sizes) == 1 else f"{len(sizes)} waves: {_sizes(sizes)} targets"
    rollout = plan.rollout
    parts = [order if sizes else "nothing can be reached"]
    if rollout.max_unavailable is not None:
        parts.append(f"never more than {rollout.max_unavailable} at once")
    allowed = plan.allowed_failures
    share = f" ({rollout.max_failed})" if rollout.max_failed.is_percent else ""
    limit = f"when more than {allowed}{share} failed" if allowed else "at the first failure"
    if allowed < plan.target_count:
        parts.append(f"{'all are resumed' if plan.spec.holds else 'ends'} {limit}")
    else:
        parts.append("goes on whatever fails")
    if len(sizes) > 1 and not plan.spec.holds:
        parts.append(
            f"between waves healthy for {rollout.soak_s:g} s, within {rollout.gate_timeout_s:g} s more"
            if rollout.soak_s
            else f"between waves healthy within {rollout.gate_timeout_s:g} s"
        )
    return "; ".join(parts)


def _sizes(sizes: list[int]) -> str:
    return (
        f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
        if len(sizes) <= 8
        else f"{', '.join(map(str, sizes[:7]))} … and {sizes[-1]}"
    )


def _lasts(plan: Plan) -> tuple[str, ...]:
    if not plan.spec.holds:
        return ()
    asked = plan.parameters
    if plan.spec.work is not None:
        return (f"drained within {asked.timeout_s:g} s, then held for at most {asked.hold_s:g} s",)
    by = "by its guardian, which stays behind" if asked.detach else "then resumed"
    return (f"drained within {asked.timeout_s:g} s, held for {asked.hold_s:g} s, {by}",)


# -- the table --------------------------------------------------------------------------------------


def _table(plan: Plan, width: int | None) -> list[str]:
    """Return its lines, in the order of the waves; without what there is no room for."""
    head, rows = _head_and_rows(plan)
    for title in _DISPENSABLE:
        if width is None or narrowest(head, rows) <= width:
            break
        place = head.index(title)
        head = [*head[:place], *head[place + 1 :]]
        rows = [[*row[:place], *row[place + 1 :]] for row in rows]
    return table(head, rows, width)


def _head_and_rows(plan: Plan) -> tuple[list[str], list[list[str]]]:
    waved = len(plan.waves) > 1
    head = ["~TARGET", "<VERSION", "~STATE", ">CLIENTS", ">SERVERS", "~SENDS"]
    rows = [
        [f"{number}", *_row(plan.item(target))]
        for number, wave in enumerate(plan.waves, start=1)
        for target in wave
    ]
    rows += [["", out.name, *[NOT_AVAILABLE] * 4, "unreachable"] for out in plan.unreachable]
    return (["<WAVE", *head], rows) if waved else (head, [row[1:] for row in rows])


def _row(item: TargetPlan) -> list[str]:
    return [
        str(item.target),
        item.version,
        item.present,
        count(item.clients),
        count(item.servers if item.is_counted else None),
        _sends(item),
    ]


def _sends(item: TargetPlan) -> str:
    if item.blocked is not None:
        return "REFUSED"
    if not item.changes:
        return "no change"
    text = "; ".join(item.statements)
    return text if len(text) <= _SENDS_COLUMNS else f"{text.split()[0]} …"


# -- many targets -----------------------------------------------------------------------------------


def _in_common(plan: Plan, width: int | None) -> Iterator[str]:
    """What is true of some or all of the targets, each thing once."""
    acted = [item for item in plan.targets if item.changes and item.blocked is None]

    def of(read: Callable[[TargetPlan], Iterable[str]], items: Iterable[TargetPlan]) -> list[str]:
        among = list(items)
        lines = grouped(((str(item.target), text) for item in among for text in read(item)), len(among))
        more = len(lines) - LINES_SHOWN
        return lines if more <= 0 else [*lines[:LINES_SHOWN], f"and {more} more (-v)"]

    if acted:
        yield from _of_acted(plan, acted, of, width)
    else:
        yield "  nothing would be sent"
    yield from labelled("seen", of(lambda item: item.evidence, plan.targets), width)
    for whose, lines in diffs_of(plan.targets):
        yield from labelled("changes", (*whose, *_first(lines)), width)
    yield from labelled("changes", of(lambda item: item.notes, plan.targets), width)
    yield from labelled("warning", of(lambda item: item.warnings, plan.targets), width)
    yield from labelled(
        "REFUSED", of(lambda item: (item.blocked,) if item.blocked else (), plan.targets), width
    )


def _of_acted(plan: Plan, acted: list[TargetPlan], of: _Grouping, width: int | None) -> Iterator[str]:
    waiting = sum(item.waiting for item in acted)
    servers = sum(item.servers for item in acted)
    hits = "clients that could not all be counted"
    if plan.clients is not None:
        clients = f"{plural(plan.clients, 'client')} ({waiting} waiting)"
        hits = f"{clients}, {plural(servers, 'server connection')}"
    yield from labelled("hits", (f"{hits}, on {plural(len(acted), 'target')}",), width)
    yield from labelled("sends", of(lambda item: item.statements, acted), width)
    yield from labelled(
        "or else", of(lambda item: ("; ".join(item.rescue),) if item.rescue else (), acted), width
    )
    yield from labelled("clients", _effects(text for item in acted for text in item.effects), width)
    yield from labelled("longest", _longest(acted), width)
    yield from labelled("patience", of(_patience, acted), width)
    yield from labelled("verified", dict.fromkeys(item.verified_by for item in acted), width)
    yield from labelled("undo", _undo(plan), width)


def _longest(items: list[TargetPlan]) -> Iterator[str]:
    """Yield the longest transaction of all that are known."""
    found: list[tuple[float, Held, TargetPlan]] = []
    for item in items:
        held = item.radius.longest if item.radius is not None else None
        if held is not None and held.xact_age_s is not None:
            found.append((held.xact_age_s, held, item))
    if found:
        age_s, held, item = max(found, key=lambda one: one[0])
        yield f"a transaction has been open for {duration_s(age_s)}: {who(held)} on {item.target}"


def _undo(plan: Plan) -> Iterator[str]:
    spec = plan.spec
    if spec.undo is None:
        yield f"none: {spec.no_undo_reason}"
    else:
        commands = list(dict.fromkeys(command for item in plan.targets for command in item.undo))
        yield from commands if len(commands) <= IN_FULL else (f"pooldeck {spec.undo}, for each target",)


# -- one target -------------------------------------------------------------------------------------


def _target_lines(plan: Plan, item: TargetPlan, width: int | None, *, verbose: bool) -> Iterator[str]:
    kind = "" if plan.spec.on_node else f"PgBouncer {item.version}; "
    yield from wrapped(f"{item.target}: {item.present} ({kind}{item.why})", width, rest="  ")
    yield from labelled("seen", item.evidence, width)
    if item.blocked is not None:
        yield from labelled("REFUSED", (item.blocked,), width)
    elif item.changes:
        yield from labelled("sends", item.statements, width)
        yield from labelled("or else", item.rescue, width)
    else:
        yield "  no change: it is so already"
    if item.changes:
        if plan.target_count == 1:
            yield from labelled("lasts", _lasts(plan), width)
        yield from _hits(item, width, verbose=verbose)
        yield from labelled("clients", _effects(item.effects), width)
        yield from labelled("patience", _patience(item), width)
        yield from labelled("verified", (item.verified_by,), width)
        yield from labelled("undo", item.undo or (f"none: {item.no_undo_reason}",), width)
    yield from labelled("changes", item.diff if verbose else _first(item.diff), width)
    yield from labelled("changes", item.notes, width)
    yield from labelled("warning", item.warnings, width)


def _hits(item: TargetPlan, width: int | None, *, verbose: bool) -> Iterator[str]:
    shown = item.pools if verbose else item.pools[:POOLS_SHOWN]
    more = len(item.pools) - len(shown)
    if item.clients is None:
        yield from labelled("hits", (_NOT_COUNTED,), width)
        return
    texts = [f"{plural(item.clients, 'client')}, {plural(item.servers, 'server connection')}"]
    texts += [_pool_line(pool) for pool in shown]
    if more:
        texts.append(f"and {plural(more, 'more pool')} (-v)")
    yield from labelled("hits", texts[:1], width)
    yield from labelled("", texts[1:], width)
    if item.radius is not None:
        room = _RADIUS_WIDTH if width is None else max(_RADIUS_NARROWEST, width - LABEL_COLUMNS)
        yield from (f"{' ' * LABEL_COLUMNS}{line}" for line in radius_lines(item.radius, room))


def _pool_line(pool: PoolImpact) -> str:
    return (
        f"{pool.database}/{pool.user} {pool.pool_mode or 'mode n/a'}: {plural(pool.clients, 'client')} "
        f"({pool.waiting} waiting), {plural(pool.servers, 'server')} ({pool.servers_active} in use)"
    )


def _patience(item: TargetPlan) -> tuple[str, ...]:
    """Say how long clients can wait; () for what is no pooler."""
    seconds = item.query_wait_timeout_s
    if seconds is None:
        return ("how long a client waits is not known",) if item.pools else ()
    if not seconds:
        return ("a client waits for ever (query_wait_timeout is 0)",)
    return (f"a client waits at most {seconds:g} s (query_wait_timeout)",)


def _effects(effects: Iterable[str]) -> list[str]:
    """Return each effect once, with the pool modes that it is true of; without any when of all."""
    modes: dict[str, list[str]] = {}
    for effect in effects:
        mode, _, text = effect.partition(": ")
        if mode not in modes.setdefault(text, []):
            modes[text].append(mode)
    return [
        text if len(found) == len(_MODES) else f"{', '.join(found)}: {text}" for text, found in modes.items()
    ]


def diffs_of(items: Sequence[TargetPlan]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return each diff once, after a line that says of which targets, where it is not of all of them."""
    by_diff: dict[tuple[str, ...], list[str]] = {}
    for item in items:
        if item.diff:
            by_diff.setdefault(item.diff, []).append(str(item.target))
    return [
        (() if len(names) == len(items) else (f"on {some(names)}:",), diff) for diff, names in by_diff.items()
    ]


def _first(diff: Sequence[str]) -> Sequence[str]:
    """Return a diff, of a long one only its first lines."""
    if len(diff) <= DIFF_SHOWN:
        return diff
    return (*diff[: DIFF_SHOWN - 1], f"and {len(diff) - DIFF_SHOWN + 1} more lines (-v)")


# -- beside the targets -----------------------------------------------------------------------------


def _steps(plan: Plan, width: int | None) -> Iterator[str]:
    """Number the steps of a verb that works on all its targets as one."""
    if plan.whole is None or not plan.whole.steps:
        return
    yield "in this order:"
    for number, step in enumerate(plan.whole.steps, start=1):
        yield from wrapped(f"{number:>3}  {step.where}: {step.what}", width, rest="       ")
        yield from wrapped(f"       then: {step.checked}", width, rest="         ")


def _beside(plan: Plan, width: int | None) -> Iterator[str]:
    yield from labelled("warning", plan.group_warnings, width)
    if plan.group_blocked is not None:
        yield from labelled("REFUSED", (plan.group_blocked,), width)
    yield from labelled("no answer", map(_unreachable, plan.unreachable), width)
    yield from labelled("left out", _left_out(plan.left_out), width)


def _unreachable(out: Unreachable) -> str:
    return f"{out.name}: {out.reason}{f'; {out.hint}' if out.hint else ''}"


def _left_out(left_out: tuple[LeftOut, ...]) -> tuple[str, ...]:
    if not left_out:
        return ()
    reasons: dict[str, list[str]] = {}
    for out in left_out:
        reasons.setdefault(out.reason, []).append(out.name)
    return ("; ".join(f"{some(names)} ({reason})" for reason, names in reasons.items()),)
