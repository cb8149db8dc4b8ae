"""The tables that benches keep: all of it in docs/bench/, the short of it on the page of the operation.

A page of docs/operations/ has the place for its table between two comments, and is otherwise left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.bench.load_case import Measured

DOCS = Path(__file__).resolve().parents[2] / "docs"
_HEAD = (
    "| PgBouncer | clients | done | failed | new logins refused | connects retried | closed idle "
    "| longest stall p50 / p99 / max, ms | pgbench: done, failed, longest stall "
    "| measuring: CPU of a core, late by | limits | |"
)
_SHORT = (
    "| | PgBouncer | transactions | failed | connects retried | cut between transactions "
    "| longest stall p50 / p99 / max, ms | limits | |"
)
_SHORT_LOGINS = _SHORT.replace("| connects retried |", "| new logins refused | connects retried |")
BEGIN = "<!-- make bench writes this table -->"
END = "<!-- end of the table -->"


def keep(page: str, title: str, found: Sequence[Measured], *, into: Sequence[str] = ()) -> None:
    """Write docs/bench/PAGE.md, a table an operation, and the short table into docs/operations/INTO.md."""
    names = list(dict.fromkeys(one.name for one in found))
    parts = [f"# {title}\n\nWritten by `make bench`; how to read it: [under load](../load.md).\n"]
    for name in names:
        own = [one for one in found if one.name == name]
        lines = [f"## {name}\n", _HEAD, _rule(_HEAD), *map(_line, own)]
        parts.append("\n".join([*lines, *[text for text in map(_kinds, own) if text]]) + "\n")
    (DOCS / "bench").mkdir(exist_ok=True)
    (DOCS / "bench" / f"{page}.md").write_text("\n".join(parts), encoding="utf-8")
    for operation in into:
        _put_in(DOCS / "operations" / f"{operation}.md", short_table(found))


def short_table(found: Sequence[Measured]) -> str:
    """Return one table of several operations: a line each on each version."""
    logins = any(one.limits.logins_apart for one in found)
    head = _SHORT_LOGINS if logins else _SHORT
    return "\n".join([head, _rule(head), *(_short(one, logins=logins) for one in found)])


def _put_in(page: Path, table: str) -> None:
    text = page.read_text(encoding="utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{page} has no place for a table: {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def _rule(head: str) -> str:
    return "|" + " --- |" * (head.count("|") - 1)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _line(one: Measured) -> str:
    total, cost = one.report.total, one.report.overhead
    beside = "-"
    if one.beside is not None:
        beside = f"{one.beside.done:,}, {sum(one.beside.failed.values())}, {one.beside.stall_ms} ms"
    return _row(
        one.version,
        total.clients,
        f"{total.done:,}",
        one.failed,
        "-" if one.refused_logins is None else one.refused_logins,
        total.retried,
        sum(total.lost_idle.values()),
        one.judged.stall_ms,
        beside,
        f"{cost.cpu_share:.0%}, {cost.lag_ms} ms",
        one.limits.words,
        _verdict(one),
    )


def _short(one: Measured, *, logins: bool) -> str:
    total = one.report.total
    return _row(
        one.name,
        one.version,
        f"{total.done:,}",
        one.failed,
        *([one.refused_logins if one.refused_logins is not None else "-"] if logins else []),
        total.retried,
        sum(total.lost_idle.values()),
        one.judged.stall_ms,
        one.limits.words,
        _verdict(one),
    )


def _verdict(one: Measured) -> str:
    if one.limits.failed is None and one.limits.stall_s is None and not one.missed:
        return "told"
    return "MISSED" if one.missed else "OK"


def _kinds(one: Measured) -> str:
    total = one.report.total
    told = [f"{count} × {kind}" for kind, count in (*total.failed.items(), *total.lost_idle.items())]
    told += [f"{count} × connect {kind}" for kind, count in total.retries.items()]
    told += [*one.missed, *one.notes]
    return f"\n{one.version}: {re.sub(r'[|]', '/', '; '.join(told))}" if told else ""
