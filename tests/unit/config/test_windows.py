"""Change windows against a model that walks from minute to minute, clock changes included."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.windows import DAYS, EXAMPLE, next_opening, opening_words, parse_window


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-20T21:59", False),  # a Friday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-20T22:00", True),
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T04:59", True),  # begun on Friday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T05:00", False),
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T22:00", False),  # a Saturday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-23T04:00", False),  # Sunday's night is not Monday's
        ("Sun 22:00-05:00 UTC", "2026-11-23T04:00", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-22T23:59", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-23T00:00", False),
        ("Fri-Mon 10:00-11:00 UTC", "2026-11-22T10:30", True),
        ("Fri-Mon 10:00-11:00 UTC", "2026-11-24T10:30", False),
        ("Mon,Wed-Thu,Sat 10:00-11:00 UTC", "2026-11-19T10:30", True),
        ("Mon,Wed-Thu,Sat 10:00-11:00 UTC", "2026-11-20T10:30", False),
        ("fri 10:00-11:00 Europe/Berlin", "2026-11-20T09:30", True),
        ("fri 10:00-11:00 Europe/Berlin", "2026-11-20T10:30", False),
        ("  Mon   20:00-00:00  UTC ", "2026-11-23T23:59", True),
        ("Mon 20:00-00:00 UTC", "2026-11-24T00:00", False),
    ],
)
def test_when_a_window_is_open(text: str, moment: str, is_open: bool) -> None:
    assert parse_window(text).is_open(at(moment)) is is_open


def test_the_hour_that_comes_twice_is_open_both_times() -> None:
    window = parse_window("Sun 02:00-03:00 Europe/Berlin")
    # On 2026-10-25 clocks go from 03:00 back to 02:00: 00:30 and 01:30 UTC are both 02:30 there.
    assert window.is_open(at("2026-10-25T00:30"))
    assert window.is_open(at("2026-10-25T01:30"))
    assert not window.is_open(at("2026-10-25T02:30"))


@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        ("Mon 09:00-10:00 UTC", "2026-11-21T10:00", "2026-11-23T09:00"),
        ("Mon 09:00-10:00 UTC", "2026-11-23T09:00", "2026-11-30T09:00"),
        ("Mon 22:00-05:00 Europe/Berlin", "2026-11-21T10:00", "2026-11-23T21:00"),
        # On 2026-03-29 the hour from 02:00 is skipped: this Sunday it does not open at all ...
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-22T12:00", "2026-04-05T00:00"),
        # ... or at the moment the clock jumps into it.
        ("Sun 02:30-03:30 Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:00"),
        # On 2026-10-25 02:15 comes twice.
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T00:00", "2026-10-25T00:15"),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T00:50", "2026-10-25T01:15"),
        # In Havana clocks jump at midnight: the day begins at 01:00.
        ("Sun 00:00-02:00 America/Havana", "2026-03-07T12:00", "2026-03-08T05:00"),
    ],
)
def test_when_a_window_opens_next(text: str, now: str, opens: str) -> None:
    window = parse_window(text)
    assert next_opening([window], at(now)) == (window, at(opens))


def test_the_first_of_several_windows_is_told_in_its_zone_and_in_utc() -> None:
    windows = [parse_window(f"{text} 22:00-05:00 Asia/Kolkata") for text in ("Wed", "Tue", "Thu")]
    opening = next_opening(windows, at("2026-11-21T10:00"))
    assert opening is not None
    assert opening[0] is windows[1]
    assert opening_words(*opening) == "Tue 2026-11-24 22:00 Asia/Kolkata (Tue 16:30 UTC)"
    assert next_opening([], at("2026-11-21T10:00")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is days, begin-end and a time zone"),
        ("Mon 22-05 UTC", "is days, begin-end and a time zone"),
        ("Mon 9:00-10:00 UTC", "is days, begin-end and a time zone"),
        ("Mon 22:00-05:00", "is days, begin-end and a time zone"),
        ("Mon 22:00 - 05:00 UTC", "is days, begin-end and a time zone"),
        ("Mon ٢٢:00-05:00 UTC", "is days, begin-end and a time zone"),
        ("Mondy 22:00-05:00 UTC", "Mondy is no day"),
        ("Mon, 22:00-05:00 UTC", "nothing is no day"),
        ("Mon- 22:00-05:00 UTC", "nothing is no day"),
        ("Mon-Tue-Wed 22:00-05:00 UTC", "Tue-Wed is no day"),
        ("Mon 25:00-26:00 UTC", "25:00 is no time of day"),
        ("Mon 22:60-23:00 UTC", "22:60 is no time of day"),
        ("Mon 22:00-24:01 UTC", "24:01 is no time of day"),
        ("Mon 24:00-05:00 UTC", "24:00 is no time of day"),
        ("Mon 05:00-05:00 UTC", "is empty; all day is 00:00-24:00"),
        ("Mon 00:00-00:00 UTC", "is empty; all day is 00:00-24:00"),
        ("Mon 22:00-05:00 Europe/Berlim", r"no time zone Europe/Berlim; did you mean Europe/Berlin\?"),
        ("Mon 22:00-05:00 utc", r"no time zone utc; did you mean UTC\?"),
        ("Mon 22:00-05:00 Europe", "no time zone Europe; zones are named as Europe/Berlin"),
        ("Mon 22:00-05:00 ../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_window_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_window(text)


@pytest.fixture
def no_time_zones() -> Iterator[None]:
    """A machine without tzdata."""
    ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(to=[])
    yield
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()


def test_on_a_machine_without_time_zones_utc_works_and_others_say_why(no_time_zones: None) -> None:
    assert parse_window("Mon 22:00-05:00 UTC").is_open(at_utc(2026, 11, 23, 22))
    with pytest.raises(
        ValueError, match="no time zones, so Europe/Berlin is not known; install tzdata or use UTC"
    ):
        parse_window(EXAMPLE)


def at_utc(*parts: int) -> float:
    year, month, day, hour = parts
    return datetime(year, month, day, hour, tzinfo=UTC).timestamp()


WALK_DAYS = 17
"""What `next_opening` looks ahead, and a day."""
_MINUTES_A_DAY = 1440
_CHANGES = {
    "UTC": ["2026-06-01"],
    "Asia/Kolkata": ["2026-06-01"],
    "Europe/Berlin": ["2026-03-28", "2026-10-24", "2026-10-18"],
    "America/New_York": ["2026-03-07", "2026-11-01", "2026-12-28"],
    "America/Havana": ["2026-03-07", "2026-10-31"],  # at midnight
    "Australia/Lord_Howe": ["2026-04-04", "2026-10-03"],  # by half an hour
}


@lru_cache
def walk(zone: str, start: str) -> list[tuple[float, int]]:
    """Every minute from a day on, and what the wall clock shows then: minutes since the year 1."""
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    shown = []
    for minute in range(WALK_DAYS * _MINUTES_A_DAY):
        moment = first + timedelta(minutes=minute)
        local = moment.astimezone(ZoneInfo(zone))
        of_day = local.hour * 60 + local.minute
        shown.append((moment.timestamp(), local.toordinal() * _MINUTES_A_DAY + of_day))
    return shown


def shown_while_open(days: set[int], begin: int, end: int, start: str) -> set[int]:
    """What wall clocks show while a window is open, by the calendar alone."""
    first = date.fromisoformat(start).toordinal() - 3
    length = (end - begin) % _MINUTES_A_DAY or _MINUTES_A_DAY
    return {
        ordinal * _MINUTES_A_DAY + minute
        for ordinal in range(first, first + WALK_DAYS + 6)
        if date.fromordinal(ordinal).weekday() in days
        for minute in range(begin, begin + length)
    }


_times = st.one_of(st.integers(0, 1439), st.sampled_from([0, 30, 60, 90, 119, 120, 121, 150, 180, 1410]))


@settings(max_examples=60, deadline=None)
@given(
    days=st.one_of(st.sets(st.integers(0, 6), min_size=1), st.just({6})),
    begin=_times,
    end=st.one_of(_times, st.just(1440)),
    place=st.sampled_from([(zone, start) for zone, starts in _CHANGES.items() for start in starts]),
    now=st.integers(0, 3 * _MINUTES_A_DAY - 1),
)
def test_a_window_is_what_a_walk_from_minute_to_minute_says(
    days: set[int], begin: int, end: int, place: tuple[str, str], now: int
) -> None:
    if begin == end or (begin, end) == (0, 0):
        return
    zone, start = place
    listed = ",".join(DAYS[day] for day in sorted(days))
    text = f"{listed} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {zone}"
    window = parse_window(text)
    showing = shown_while_open(days, begin, end, start)
    walked = [(at_s, shown in showing) for at_s, shown in walk(zone, start)]
    wrong = [at_s for at_s, is_open in walked if window.is_open(at_s) is not is_open]
    assert not wrong, (text, datetime.fromtimestamp(wrong[0], UTC))
    opened = [
        at_s
        for (_, before), (at_s, is_open) in zip(walked[now:], walked[now + 1 :], strict=False)
        if is_open and not before
    ]
    opening = next_opening([window], walked[now][0])
    if opened:
        assert opening == (window, opened[0]), text
    else:
        assert days == set(range(7)), "only a window that is always open opens never again"
