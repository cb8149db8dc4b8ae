"""What can be done as far as a rotation with two roles came, and that its file says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from console.errors import JournalError
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.two_roles import Half, half_of, why_not_now
from console.operations.rotate.two_roles_file import Hashes, NodeBefore, Phase, TwoRolesFiles, TwoRolesState

STATE = TwoRolesState(
    run_id="0123456789abcdef",
    fleet="shop",
    role="web",
    to="web_b",
    selector="all",
    begun_at_s=1.0,
    verifier="SCRAM-SHA-256$1:x$y:z",
    nodes={"pg": NodeBefore(existed=False, could_log_in=False, stored="", granted=("web",))},
    files={"edge-1": {"/etc/users": Hashes("a", "b")}, "edge-2": {}},
)
ASKED = RotateParameters(role="web", to="web_b")


@pytest.mark.parametrize(
    ("phase", "may"),
    [
        (Phase.PREPARED, {Half.RESUMED, Half.UNDO}),
        (Phase.ROLE, {Half.RESUMED, Half.UNDO}),
        (Phase.POOLERS, {Half.RESUMED, Half.UNDO}),
        (Phase.BOTH, {Half.FINISH, Half.UNDO}),
        (Phase.CLOSING, {Half.FINISH, Half.UNDO}),
        (Phase.UNDOING, {Half.UNDO}),
    ],
)
def test_what_goes_on_with_an_open_rotation(phase: Phase, may: set[Half]) -> None:
    for half in Half:
        problem = why_not_now(half, STATE.at(phase), ASKED)
        assert (problem is None) == (half in may)
        assert problem is None or "pooldeck rotate web --to web_b --on all --undo" in problem


def test_without_an_open_one_it_can_only_begin() -> None:
    assert [half for half in Half if why_not_now(half, None, ASKED) is None] == [Half.FIRST]


def test_one_of_another_pair_is_in_the_way() -> None:
    for half in Half:
        other = RotateParameters(role="web_b", to="web")
        assert "from web to web_b is open" in (why_not_now(half, STATE.at(Phase.BOTH), other) or "")


def test_its_file_is_read_back_and_tells_which_roles_it_touches(tmp_path: Path) -> None:
    files = TwoRolesFiles(tmp_path)
    files.write(STATE.at(Phase.BOTH))
    assert files.path(STATE.run_id).stat().st_mode & 0o777 == 0o600
    for roles in (("web",), ("web_b",), ("x", "web")):
        assert files.touching("shop", *roles) == STATE.at(Phase.BOTH)
    assert files.touching("shop", "other") is None
    assert files.touching("other", "web") is None
    files.path("f" * 16).write_text("{}")
    with pytest.raises(JournalError, match="cannot be read"):
        files.touching("shop", "web")
    files.path("f" * 16).unlink()
    files.remove(STATE.run_id)
    assert files.touching("shop", "web") is None


def test_flags_that_exclude_one_another() -> None:
    assert half_of(RotateParameters(role="web", to="web_b", finish=True)) is Half.FINISH
    for wrong in ({"finish": True}, {"to": "b", "finish": True, "undo": True}):
        with pytest.raises(ValidationError):
            RotateParameters(role="web", **wrong)
