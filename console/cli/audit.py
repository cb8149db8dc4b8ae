"""`pooldeck audit verify | log`: is the journal whole, and what was done. Documented in docs/audit.md.

It reads one file and needs neither an inventory nor a network. What a record means is `console.audit`'s
work; tables are drawn here.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.diagnostics import ExitCode, note, on_terminal, printable
from console.errors import UsageError

if TYPE_CHECKING:
    from console.audit.reading import Record
    from console.audit.verify import Check, Flaw

app = typer.Typer(
    help="What was done by whom, and whether the journal of it is whole.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_AGO_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_LEAST_DETAIL = 32
"""Columns that the detail must have left beside the others, or it goes on lines of its own."""
_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *range(0xD800, 0xE000))}

File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Another journal, e.g. a copy. Default: this user's own."),
]


@app.command()
def verify(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Find every record that was changed, removed, moved, added or cut.

    Exit code 0: the journal is whole. 1: it is not, or there is none.
    """
    from console.audit.verify import check_journal

    path = _journal(file)
    found = check_journal(path)
    if as_json:
        typer.echo(json.dumps(_document(path, found)))
    else:
        typer.echo("\n".join(map(printable, _told(path, found))))
    if found.flaws:
        raise typer.Exit(ExitCode.FAILED)


def _journal(file: Path | None) -> Path:
    if file is not None:
        return file
    from console.config.paths import XdgPaths

    return XdgPaths().state / "journal.jsonl"


def _document(path: Path, found: Check) -> dict[str, object]:
    return {
        "file": str(path),
        "whole": not found.flaws,
        "records": found.records,
        "size_bytes": found.size_bytes,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "last_hash": found.last,
        "flaws": [
            {
                "line": flaw.line,
                "kind": flaw.kind.value,
                "reason": flaw.reason,
                "missing": flaw.missing,
                "unproven_line": flaw.unproven,
                "at": flaw.at,
                "run": flaw.run,
                "next": _next(flaw),
            }
            for flaw in found.flaws
        ],
    }


def _told(path: Path, found: Check) -> list[str]:
    records = f"{found.records:,} record{'' if found.records == 1 else 's'}"
    if not found.flaws:
        span = f", {found.first_at} to {found.last_at}" if found.first_at else ""
        return [f"whole: {records}{span}", f"file: {path}", f"last hash: {found.last}"]
    flaws = f"{len(found.flaws):,} flaw{'' if len(found.flaws) == 1 else 's'}"
    lines = [f"not whole: {flaws}, {records}", f"file: {path}"]
    for flaw in found.flaws:
        lines += ["", *_flaw(flaw)]
    return lines


def _flaw(flaw: Flaw) -> Iterator[str]:
    place = f"line {flaw.line:,}" if flaw.line else "the file"
    yield f"{place}: {flaw.kind.value}: {flaw.reason}"
    if flaw.at or flaw.run:
        yield f"  the record on it: {flaw.at or 'no time'}, run {flaw.run or 'not told'}"
    if flaw.unproven is not None:
        yield f"  so nothing vouches for line {flaw.unproven:,} any longer: it may have been changed as well"
    yield f"  next: {_next(flaw)}"


def _next(flaw: Flaw) -> str:
    from console.audit.judge import FlawKind

    match flaw.kind:
        case FlawKind.CUT:
            return (
                "see what that run did (pooldeck audit log --run); a crash or a full disk leaves such a line"
            )
        case FlawKind.REMOVED | FlawKind.END_REMOVED | FlawKind.FILE_REMOVED:
            return "keep this file as it is, and fetch the missing records from a backup of its folder"
        case FlawKind.HEAD_MISSING:
            return "a copy needs the .head file beside it; if this is no copy, compare its end with a backup"
        case FlawKind.HEAD_CHANGED:
            return "compare the end of the journal with a backup; the next operation writes the head anew"
        case _:
            return "keep this file as it is, and compare that line with a backup"


@dataclass(frozen=True, slots=True)
class _Wish:
    """Which records were asked for."""

    since_s: float | None
    until_s: float | None
    targets: tuple[str, ...]
    ops: frozenset[str]
    runs: tuple[str, ...]
    outcomes: frozenset[str]


