"""Who else serves when targets are taken out: the checks on peer groups and label groups. Pure.

A member is healthy when it answered and is not paused, suspended or a target itself. Cancel requests find
their way between peers by a number in them whose form changed with 1.21 (trap T22).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.model.version import Version
from console.operations.spec import Absence

CANCEL_CHANGED = Version(1, 21)
ALL_TARGETS = "all are targets"


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """What the targets together mean for their groups."""

    warnings: tuple[str, ...] = ()
    blocked: str | None = None


def peers_of(names: Collection[str], bouncers: Collection[Bouncer]) -> tuple[str, ...]:
    """Return the bouncers that are no target and share a peer group or a label with one."""
    targets = [bouncer for bouncer in bouncers if bouncer.name in names]
    groups = {bouncer.peer_group for bouncer in targets if bouncer.peer_group}
    labels = {pair for bouncer in targets for pair in bouncer.labels.items()}
    return tuple(
        bouncer.name
        for bouncer in bouncers
        if bouncer.name not in names
        and (bouncer.peer_group in groups or not labels.isdisjoint(bouncer.labels.items()))
    )


def check_groups(
    names: Collection[str],
    bouncers: Collection[Bouncer],
    healthy: Mapping[str, bool],
    absence: Absence,
    *,
    allow_last: bool,
) -> GroupCheck:
    """Say whether a group would be left without a healthy member.

    Args:
        names: the bouncers that are taken out.
        bouncers: the inventory's.
        healthy: of `peers_of`, by name; one that is missing counts as not healthy.
        absence: what the verb does to its targets.
        allow_last: taking the last one is wanted.
    """
    if absence is Absence.NONE:
        return GroupCheck()
    found = list(_emptied(names, bouncers, healthy))
    if not found:
        return GroupCheck()
    peers = [text for is_peer_group, text in found if is_peer_group]
    if peers and absence is Absence.LASTING and not allow_last:
        return GroupCheck(
            tuple(text for is_peer_group, text in found if not is_peer_group),
            f"{peers[0]}; --allow-last goes on all the same",
        )
    return GroupCheck(tuple(text for _, text in found))


def mixed_peers(versions: Mapping[str, Version], bouncers: Collection[Bouncer]) -> Iterator[str]:
    """Yield a warning for each peer group whose members do not understand each other's cancel requests.

    `versions` is by name, of those that answered.
    """
    groups: dict[str, dict[Version, list[str]]] = {}
    for bouncer in bouncers:
        if bouncer.peer_group is not None and bouncer.name in versions:
            group = groups.setdefault(bouncer.peer_group, {})
            group.setdefault(versions[bouncer.name], []).append(bouncer.name)
    for name, members in groups.items():
        if min(members) < CANCEL_CHANGED <= max(members):
            runs = ", ".join(f"{version} on {', '.join(names)}" for version, names in sorted(members.items()))
            yield (
                f"peer group {name} runs {runs}: a cancel request that meets a peer on the other side of "
                f"{CANCEL_CHANGED.major}.{CANCEL_CHANGED.minor} is lost"
            )


def _emptied(
    names: Collection[str], bouncers: Collection[Bouncer], healthy: Mapping[str, bool]
) -> Iterator[tuple[bool, str]]:
    """Yield (whether they are peer groups, words) for groups of several that nobody healthy is left in.

    Groups that are so for the same reason are told together.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for bouncer in bouncers:
        if bouncer.peer_group:
            groups.setdefault((True, f"peer group {bouncer.peer_group}"), []).append(bouncer.name)
        for key, value in bouncer.labels.items():
            groups.setdefault((False, f"@{key}={value}"), []).append(bouncer.name)
    found: dict[tuple[bool, str], list[str]] = {}
    for (is_peer_group, title), members in groups.items():
        taken = [name for name in members if name in names]
        left = [name for name in members if name not in names]
        if not taken or len(members) < 2 or any(healthy.get(name) for name in left):
            continue
        why = f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} not healthy" if left else ALL_TARGETS
        found.setdefault((is_peer_group, why), []).append(title)
    for (is_peer_group, why), titles in found.items():
        yield is_peer_group, f"no healthy member of {' or '.join(titles)} is left: {why}"
