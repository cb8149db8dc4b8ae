"""Change windows: `Mon-Fri 22:00-05:00 Europe/Berlin`. When they are open, and when they open next. Pure.

A window that ends before it begins goes over midnight and belongs to the day on which it began. Times are
local ones of its zone: on the days when clocks change an hour is skipped, or comes twice, as on the wall.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "Mon-Fri 22:00-05:00 Europe/Berlin"
_WINDOW = re.compile(r"(?P<days>\S+) (?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<zone>\S+)")
_MINUTE_S = 60
_AHEAD_MINUTES = 8 * 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """One window, read from its text."""

    text: str
    days: frozenset[int]
    """On which it begins; 0 is Monday."""
    begin_minute: int
    """Of the day, 0 to 1439."""
    end_minute: int
    """Of the day, 1 to 1440; not after `begin_minute`: of the next day."""
    zone: ZoneInfo

    def is_open(self, wall_s: float) -> bool:
        """Say whether it is open at a second since the epoch."""
        local = datetime.fromtimestamp(wall_s, self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.begin_minute < self.end_minute:
            return today in self.days and self.begin_minute <= minute < self.end_minute
        begun_today = today in self.days and minute >= self.begin_minute
        return begun_today or (yesterday in self.days and minute < self.end_minute)


def parse_window(text: str) -> Window:
    """Read a window.

    Raises:
        ValueError: what is wrong with it, with an example.
    """
    found = _WINDOW.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"a change window is written as {EXAMPLE}")
    begin, end = _minute(found["begin"], last=1439), _minute(found["end"], last=1440)
    if begin == end:
        raise ValueError(f"the window {found['begin']}-{found['end']} is empty; all day is 00:00-24:00")
    try:
        zone = ZoneInfo(found["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"this machine knows no time zone {found['zone']}; UTC always works") from None
    # An end of 00:00 is midnight: 24:00 of the day on which it began.
    return Window(text, _days(found["days"]), begin, end or 1440, zone)


def next_opening(windows: Iterable[Window], wall_s: float) -> tuple[Window, float] | None:
    """Return the window that opens next after `wall_s`, and when; None when none does within eight days."""
    every = tuple(windows)
    first = (int(wall_s) // _MINUTE_S + 1) * _MINUTE_S
    for at_s in range(first, first + _AHEAD_MINUTES * _MINUTE_S, _MINUTE_S):
        for window in every:
            if window.is_open(at_s):
                return window, float(at_s)
    return None


def opening_words(window: Window, at_s: float) -> str:
    """Say when a window opens, in its own zone and in UTC."""
    local = datetime.fromtimestamp(at_s, window.zone)
    utc = datetime.fromtimestamp(at_s, UTC)
    return f"{local:%a %Y-%m-%d %H:%M} {window.zone.key} ({utc:%a %H:%M} UTC)"


def _minute(text: str, *, last: int) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours * 60 + minutes > last:
        raise ValueError(f"{text} is no time of day")
    return hours * 60 + minutes


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        found.update((begin + offset) % 7 for offset in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(text: str) -> int:
    name = text[:1].upper() + text[1:].lower()
    if name not in DAYS:
        raise ValueError(f"{text or 'nothing'} is no day; days are {', '.join(DAYS)}")
    return DAYS.index(name)
