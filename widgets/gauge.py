"""A share as filled boxes and a percentage, for one table cell.

Pure; must not know widgets.
"""

from __future__ import annotations

import math


def gauge(share: float | None, width: int = 4, *, ascii_only: bool = False) -> str:
    """`▮▮▮▯  75%`: `width` boxes, a space, and the percentage on four cells.

    Args:
        share: 0 to 1; more is shown as it is (`120%`, all boxes full). None or NaN is "n/a". A share
            above 0 has a box and is never "0%" (`<1%`); one below 1 is never all boxes or "100%".
        width: boxes; 0 leaves only the percentage.
        ascii_only: boxes as `##..`.
    """
    if share is None or math.isnan(share):
        return "n/a"
    share = max(0.0, share)
    filled = width if share >= 1 else min(round(share * width), width - 1)
    if share > 0 and width > 0:
        filled = max(1, filled)
    full, empty = ("#", ".") if ascii_only else ("▮", "▯")
    boxes = full * max(0, filled) + empty * (width - max(0, filled))
    return f"{boxes} {_percent(share):>4}" if width > 0 else _percent(share)


def _percent(share: float) -> str:
    if math.isinf(share):
        return ">999%"
    percent = share * 100
    if 0 < percent < 1:
        return "<1%"
    # The small addend keeps 0.29 * 100 = 28.999… from being told as 28.
    return f"{math.floor(percent + 1e-9)}%"
