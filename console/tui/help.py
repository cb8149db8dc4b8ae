"""The help of where one is: what the focused table's columns mean, the keys, the commands.

Built from the same tables that the program runs on, so it cannot fall behind them. `docs/keys.md` is tested
against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from console.operations.verb import Verb
from console.tui.commands import Command, commands_of
from console.tui.keys import EVERYWHERE, FILTERS, TABLES
from console.view.cells import Cell, Tone, ViewColumn
from console.view.details import Section

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp


def help_sections(
    app: PooldeckApp, columns: Sequence[ViewColumn[Any]], own: Sequence[tuple[str, str]] = ()
) -> list[Section]:
    """Return the help for a screen.

    Args:
        app: the app.
        columns: of its focused table, () for none.
        own: the screen's own keys.
    """
    sections = []
    if own:
        sections.append(_pairs("Keys here", own))
    if columns:
        sections.append(_pairs("Keys in tables", TABLES))
    sections.append(_pairs("Keys everywhere", EVERYWHERE))
    if columns:
        sections.append(Section("Columns", tuple(_column(column) for column in columns)))
        sections.append(_pairs("Filter terms", FILTERS))
    cannot = app.operating.judge_rows()
    sections.append(
        Section("Commands", tuple((one.usage, Cell(_told(one, cannot))) for one in commands_of(app)))
    )
    return sections


def _told(command: Command, cannot: Callable[[Verb], str | None]) -> str:
    missing = cannot(command.verb) if command.verb is not None else None
    return command.help if missing is None else f"{command.help} Not here: {missing}."


def _pairs(title: str, pairs: Sequence[tuple[str, str]]) -> Section:
    return Section(title, tuple((key, Cell(text)) for key, text in pairs))


def _column(column: ViewColumn[Any]) -> tuple[str, Cell]:
    key = f"{column.title} [{column.letter}]" if column.letter else column.title
    names = " ".join(name for name in (column.key, *column.names) if name != column.title)
    extra = f" Filter: {names}." if names and column.trend is None else ""
    return key, Cell(f"{column.help}{extra}", Tone.PLAIN)
