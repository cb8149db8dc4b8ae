"""Change windows against a model that walks from minute to minute, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.config.load import load_inventory
from console.config.windows import DAYS, next_opening, parse_window
from console.errors import InventoryError


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-20T22:00", True),  # a Friday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T04:59", True),  # begun on Friday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T05:00", False),
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-21T22:00", False),  # a Saturday
        ("Mon-Fri 22:00-05:00 UTC", "2026-11-23T04:00", False),  # Sunday's night is not Monday's
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-22T23:59", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-23T00:00", False),
        ("Fri-Mon 10:00-11:00 UTC", "2026-11-22T10:30", True),
        ("Fri-Mon 10:00-11:00 UTC", "2026-11-24T10:30", False),
        ("fri 10:00-11:00 Europe/Berlin", "2026-11-20T09:30", True),
        ("Mon 20:00-00:00 UTC", "2026-11-23T23:59", True),
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
    ("text", "words"),
    [
        ("", "is written as"),
        ("Mon 22-05 UTC", "is written as"),
        ("Mon 22:00-05:00", "is written as"),
        ("Mon 22:00 - 05:00 UTC", "is written as"),
        ("Mondy 22:00-05:00 UTC", "Mondy is no day"),
        ("Mon, 22:00-05:00 UTC", "nothing is no day"),
        ("Mon 25:00-26:00 UTC", "25:00 is no time of day"),
        ("Mon 22:60-23:00 UTC", "22:60 is no time of day"),
        ("Mon 24:00-05:00 UTC", "24:00 is no time of day"),
        ("Mon 05:00-05:00 UTC", "is empty"),
        ("Mon 22:00-05:00 Europe/Berlim", "no time zone Europe/Berlim"),
        ("Mon 22:00-05:00 ../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_window_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_window(text)


def test_a_wrong_window_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(
        'fleet = "f"\nenvironment = "staging"\n[[bouncers]]\nname = "b"\ntcp = "127.0.0.1:6432"\n'
        'monitor_user = "m"\n[policy.staging]\nwindows = ["Mon 22:00-05:00 UTC", "Mon 9-5 UTC"]\n'
        'forbit = ["kill"]\n'
    )
    with pytest.raises(InventoryError) as caught:
        load_inventory(path)
    texts = [str(problem) for problem in caught.value.problems]
    assert len(texts) == 2, texts
    assert "fleet.toml:8: policy.staging.windows" in texts[0]
    assert "Mon-Fri 22:00-05:00 Europe/Berlin" in texts[0]
    assert "fleet.toml:9: policy.staging.forbit" in texts[1]
    assert "forbid" in texts[1]


@given(
    days=st.sets(st.integers(0, 6), min_size=1),
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    start=st.sampled_from(["2026-03-27T00:00", "2026-10-23T00:00", "2026-11-01T00:00", "2026-06-01T12:34"]),
    minutes=st.integers(0, 7 * 1440),
)
def test_a_window_is_what_a_walk_over_the_wall_clock_says(
    days: set[int], begin: int, end: int, zone: str, start: str, minutes: int
) -> None:
    if begin == end:
        return
    listed = ",".join(DAYS[day] for day in sorted(days))
    text = f"{listed} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {zone}"
    window = parse_window(text)
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC) + timedelta(minutes=minutes)
    local = moment.astimezone(ZoneInfo(zone))
    inside = False
    for back in (0, 1):
        day = (local - timedelta(days=back)).weekday() if back == 0 else (local.weekday() - 1) % 7
        minute = local.hour * 60 + local.minute + back * 1440
        last = end if end > begin else end + 1440
        inside = inside or (day in days and begin <= minute < last)
    assert window.is_open(moment.timestamp()) is inside
    opening = next_opening([window], moment.timestamp())
    assert opening is not None, "every window opens within a week"
    assert window.is_open(opening[1])
    assert opening[1] > moment.timestamp()
