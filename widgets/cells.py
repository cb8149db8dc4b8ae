"""Text in table cells: its width on a terminal, making it harmless, and fitting it into a column.

Pure functions over strings; this module must not know of grids, screens or colours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.text import Text

Align: TypeAlias = Literal["left", "right"]
Tone: TypeAlias = str
"""A meaning that a theme turns into a style; one of `TONES`. Another name is drawn without a style."""

TONES: tuple[Tone, ...] = ("ok", "warning", "error", "dim", "accent")

ELLIPSIS = "…"
ASCII_ELLIPSIS = "~"


class Toned(NamedTuple):
    """A cell whose colour comes from the theme. The text must say the state by itself."""

    text: str
    tone: Tone


Cell: TypeAlias = str | Text | Toned
"""What a row source hands out for one cell, already formatted; one line."""


def plain(cell: Cell) -> str:
    """The characters of a cell without any style, control characters made visible."""
    if isinstance(cell, str):
        return clean(cell)
    return clean(cell.plain if isinstance(cell, Text) else cell.text)


def clean(text: str) -> str:
    """Replace what a terminal would act on (ESC, newline, bidi controls …) by `?`, one for one.

    Names of databases and users come from clients and may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\u00a0" else "?" for character in text
    )


def width_of(text: str) -> int:
    """Columns that `text` takes on a terminal: wide characters 2, combining marks 0."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, align: Align = "left", *, ellipsis: str = ELLIPSIS) -> str:
    """`text` padded or cut to exactly `width` columns; a cut always shows `ellipsis`.

    A width of 0 or less gives "".
    """
    if width <= 0:
        return ""
    length = width_of(text)
    if length > width:
        mark = ellipsis if width_of(ellipsis) <= width else ""
        return set_cell_size(text, width - width_of(mark)) + mark
    padding = " " * (width - length)
    return padding + text if align == "right" else text + padding
