"""Plans as sections of the plan screen: few targets in full, many as a table and what they have in common.

Pure; it decides nothing. What clients are hit is `console.operations.radius_text`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from console.operations.plan import Plan, PoolImpact, TargetPlan
from console.operations.radius_text import radius_lines, who
from console.operations.render import AS_ONE, diffs_of
from console.operations.render_layout import grouped, some
from console.operations.step import plural
from console.tui.sources import to_ascii
from console.view import numbers
from widgets.plan_view import Columns, PlannedStep, Section

IN_FULL = 3
"""So many targets are shown in full; of more, a line each and what they have in common."""
_POOLS_SHOWN = 6
_RADIUS_MARGIN = 5
_NOT_COUNTED = "could not be counted: nobody is let in"
_SHORT = 16
"""Statements up to this length are never broken."""
_NARROW, _NARROWEST = 72, 52
"""Below so many columns the table of targets leaves columns out."""


def plan_sections(plan: Plan, width: int = 80, reason: str | None = None) -> list[Section]:
    """Return what a person must read before a plan is carried out, what may stop it first.

    Args:
        plan: the plan.
        width: columns of the screen.
        reason: as it will be kept in the audit; None: none was given.
    """
    sections = []
    if plan.target_count > 1 or plan.group_blocked or plan.group_warnings or reason:
        sections.append(_summary(plan, reason))
    if plan.target_count > 1:
        sections += _trouble(plan)
    sections.append(_steps(plan))
    if len(plan.targets) <= IN_FULL:
        for item in plan.targets:
            sections += _in_full(plan, item, width)
    else:
        sections += [_warnings(plan), _table(plan, width), *_diffs(plan), _in_common(plan)]
    if plan.left_out and plan.target_count == 1:
        sections.append(Section("Not touched", list(_left_out(plan))))
    return [section for section in sections if not _is_empty(section)]


def plan_steps(plan: Plan) -> list[PlannedStep]:
    """Return the steps of a verb that works on all its targets as one; [] of others."""
    steps = plan.whole.steps if plan.whole is not None else ()
    return [PlannedStep(step.where, step.what, step.checked) for step in steps]


def _steps(plan: Plan) -> Section:
    steps = plan_steps(plan)
    return Section(f"In this order: {plural(len(steps), 'step')}", steps=steps)


def _diffs(plan: Plan) -> Iterator[Section]:
    for whose, lines in diffs_of(plan.targets):
        yield Section(f"Files {' '.join(whose).rstrip(':')}".rstrip(), diff=lines)


def _is_empty(section: Section) -> bool:
    parts = (
        *(section.facts, section.statements, section.warnings),
        section.lines,
        section.steps,
        section.diff,
    )
    return not any(parts) and section.columns is None


# -- the whole --------------------------------------------------------------------------------


def _acted(plan: Plan) -> list[TargetPlan]:
    return [item for item in plan.targets if item.changes and item.blocked is None]


def _summary(plan: Plan, reason: str | None) -> Section:
    acted = _acted(plan)
    waiting = numbers.count(sum(item.waiting for item in acted))
    servers = plural(sum(item.servers for item in acted), "server connection")
    facts: list[tuple[str, str]] = [("waves", _waves(plan))]
    if not plan.spec.on_node:
        on = plural(len(acted), "target")
        hits = f"{numbers.count(plan.clients)} connected, {waiting} waiting; {servers}"
        facts.append(("clients hit", f"{'not all counted' if plan.clients is None else hits}, on {on}"))
    if plan.target_count > 1:
        facts += _lasts(plan)
    unchanged = [str(item.target) for item in plan.targets if not item.changes]
    if unchanged:
        facts.append(("no change", f"{some(unchanged)}: already as wanted"))
    if reason:
        facts.append(("reason", reason))
    if plan.target_count > 1:
        facts += _left_out(plan)
    warnings = [*filter(None, [plan.group_blocked]), *plan.group_warnings]
    title = f"{plan.op.upper()} {plural(plan.target_count, 'target')} of {plan.fleet}"
    return Section(title, facts if plan.target_count > 1 else facts[-1:] if reason else (), (), warnings)


def _waves(plan: Plan) -> str:
    if plan.spec.conduct is not None:
        return AS_ONE
    sizes = [str(len(wave)) for wave in plan.waves]
    if not sizes:
        return "none: nothing can be reached"
    order = "all at once" if len(sizes) == 1 else f"{len(sizes)}: {', '.join(sizes)} targets"
    allowed = plan.allowed_failures
    limit = f"when more than {allowed} failed" if allowed else "at the first failure"
    parts = [order, f"{'all are resumed' if plan.spec.holds else 'it ends'} {limit}"]
    if plan.rollout.max_unavailable is not None:
        parts.append(f"never more than {plan.rollout.max_unavailable} at once")
    if len(sizes) > 1 and not plan.spec.holds:
        parts.append(f"between waves healthy within {plan.rollout.gate_timeout_s:g} s")
    return "; ".join(parts)


def _lasts(plan: Plan) -> list[tuple[str, str]]:
    if not plan.spec.holds:
        return []
    asked = plan.parameters
    if plan.spec.work is not None:
        held = f"drained within {asked.timeout_s:g} s, then held for at most {asked.hold_s:g} s"
        return [("it lasts", held)]
    by = "its guardian resumes it then, and stays behind" if asked.detach else "then it is resumed"
    return [("it lasts", f"drained within {asked.timeout_s:g} s, held for {asked.hold_s:g} s; {by}")]


def _left_out(plan: Plan) -> Iterator[tuple[str, str]]:
    reasons: dict[str, list[str]] = {}
    for entry in plan.left_out:
        reasons.setdefault(entry.reason, []).append(entry.name)
    for reason, names in reasons.items():
        yield "left out", f"{some(names)}: {reason}"


def _trouble(plan: Plan) -> list[Section]:
    blocked = [f"{item.target}: {item.blocked}" for item in plan.targets if item.blocked]
    silent = [f"{out.name}: {out.reason}{f'; {out.hint}' if out.hint else ''}" for out in plan.unreachable]
    sections = []
    if blocked:
        sections.append(Section(f"REFUSED: {plural(len(blocked), 'target')}", warnings=blocked))
    if silent:
        sections.append(Section(f"Unreachable: {plural(len(silent), 'target')}", warnings=silent))
    return sections


# -- many -------------------------------------------------------------------------------------


def _of(items: list[TargetPlan], read: Callable[[TargetPlan], Iterable[str]]) -> list[str]:
    """Return each text once, with how many and which it is true of."""
    return grouped(((str(item.target), text) for item in items for text in read(item)), len(items))


def _warnings(plan: Plan) -> Section:
    return Section("Warnings", warnings=_of(list(plan.targets), lambda item: item.warnings))


def _table(plan: Plan, width: int) -> Section:
    wave_of = {target: number for number, wave in enumerate(plan.waves, start=1) for target in wave}
    ordered = sorted(plan.targets, key=lambda item: (item.blocked is None, wave_of.get(item.target, 0)))
    rows = [_unreachable_row(out.name) for out in plan.unreachable]
    rows += [_row(item, wave_of.get(item.target)) for item in ordered]
    urgent = {place for place, row in enumerate(rows) if row["sends"] in ("REFUSED", "unreachable")}
    shown = ["target", "wave", "version", "state", "clients", "servers", "sends"]
    if len(plan.waves) < 2:
        shown.remove("wave")
    if width < _NARROW:
        shown = [name for name in shown if name not in ("version", "servers")]
    if width < _NARROWEST:
        shown.remove("state")
    right = frozenset(shown.index(name) for name in ("wave", "clients", "servers") if name in shown)
    short = max(len(row["sends"]) for row in rows) <= _SHORT
    never_broken = ("target", "version", "sends") if short else ("target", "version")
    whole = frozenset(shown.index(name) for name in never_broken if name in shown)
    table = Columns(
        shown,
        [[row[name] for name in shown] for row in rows],
        right=right,
        whole=whole,
        urgent=frozenset(urgent),
    )
    return Section(f"Targets: {len(rows)}", columns=table)


def _row(item: TargetPlan, wave: int | None) -> dict[str, str]:
    if item.blocked is not None:
        sends = "REFUSED"
    else:
        sends = "; ".join(item.statements) if item.changes else "no change"
    return {
        "target": str(item.target),
        "wave": "" if wave is None else str(wave),
        "version": item.version,
        "state": item.present,
        "clients": numbers.count(item.clients),
        "servers": numbers.count(item.servers if item.is_counted else None),
        "sends": sends,
    }


def _unreachable_row(name: str) -> dict[str, str]:
    nothing = numbers.NOT_AVAILABLE
    empty = dict.fromkeys(("version", "state", "clients", "servers"), nothing)
    return {"target": name, "wave": "", "sends": "unreachable", **empty}


def _in_common(plan: Plan) -> Section:
    acted = _acted(plan)
    if not acted:
        return Section("What it means")
    facts = [("clients feel", text) for text in _of(acted, lambda item: item.effects)]
    facts += [("or else", text) for text in _of(acted, lambda item: _in_turn(item.rescue))]
    facts += [("longest", text) for text in _longest(acted)]
    if plan.spec.holds:
        facts += [
            ("clients are cut", text) for text in _of(acted, lambda item: (_cut(item.query_wait_timeout_s),))
        ]
    facts += [("seen", text) for text in _of(acted, lambda item: item.evidence)]
    facts += _details(_of(acted, lambda item: item.notes))
    facts += [("success means", text) for text in dict.fromkeys(item.verified_by for item in acted)]
    spec = plan.spec
    undo = f"none: {spec.no_undo_reason}" if spec.undo is None else f"pooldeck {spec.undo}, for each target"
    facts.append(("undo", undo))
    return Section("What it means", facts)


def _longest(items: list[TargetPlan]) -> Iterator[str]:
    """Yield the longest transaction of all that are known."""
    found = [
        (held.xact_age_s, who(held), str(item.target))
        for item in items
        if item.radius is not None
        and (held := item.radius.longest) is not None
        and held.xact_age_s is not None
    ]
    if found:
        age_s, name, target = max(found)
        yield f"a transaction has been open for {numbers.duration_s(age_s)}: {name} on {target}"


# -- one --------------------------------------------------------------------------------------


def _in_full(plan: Plan, item: TargetPlan, width: int) -> Iterator[Section]:
    yield _sent(plan, item)
    yield Section(f"Files of {item.target}", diff=item.diff)
    yield _meaning(plan, item)
    if item.radius is not None:
        lines = radius_lines(item.radius, max(30, width - _RADIUS_MARGIN))
        yield Section(f"Who is hit on {item.target}", lines=lines)


def _sent(plan: Plan, item: TargetPlan) -> Section:
    nothing = "" if item.changes else " - nothing: it already is as wanted"
    kind = "" if plan.spec.on_node else f" (PgBouncer {item.version})"
    facts = [("state now", item.present), *(("seen", text) for text in item.evidence)]
    if not item.is_counted:
        facts.append(("clients", _NOT_COUNTED))
    elif not plan.spec.on_node:
        active = sum(pool.servers_active for pool in item.pools)
        facts += [
            ("clients", f"{numbers.count(item.clients)} connected, {numbers.count(item.waiting)} waiting"),
            ("servers", f"{numbers.count(item.servers)} open, {numbers.count(active)} held by a client"),
        ]
    facts += _lasts(plan) if plan.target_count == 1 else []
    if not plan.spec.holds:
        facts.append(("time limit", numbers.duration_s(plan.parameters.timeout_s)))
    return Section(
        f"Sent to {item.target}{kind}{nothing}",
        facts=facts,
        statements=item.statements,
        warnings=tuple(filter(None, (*item.warnings, item.blocked))),
    )


def _meaning(plan: Plan, item: TargetPlan) -> Section:
    facts = _details(item.notes)
    facts += [("clients feel", effect) for effect in item.effects]
    if item.rescue:
        facts += [("or else", f"{text} when it does not go well") for text in _in_turn(item.rescue)]
    if plan.spec.holds:
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


def _details(notes: Sequence[str]) -> list[tuple[str, str]]:
    return [("in detail" if place == 0 else "", note) for place, note in enumerate(notes)]


def _in_turn(statements: Sequence[str]) -> tuple[str, ...]:
    """Return statements that are sent one after the other as one text; () for none."""
    return (" ; ".join(statements),) if statements else ()


def _cut(limit_s: float | None) -> str:
    """When clients that wait are disconnected: query_wait_timeout, 0 = never."""
    if limit_s is None:
        return f"{numbers.NOT_AVAILABLE}: query_wait_timeout could not be read"
    if not limit_s:
        return "never (query_wait_timeout is 0)"
    return f"after {numbers.duration_s(limit_s)} of waiting (query_wait_timeout)"


def _pool(pool: PoolImpact) -> str:
    mode = pool.pool_mode or numbers.NOT_AVAILABLE
    return (
        f"{mode}: {plural(pool.clients, 'client')}, {numbers.count(pool.waiting)} waiting, "
        f"{numbers.count(pool.servers_active)} of {numbers.count(pool.servers)} servers held"
    )


def ascii_section(section: Section) -> Section:
    """Return a section in ASCII."""
    columns = section.columns
    return Section(
        to_ascii(section.title),
        [(to_ascii(label), to_ascii(value)) for label, value in section.facts],
        [to_ascii(statement) for statement in section.statements],
        [to_ascii(warning) for warning in section.warnings],
        [to_ascii(line) for line in section.lines],
        columns and replace(columns, rows=[[to_ascii(cell) for cell in row] for row in columns.rows]),
        [PlannedStep(to_ascii(one.where), to_ascii(one.what), to_ascii(one.then)) for one in section.steps],
        [to_ascii(line) for line in section.diff],
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
    return _first(moved) or "what it rests on has changed"


def _first(texts: list[str]) -> str:
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")
