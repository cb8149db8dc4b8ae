"""A result as an admin console sent it: names and text, nothing interpreted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResultTable:
    """One answer of the simple query protocol.

    Consoles insert columns mid-row from version to version, so read by name, never by position.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    """Text as sent; None is SQL NULL."""
    tag: str = "SHOW"
    """The command tag."""
    answer_us: int = 0
    """Time from the question to the last byte of its answer: an upper bound of what it cost the pooler.
    0 for a table that was not read from a pooler."""
