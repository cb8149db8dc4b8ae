"""Who else serves when a bouncer is taken out, and what peers of mixed versions lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.config.schema import Bouncer
from console.guard.verdict import Deny
from console.model.version import Version
from console.operations.groups import check_groups, mixed_peers, peers_of
from console.operations.spec import Absence
from tests.unit.operations.test_many import Fleet


def bouncer(name: str, peer_group: str | None = None, **labels: str) -> Bouncer:
    return Bouncer(name=name, tcp="h:1", peer_group=peer_group, labels=labels)


FLEET = (
    bouncer("a1", "a", zone="x"),
    bouncer("a2", "a", zone="y"),
    bouncer("b1", zone="x"),
    bouncer("lone", "alone"),
)


def test_peers_share_a_group_or_a_label() -> None:
    assert peers_of(["a1"], FLEET) == ("a2", "b1")
    assert peers_of(["a1", "a2"], FLEET) == ("b1",)
    assert peers_of(["lone"], FLEET) == ()


@pytest.mark.trap("T14")
def test_the_last_healthy_member_of_a_peer_group_is_not_shut_down_unless_that_is_wanted() -> None:
    down = {"a2": False, "b1": True}
    found = check_groups(["a1"], FLEET, down, Absence.LASTING, allow_last=False)
    assert found.blocked == (
        "no healthy member of peer group a is left: a2 is not healthy; --allow-last goes on all the same"
    )
    wanted = check_groups(["a1"], FLEET, down, Absence.LASTING, allow_last=True)
    assert wanted.blocked is None
    assert wanted.warnings == ("no healthy member of peer group a is left: a2 is not healthy",)
    whole = check_groups(["a1", "a2"], FLEET, {"b1": True}, Absence.LASTING, allow_last=False)
    assert whole.blocked is not None
    assert "no healthy member of peer group a is left: all are targets" in whole.blocked


def test_groups_that_are_emptied_for_the_same_reason_are_one_warning() -> None:
    found = check_groups(["a1", "a2", "b1"], FLEET, {}, Absence.BRIEF, allow_last=False)
    assert found.warnings == (
        "no healthy member of peer group a is left: all are targets",
        "no healthy member of @zone=x is left: all are targets",
    )
    sides = (bouncer("c1", zone="z", side="left"), bouncer("c2", zone="z", side="left"))
    both = check_groups(["c1", "c2"], sides, {}, Absence.BRIEF, allow_last=False)
    assert both.warnings == ("no healthy member of @zone=z or @side=left is left: all are targets",)


def test_a_group_of_one_and_a_brief_absence_refuse_nothing() -> None:
    assert check_groups(["lone"], FLEET, {}, Absence.LASTING, allow_last=False).blocked is None
    brief = check_groups(["a1"], FLEET, {"a2": False, "b1": True}, Absence.BRIEF, allow_last=False)
    assert (brief.blocked, len(brief.warnings)) == (None, 1)
    healthy = check_groups(["a1"], FLEET, {"a2": True, "b1": True}, Absence.LASTING, allow_last=False)
    assert (healthy.blocked, healthy.warnings) == (None, ())


@pytest.mark.trap("T22")
@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("1.20.1", "1.21.0", True),
        ("1.18.0", "1.26.1", True),
        ("1.21.0", "1.26.1", False),
        ("1.18.0", "1.20.0", False),
    ],
)
def test_peers_on_both_sides_of_1_21_are_told(one: str, other: str, told: bool) -> None:
    found = {"a1": Version.parse(one), "a2": Version.parse(other), "b1": Version.parse("1.18.0")}
    versions = {name: version for name, version in found.items() if version is not None}
    warnings = list(mixed_peers(versions, FLEET))
    if told:
        (text,) = warnings
        assert text.startswith(f"peer group a runs {one} on a1, {other} on a2: ")
    else:
        assert warnings == []


@pytest.mark.trap("T14", "T22")
async def test_a_plan_looks_at_the_peers_of_its_targets(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.poolers["a2"].version = "1.18.0"
    async with fleet.service:
        mixed = await fleet.service.plan("shutdown", "a1", mode="now")
        assert mixed.group_blocked is None
        assert any("peer group a runs 1.18.0 on a2, 1.24.1 on a1" in text for text in mixed.group_warnings)
        fleet.unreachable.add("a2")
        last = await fleet.service.plan("shutdown", "a1", mode="now")
        assert isinstance(fleet.service.judge(last), Deny)
        assert "no healthy member of peer group a is left" in (last.group_blocked or "")
        wanted = await fleet.service.plan("shutdown", "a1", mode="now", allow_last=True)
        assert not isinstance(fleet.service.judge(wanted), Deny)
