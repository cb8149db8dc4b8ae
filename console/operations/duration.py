"""Durations as people type them: `90`, `90s`, `2m`, `1h30m`, `500ms`. Pure."""

from __future__ import annotations

import re

from console.errors import UsageError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h))+")


def parse_duration(text: str, *, where: str) -> float:
    """Return a duration in seconds; a number alone is seconds.

    Args:
        text: what was typed.
        where: the option, for the error.

    Raises:
        UsageError: it is no duration.
    """
    stripped = text.strip()
    if re.fullmatch(_NUMBER, stripped):
        return float(stripped)
    if _WHOLE.fullmatch(stripped) is None:
        raise UsageError(f"{text!r} is no time", where=where, hint="write 90, 90s, 2m or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(stripped))