@app.command()
def log(
    file: File = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before: 2h (ago; s, m, h, d, w), 2026-11-21, or ISO 8601."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this; as --since.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="edge-* (with its databases), edge-1a/app. May be repeated."),
    ] = None,
    op: Annotated[list[str] | None, typer.Option(metavar="VERB", help="pause, reload, …")] = None,
    run: Annotated[list[str] | None, typer.Option(metavar="ID", help="A run's id, or how it begins.")] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="As in that column: ok, failed, unknown, intent, refused, …"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The records themselves, one JSON object a line.")
    ] = False,
    last: Annotated[
        int | None, typer.Option("-n", metavar="N", min=1, help="Only the last N of them.")
    ] = None,
) -> None:
    """Show what was done, oldest first. Times are UTC; days begin at midnight UTC.

    Exit code 0, also when nothing fits. A line that is no record is shown whatever is asked for.
    """
    from console.audit.reading import read_journal
    from console.clock import SystemClock

    now_s = SystemClock().wall_s()
    wish = _Wish(
        _moment(since, now_s, "--since"),
        _moment(until, now_s, "--until"),
        tuple(target or ()),
        frozenset(op or ()),
        tuple(run or ()),
        frozenset(outcome or ()),
    )
    path = _journal(file)
    if file is None and not path.exists():
        note(f"pooldeck: no journal yet: nothing was recorded in {path}")
        return
    records = read_journal(path, since_s=wish.since_s, targets=wish.targets or None)
    chosen: Iterable[Record] = (record for record in records if _fits(record, wish))
    if last is not None:
        chosen = deque(chosen, maxlen=last)
    if as_json:
        for record in chosen:
            typer.echo(_json_line(record))
        return
    width = shutil.get_terminal_size().columns if on_terminal(sys.stdout) else None
    lines = _table([_cells(record) for record in chosen], width)
    if not lines:
        note("pooldeck: nothing fits")
    for line in lines:
        typer.echo(line)


def _moment(text: str | None, now_s: float, option: str) -> float | None:
    """Return seconds since the epoch.

    Raises:
        UsageError: it is no time.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now_s - float(ago[1]) * _AGO_S[ago[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text} is no time", hint="write 90s, 2h, 3d, 2026-11-21 or 2026-11-21T09:40:00Z"
        ) from None


def _fits(record: Record, wish: _Wish) -> bool:
    from console.audit.summary import outcome

    if record.flaw is not None:
        return True
    at_s = record.at_s
    return (
        (wish.until_s is None or at_s is None or at_s < wish.until_s)
        and (not wish.ops or record.op in wish.ops)
        and (not wish.runs or (record.run or "").startswith(wish.runs))
        and (not wish.outcomes or outcome(record) in wish.outcomes)
    )


def _json_line(record: Record) -> str:
    if record.flaw is not None:
        fields: object = {"line": record.line, "flaw": record.flaw, "text": record.text}
    else:
        fields = record.fields
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # As it stands in the journal, but that nothing in it can drive a terminal.
    return text.translate(_ESCAPES)


_Cells = tuple[str, str, str, str, str, str]
_HEAD: _Cells = ("TIME (UTC)", "WHO", "OP", "TARGET", "OUTCOME", "DETAIL")


def _cells(record: Record) -> _Cells:
    from console.audit import summary

    cells = (
        summary.when(record),
        summary.who(record) if record.flaw is None else summary.UNKNOWN,
        record.op or "-",
        record.target or "-",
        summary.outcome(record),
        summary.detail(record),
    )
    when, who, op, target, outcome, detail = (" ".join(printable(cell).split()) for cell in cells)
    return when, who, op, target, outcome, detail


def _table(rows: Sequence[_Cells], width: int | None) -> list[str]:
    """Return a head and rows; None: no terminal, each record is one line whatever its length.

    Where the detail finds no room beside the other columns, it and who did it go below.
    """
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    beside = sum(widths[:5]) + 10
    if width is None:
        return [_aligned(row, widths) for row in (_HEAD, *rows)]
    lines = []
    if width - beside >= _LEAST_DETAIL:
        for row in (_HEAD, *rows):
            wrapped = textwrap.wrap(row[5], width - beside) or [""]
            lines.append(_aligned((*row[:5], wrapped[0]), widths))
            lines += [" " * beside + more for more in wrapped[1:]]
        return lines
    for when, who, op, target, outcome, detail in (_HEAD, *rows):
        chosen = [widths[index] for index in (0, 2, 3, 4)]
        lines.append(_aligned((when, op, target, outcome), chosen))
        lines += textwrap.wrap(f"{who}: {detail}", width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    *fixed, last = cells
    return "  ".join(
        [*(f"{cell:<{width}}" for cell, width in zip(fixed, widths, strict=False)), last]
    ).rstrip()
