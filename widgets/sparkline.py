"""A row of bars for one table cell: how a number went, newest at the right.

Pure; must not know widgets or time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.:-=+*#"
GAP = " "


def sparkline(
    values: Sequence[float | None],
    width: int,
    *,
    maximum: float | None = None,
    ascii_only: bool = False,
) -> str:
    """The last `width` values as bars, always `width` cells wide.

    Args:
        values: oldest first. None (or NaN) is a gap and drawn as a space; 0 and less is the lowest bar,
            which nothing above 0 is drawn as.
        width: cells; 0 or less gives "". Missing history is blank at the left.
        maximum: the value of the highest bar; greater ones are drawn as it. None takes the greatest
            finite value shown.
        ascii_only: bars of `_.:-=+*#`.
    """
    if width <= 0:
        return ""
    shown = [None if value is None or math.isnan(value) else value for value in values[-width:]]
    top = maximum
    if top is None:
        top = max((value for value in shown if value is not None and math.isfinite(value)), default=0.0)
    bars = ASCII_BARS if ascii_only else BARS
    drawn = "".join(GAP if value is None else bars[_level(value, top, len(bars))] for value in shown)
    return drawn.rjust(width, GAP)


def _level(value: float, top: float, levels: int) -> int:
    if value <= 0:
        return 0
    if value >= top or not math.isfinite(value):
        return levels - 1
    return 1 + int(value / top * (levels - 1))
