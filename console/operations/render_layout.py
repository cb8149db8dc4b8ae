"""Lines, labels and tables of plain text for plans and receipts. No colour, no escape codes.

A width of None leaves every line as long as it is: pipes and logs want one fact a line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

LABEL_COLUMNS = 13
"""Two of indent, the label, and a blank."""
NAMES_SHOWN = 4
_NARROWEST = 12
_GAP = "  "


def labelled(label: str, texts: Iterable[str], width: int | None) -> Iterator[str]:
    """Yield `  label      text`, a line for each text; what is too long goes on below itself."""
    for text in texts:
        yield from wrapped(text, width, first=f"  {label:<10} ", rest=" " * LABEL_COLUMNS)


def wrapped(text: str, width: int | None, *, first: str = "", rest: str = "") -> list[str]:
    """Return `text` after `first`, broken at blanks into lines that begin with `rest`."""
    if width is None or len(first) + len(text) <= width:
        return [f"{first}{text}"]
    return textwrap.wrap(
        text,
        max(width, len(rest) + 2 * _NARROWEST),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return aligned columns; when they are too wide, the widest of the flexible ones break their cells.

    Args:
        head: the titles. The first character says how a column leans and bends: `<` and `>` keep their width,
            `~` leans left and may break.
        rows: the cells.
        width: of the whole table; None: as wide as it is.
    """
    titles = [title[1:] for title in head]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    _narrow(widths, [title[0] == "~" for title in head], width)
    lines = []
    for row in [titles, *rows]:
        cells = [_broken(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(_GAP.join(map(_leaning, parts, head, widths)).rstrip())
    return lines


def narrowest(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a table is at least."""
    widths = [max(len(title) - 1, *map(len, column)) for title, *column in zip(head, *rows, strict=True)]
    sizes = [
        min(size, _NARROWEST) if title[0] == "~" else size for title, size in zip(head, widths, strict=True)
    ]
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)


def grouped(found: Iterable[tuple[str, str]], total: int) -> list[str]:
    """Return each text once, with the names it is true of; without any when it is true of all.

    Args:
        found: (name, text) pairs.
        total: how many names there are in all.
    """
    names: dict[str, list[str]] = {}
    for name, text in found:
        names.setdefault(text, []).append(name)
    return [_with_names(text, of, total) for text, of in names.items()]


def some(names: Sequence[str]) -> str:
    """Return names with commas; of many only the first ones and how many more."""
    if len(names) <= NAMES_SHOWN + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMES_SHOWN])} and {len(names) - NAMES_SHOWN} more"


def _with_names(text: str, names: list[str], total: int) -> str:
    if len(set(names)) == total:
        return text
    return f"{names[0]}: {text}" if len(names) == 1 else f"{len(names)} of {total}: {text} ({some(names)})"


def _narrow(widths: list[int], flexible: Sequence[bool], width: int | None) -> None:
    """Take columns off the widest flexible ones until the whole fits, or none can give more."""
    if width is None:
        return
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0:
        able = [place for place, bends in enumerate(flexible) if bends and widths[place] > _NARROWEST]
        if not able:
            return
        widths[max(able, key=lambda place: widths[place])] -= 1
        excess -= 1


def _broken(cell: str, size: int) -> list[str]:
    return textwrap.wrap(cell, size, break_on_hyphens=False) if len(cell) > size else [cell]


def _leaning(cell: str, title: str, size: int) -> str:
    return f"{cell:>{size}}" if title[0] == ">" else f"{cell:<{size}}"
