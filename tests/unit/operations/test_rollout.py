"""Waves and shares: every target exactly once, no wave too large, no two members of a group together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import UsageError
from console.operations.rollout import Rollout, Share, parse_serial, parse_share, waves


@pytest.mark.parametrize(
    ("text", "total", "sizes"),
    [
        ("1,25%,100%", 20, [1, 5, 14]),
        ("1,25%,100%", 1, [1]),
        ("1,25%,100%", 3, [1, 1, 1]),
        ("3", 8, [3, 3, 2]),
        ("50%", 5, [2, 2, 1]),
        ("100%", 4, [4]),
    ],
)
def test_waves_have_the_sizes_that_were_asked_for(text: str, total: int, sizes: list[int]) -> None:
    made = waves(range(total), Rollout(parse_serial(text)), lambda _: None)
    assert [len(wave) for wave in made] == sizes


@pytest.mark.parametrize("text", ["", "0", "0%", "1,,2", "1.5", "-1", "101%", "many", "1;2"])
def test_what_is_no_wave_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_serial(text)
    assert caught.value.where == "--serial"


def test_a_percentage_of_failures_is_of_the_whole_run_and_rounded_down() -> None:
    assert parse_share("10%", where="--max-failed").of(25) == 2
    assert parse_share("3", where="--max-failed") == Share(3)


def test_two_databases_of_one_member_go_together_and_two_members_do_not() -> None:
    targets = ["a1/x", "a1/y", "a2/x", "b1/x"]
    made = waves(
        targets,
        Rollout((Share(100, is_percent=True),)),
        lambda target: (target[0], target[:2]) if target[0] == "a" else None,
    )
    assert made == (("a1/x", "a1/y", "b1/x"), ("a2/x",))


@given(
    groups=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30),
    serial=st.lists(st.tuples(st.integers(1, 100), st.booleans()), min_size=1, max_size=4),
    at_most=st.one_of(st.none(), st.integers(1, 10)),
)
def test_every_target_is_in_exactly_one_wave(
    groups: list[str | None], serial: list[tuple[int, bool]], at_most: int | None
) -> None:
    rollout = Rollout(tuple(Share(number, percent) for number, percent in serial), max_unavailable=at_most)
    targets = list(enumerate(groups))
    made = waves(targets, rollout, lambda target: (target[1], target[0]) if target[1] else None)
    assert sorted(target[0] for wave in made for target in wave) == list(range(len(groups)))
    for number, wave in enumerate(made):
        size = rollout.serial[min(number, len(serial) - 1)].of(len(targets))
        assert 1 <= len(wave) <= max(1, size)
        assert at_most is None or len(wave) <= at_most
        members = [group for _, group in wave if group is not None]
        assert len(members) == len(set(members)), "one member of a group at a time"
