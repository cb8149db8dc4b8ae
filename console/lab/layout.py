"""Which bouncers a lab of N has, on which hosts, and how each is reached. Pure: no process, no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from console.errors import UsageError

Access = Literal["ssh-unix", "ssh-tcp", "tls"]
MAX_BOUNCERS = 32
DEFAULT_BOUNCERS = 4
PEER_GROUP = "edge"


@dataclass(frozen=True, slots=True)
class BouncerPlan:
    """One bouncer of the lab.

    Attributes:
        host: the SSH host it is reached through; None: straight from here.
        access: over SSH to its Unix socket, over SSH to its TCP port, or directly over TCP with TLS.
        serves: the Postgres node its databases are on.
        peer_id: its number among the `so_reuseport` peers of its host; None when it stands alone.
    """

    name: str
    host: str | None
    access: Access
    serves: Literal["primary", "replica"]
    zone: Literal["a", "b"]
    peer_id: int | None = None


def layout(count: int) -> tuple[BouncerPlan, ...]:
    """Return the plan for `count` bouncers; a larger lab begins with the bouncers of a smaller one.

    Two peers share the host edge-1; core-1 is reached over SSH to its TCP port; tls-1 directly with TLS,
    and it serves the replica. Every further one has a host of its own, reached in turn by socket and port.

    Raises:
        UsageError: `count` is not between 1 and 32.
    """
    if not 1 <= count <= MAX_BOUNCERS:
        raise UsageError(f"a lab has 1 to {MAX_BOUNCERS} bouncers, not {count}", where="--bouncers")
    first = (
        BouncerPlan("edge-1a", "edge-1", "ssh-unix", "primary", "a", peer_id=1),
        BouncerPlan("edge-1b", "edge-1", "ssh-unix", "primary", "a", peer_id=2),
        BouncerPlan("core-1", "core-1", "ssh-tcp", "primary", "b"),
        BouncerPlan("tls-1", None, "tls", "replica", "b"),
    )
    more = (
        BouncerPlan(
            f"core-{number}",
            f"core-{number}",
            "ssh-tcp" if number % 2 else "ssh-unix",
            "primary",
            "b" if number % 2 else "a",
        )
        for number in range(2, count - len(first) + 2)
    )
    return (*first, *more)[:count]


def hosts_of(plans: tuple[BouncerPlan, ...]) -> tuple[str, ...]:
    """Return the SSH hosts of a plan, each once, in order."""
    return tuple(dict.fromkeys(plan.host for plan in plans if plan.host is not None))
