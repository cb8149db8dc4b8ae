"""Change windows: `Mon-Fri 22:00-05:00 Europe/Berlin`. When they are open, and when they open next. Pure.

A window that ends before it begins goes over midnight and belongs to the day on which it began. Times are
what a clock on the wall of its zone shows: on days when clocks change an hour is skipped, or comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "Mon-Fri 22:00-05:00 Europe/Berlin"
_WINDOW = re.compile(r"(?P<days>\S+) (?P<begin>[0-9]{2}:[0-9]{2})-(?P<end>[0-9]{2}:[0-9]{2}) (?P<zone>\S+)")
_DAY_MINUTES = 24 * 60
_AHEAD_DAYS = 16
"""A weekly window that a change of clocks skips opens in the week after."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window, read from its text."""

    text: str
    days: frozenset[int]
    """On which it begins; 0 is Monday."""
    begin_minute: int
    """Of the day, 0 to 1439."""
    end_minute: int
    """Of the day, 0 to 1440; not after `begin_minute`: of the next day."""
    zone: tzinfo
    zone_name: str

    def is_open(self, wall_s: float) -> bool:
        """Say whether it is open at a second since the epoch."""
        local = datetime.fromtimestamp(wall_s, self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.begin_minute < self.end_minute:
            return today in self.days and self.begin_minute <= minute < self.end_minute
        begun_today = today in self.days and minute >= self.begin_minute
        return begun_today or (yesterday in self.days and minute < self.end_minute)

    def opens_at(self, wall_s: float) -> float | None:
        """Return when it opens next after `wall_s`, in seconds since the epoch; None: not in 16 days."""
        today = datetime.fromtimestamp(wall_s, self.zone).date()
        for ahead in range(_AHEAD_DAYS + 1):
            for at_s in self._candidates(today + timedelta(days=ahead)):
                if at_s > wall_s and self.is_open(at_s) and not self.is_open(at_s - 60):
                    return at_s
        return None

    def _candidates(self, day: date) -> Iterator[float]:
        """Yield the moments of a local day at which it may open, in order."""
        begin_s, end_s = self._epoch_s(day, 0), self._epoch_s(day + timedelta(days=1), 0)
        if end_s - begin_s == _DAY_MINUTES * 60:
            yield self._epoch_s(day, self.begin_minute)
        else:
            # Clocks change on this day: its begin may be skipped or come twice, and it may open after a gap.
            yield from (begin_s + 60 * minute for minute in range(int(end_s - begin_s) // 60))

    def _epoch_s(self, day: date, minute: int) -> float:
        return datetime.combine(day, time(minute // 60, minute % 60), self.zone).timestamp()


def parse_window(text: str) -> Window:
    """Read a window.

    Raises:
        ValueError: what is wrong with it. `EXAMPLE` is one that is right.
    """
    found = _WINDOW.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError("a change window is days, begin-end and a time zone")
    begin, end = _minute(found["begin"], last=_DAY_MINUTES - 1), _minute(found["end"], last=_DAY_MINUTES)
    if begin == end:
        raise ValueError(f"the window {found['begin']}-{found['end']} is empty; all day is 00:00-24:00")
    return Window(text, _days(found["days"]), begin, end, _zone(found["zone"]), found["zone"])


def next_opening(windows: Iterable[Window], wall_s: float) -> tuple[Window, float] | None:
    """Return the window that opens next after `wall_s`, and when; None when none does within 16 days."""
    openings = [(at_s, window) for window in windows if (at_s := window.opens_at(wall_s)) is not None]
    if not openings:
        return None
    at_s, window = min(openings, key=lambda opening: opening[0])
    return window, at_s


def opening_words(window: Window, at_s: float) -> str:
    """Say when a window opens, in its own zone and in UTC."""
    local = datetime.fromtimestamp(at_s, window.zone)
    utc = datetime.fromtimestamp(at_s, UTC)
    # Not %a: that is in the language of the locale.
    local_text = f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M} {window.zone_name}"
    return local_text if window.zone is UTC else f"{local_text} ({DAYS[utc.weekday()]} {utc:%H:%M} UTC)"


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # Also where the machine has no time zones (Debian's package tzdata).
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in available_timezones()}
    if not known:
        raise ValueError(f"this machine has no time zones, so {name} is not known; install tzdata or use UTC")
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.8)
    hint = f"did you mean {known[near[0]]}?" if near else "zones are named as Europe/Berlin, and UTC"
    raise ValueError(f"this machine knows no time zone {name}; {hint}")


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
