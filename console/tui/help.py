"""The help of where one is: what the focused table's columns mean, the keys, the commands.

Built from the same tables that the program runs on, so it cannot fall behind them. `docs/keys.md` is tested
against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from console.tui.commands import commands_of
from console.view.cells import Cell, Tone, ViewColumn
from console.view.details import Section

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

EVERYWHERE: tuple[tuple[str, str], ...] = (
    (":", "command line; Tab completes, arrows recall"),
    ("?", "this help"),
    ("Esc", "back; first takes off the filter"),
    ("-", "the last view"),
    ("f", "freeze the numbers, and go on; FROZEN stands in the top line meanwhile"),
    ("l", "log"),
    ("o", "operations of this session and how they ended"),
    ("ctrl+p", "palette: every command by name"),
    ("q  ctrl+c", "leave Pooldeck; asks while an operation runs"),
)
TABLES: tuple[tuple[str, str], ...] = (
    ("Enter", "open: bouncer > its pools > details"),
    ("arrows  j k", "move; left and right scroll the columns that do not fit"),
    ("g G  PgUp PgDn", "first, last row; a page"),
    ("Tab", "the other table"),
    ("space", "mark and go on to the next row; ctrl+space marks the range, ctrl+\\ unmarks all"),
    ("/", "filter while you type, Enter keeps it, Esc takes it off"),
    ("z  ctrl+z", "only rows that need a look"),
    ("d  y", "details; the row as it was read"),
    ("c", "copy the marked rows through the terminal (OSC 52)"),
    ("a", "action menu for the marked rows, or the row under the cursor"),
    ("P  R  L", "open the plan to pause, resume, reload; nothing happens before you confirm it"),
    ("other capitals", "sort by the column that lists it below; again turns the order round"),
    ("<  >", "sort by the next column to the left, right"),
    ("0", "faults first, as at the start"),
)
FILTERS: tuple[tuple[str, str], ...] = (
    ("db:app", "the column contains it; * and ? as in a shell; = for equal"),
    ("wait>5  use>=80", "by value: seconds (500ms, 2m), percent, counts (10k)"),
    ("@zone=a", "label of the bouncer"),
    ("paused faults waiting", "what a row is; also stale, unreachable"),
    ("!term", "not that"),
    ("edge-[12]", "anything else is a regular expression"),
)


def help_sections(app: PooldeckApp, columns: Sequence[ViewColumn[Any]]) -> list[Section]:
    """Return the help for a screen; `columns` are those of its focused table, () for none."""
    sections = []
    if columns:
        sections.append(_pairs("Keys in tables", TABLES))
    sections.append(_pairs("Keys everywhere", EVERYWHERE))
    if columns:
        sections.append(Section("Columns", tuple(_column(column) for column in columns)))
        sections.append(_pairs("Filter terms", FILTERS))
    sections.append(
        Section("Commands", tuple((command.usage, Cell(command.help)) for command in commands_of(app)))
    )
    return sections


def _pairs(title: str, pairs: Sequence[tuple[str, str]]) -> Section:
    return Section(title, tuple((key, Cell(text)) for key, text in pairs))


def _column(column: ViewColumn[Any]) -> tuple[str, Cell]:
    key = f"{column.title} [{column.letter}]" if column.letter else column.title
    names = " ".join(name for name in (column.key, *column.names) if name != column.title)
    extra = f" Filter: {names}." if names and column.trend is None else ""
    return key, Cell(f"{column.help}{extra}", Tone.PLAIN)
