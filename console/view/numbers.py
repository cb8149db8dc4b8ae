"""Numbers as people read them: counts, rates, durations, bytes, shares. Pure text, no colours.

`None` is always `n/a` and 0 is always `0`: a value that was not read must never look like one that is nil.
It must not know what a number means or whether it is good.
"""

from __future__ import annotations

import math
import time
from typing import Final

NOT_AVAILABLE: Final = "n/a"
_STEPS: Final = ("", "k", "M", "G", "T", "P")


def count(value: float | None) -> str:
    """Write a whole number: grouped up to 99,999, then with k, M, G and three digits.

    >>> [count(n) for n in (None, 0, 1204, 99_999, 123_456, 4_200_000)]
    ['n/a', '0', '1,204', '99,999', '123k', '4.20M']
    """
    if value is None:
        return NOT_AVAILABLE
    whole = round(value)
    return f"{whole:,}" if abs(whole) < 100_000 else _scaled(whole)


def rate(value: float | None) -> str:
    """Write events per second; the unit stands in the column's title.

    >>> [rate(r) for r in (None, 0, 0.02, 3.14, 214.4, 1204.0, 123_456.0)]
    ['n/a', '0', '<0.1', '3.1', '214', '1,204', '123k']
    """
    if value is None:
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    if abs(value) < 0.05:
        return "<0.1"
    return f"{value:.1f}" if abs(value) < 9.95 else count(value)


def byte_rate(value: float | None) -> str:
    """Write bytes per second in units of 1,000.

    >>> [byte_rate(b) for b in (None, 0, 812, 1500, 2_340_000)]
    ['n/a', '0', '812 B/s', '1.50 kB/s', '2.34 MB/s']
    """
    if value is None:
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    return f"{value:.0f} B/s" if abs(value) < 999.5 else f"{_scaled(value, ' ')}B/s"


def time_of_day(wall_s: float) -> str:
    """Write a moment of the wall clock, in seconds since the epoch, as its time of day.

    >>> time_of_day(36_624.4)
    '10:10:24 UTC'
    """
    return time.strftime("%H:%M:%S UTC", time.gmtime(wall_s))


def share(value: float | None) -> str:
    """Write a part of one as a percentage; something is at least `1 %`, less than all at most `99 %`.

    >>> [share(s) for s in (None, 0, 0.001, 0.5, 0.9998, 1.04)]
    ['n/a', '0 %', '1 %', '50 %', '99 %', '104 %']
    """
    if value is None:
        return NOT_AVAILABLE
    percent = round(value * 100)
    if 0 < value < 1:
        percent = min(99, max(1, percent))
    return f"{percent:,} %"


def duration_us(value: float | None) -> str:
    """Write a duration given in microseconds, in the largest unit that fits.

    >>> [duration_us(d) for d in (None, 0, 850, 12_300, 4_200_000, 190_000_000)]
    ['n/a', '0', '850 µs', '12.3 ms', '4.2 s', '3m 10s']
    """
    if value is None:
        return NOT_AVAILABLE
    if value <= 0:
        return "0"
    if value < 999.5:
        return f"{max(1, round(value))} µs"
    if value < 999_500:
        return f"{_three_digits(value / 1_000)} ms"
    return duration_s(value / 1_000_000)


def duration_s(value: float | None) -> str:
    """Write a duration given in seconds.

    >>> [duration_s(d) for d in (None, 0, 0.0123, 4.2, 59.97, 190, 7_500, 273_600)]
    ['n/a', '0', '12.3 ms', '4.2 s', '1m 00s', '3m 10s', '2h 05m', '3d 04h']
    """
    if value is None:
        return NOT_AVAILABLE
    if value < 0.9995:
        return duration_us(value * 1_000_000)
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    return f"{hours // 24:,}d {hours % 24:02d}h"


def age(seconds: float | None) -> str:
    """Write how old something is, in whole seconds so that it does not flicker.

    >>> [age(a) for a in (None, 0.2, 1.6, 75, 9_000)]
    ['n/a', '0 s', '1 s', '1m 15s', '2h 30m']
    """
    if seconds is None:
        return NOT_AVAILABLE
    whole = max(0, math.floor(seconds))
    return f"{whole} s" if whole < 60 else duration_s(whole)


def needs(version: str | None) -> str:
    """Say why a value is missing: `n/a`, with the version that brings it when known.

    >>> needs("1.24"), needs(None)
    ('n/a (needs 1.24)', 'n/a')
    """
    return NOT_AVAILABLE if version is None else f"{NOT_AVAILABLE} (needs {version})"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _scaled(value: float, gap: str = "") -> str:
    step = 0
    size = abs(value)
    while size >= 999.5 and step < len(_STEPS) - 1:
        size /= 1_000
        step += 1
    return f"{'-' if value < 0 else ''}{_three_digits(size)}{gap}{_STEPS[step]}"
