"""Which method a restart of one pooler takes, and why: pure.

Facts: pgbouncer-admin.md, 3 (signals, `-R`, rolling restart) and 6 (traps T10, T14, T16, T17).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from console.model.version import Version
from console.operations.process.supervision import Kind
from console.operations.spec import Parameters

WAITS_FOR_CLIENTS = Version(1, 23)
TAKES_OVER_UNTIL = Version(1, 26)
TAKEOVER_DEPRECATED = Version(1, 20)
PREPARED_BY_DEFAULT = Version(1, 21)
CAN_KILL_CLIENTS = Version(1, 24)
REFUSES_LOGINS_UNDER_WAY = Version(1, 25)
"""Since then who is in the middle of a login when it begins to shut down is told so (seen on 1.26)."""


class Method(StrEnum):
    """How a pooler is restarted; as typed."""

    AUTO = "auto"
    ROLLING = "rolling"
    TAKEOVER = "takeover"
    DRAIN = "drain"
    PLAIN = "plain"


class Stragglers(StrEnum):
    """What becomes of clients that have not left at the deadline; as typed."""

    WAIT = "wait"
    KILL_IDLE = "kill-idle"
    GIVE_UP = "give-up"
    ASK = "ask"
    """Whoever watches the run is asked then; nobody answers: give up."""


class RestartParameters(Parameters):
    """`timeout_s`: how long clients (rolling) or their transactions (drain) are waited for."""

    method: Method = Method.AUTO
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    start_timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    """For the process's end once nothing keeps it, and as long again until the new one serves."""
    stragglers: Stragglers = Stragglers.GIVE_UP
    expect_version: Annotated[str, Field(pattern=r"^(\d+\.\d+(\.\d+)?)?$")] = ""
    """What the new process must be, e.g. `1.26`; "": what the next start takes."""
    max_cpu_percent: Annotated[float, Field(gt=0, le=100)] = 80.0
    """Of one core; a peer above it cannot take more clients."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a choice rests on."""

    version: Version
    next_version: Version | None
    """Of the executable that the next start takes; None: not known."""
    kind: Kind | None
    """Of its supervision; None: nobody knows how it is started."""
    paused: bool
    """It, or one of its databases."""
    peers: Mapping[str, bool]
    """The other members of its peer group, and whether each serves."""
    session_servers: int
    """Server connections that clients of session pools hold: PAUSE would wait for them."""
    tls: int | None = None
    """Connections with TLS; None: not read."""
    prepared: int | None = None
    """Clients with prepared statements; None: not read, or the version has none."""
    has_socket: bool = True
    """It listens on a Unix socket in a folder, by which a new process can take over."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The method for one target."""

    method: Method
    because: str
    refused: str | None = None
    """Why it cannot work; None: it can."""


def choose(wanted: Method, situation: Situation) -> Choice:
    """Return the method for `wanted`, the first that fits when that is `auto`, gentlest first."""
    if wanted is not Method.AUTO:
        return Choice(wanted, "asked for", _CANNOT[wanted](situation))
    if situation.paused and situation.kind is not Kind.SWARM:
        return Choice(Method.PLAIN, "", f"it is paused: resume it first, or --method {Method.PLAIN} cuts all")
    reasons: list[str] = []
    for method in (Method.ROLLING, Method.TAKEOVER, Method.DRAIN):
        why_not = _CANNOT[method](situation) or _NOT_BY_ITSELF[method](situation)
        if why_not is None:
            return Choice(method, "; ".join([_GOOD[method], *reasons]))
        reasons.append(f"not {method}: {why_not}")
    return Choice(Method.PLAIN, "; ".join(["the last resort", *reasons]), _CANNOT[Method.PLAIN](situation))


def _no_rolling(at: Situation) -> str | None:
    if at.kind is Kind.SWARM:
        return "Swarm replaces the tasks itself"
    if at.version < WAITS_FOR_CLIENTS:
        return f"{at.version} cannot wait for its clients (1.23 can)"
    if at.paused:
        return "it is paused, and a pooler that shuts down cannot be resumed (trap T14)"
    if not at.peers:
        return "it has no peer_group in the inventory: nobody takes its new clients"
    if not any(at.peers.values()):
        return f"none of its peers serves: {', '.join(at.peers)}"
    return None


def _no_takeover(at: Situation) -> str | None:
    if at.kind is not Kind.COMMAND:
        return "nobody says how it is started" if at.kind is None else f"{at.kind} would see its process end"
    if at.version >= TAKES_OVER_UNTIL:
        return f"{at.version} has no -R (up to 1.25)"
    if at.next_version is not None and at.next_version >= TAKES_OVER_UNTIL:
        return f"the next start takes {at.next_version}, which has no -R (up to 1.25)"
    if at.paused:
        return "-R is refused while anything is paused"
    if not at.has_socket:
        return "-R needs a Unix socket in a folder (unix_socket_dir)"
    if at.tls:
        return f"{at.tls} connections use TLS, and -R drops those"
    return None


def _no_drain(at: Situation) -> str | None:
    if at.kind is Kind.SWARM:
        return "Swarm replaces the tasks itself"
    return "it is paused already, by somebody else" if at.paused else None


def _no_plain(_: Situation) -> str | None:
    return None


def _takeover_loses(at: Situation) -> str | None:
    return f"{at.prepared} clients have prepared statements, which -R loses" if at.prepared else None


def _drain_hangs(at: Situation) -> str | None:
    held = at.session_servers
    return f"clients of session pools hold {held} server connections until they leave" if held else None


_Check = Callable[[Situation], str | None]
_CANNOT: Mapping[Method, _Check] = {
    Method.ROLLING: _no_rolling,
    Method.TAKEOVER: _no_takeover,
    Method.DRAIN: _no_drain,
    Method.PLAIN: _no_plain,
}
_NOT_BY_ITSELF: Mapping[Method, _Check] = {
    Method.ROLLING: _no_plain,
    Method.TAKEOVER: _takeover_loses,
    Method.DRAIN: _drain_hangs,
}
"""Why `auto` does not take a method that could be asked for."""
_GOOD = {
    Method.ROLLING: "its peers take its new clients, and nobody is cut",
    Method.TAKEOVER: "a new process takes the open connections over",
    Method.DRAIN: "open transactions end first",
}


def version_fits(version: Version, wanted: str) -> bool:
    """Say whether a version is the one that was asked for; `1.26` means any 1.26.

    >>> version_fits(Version(1, 26, 1), "1.26"), version_fits(Version(1, 26, 1), "1.26.2")
    (True, False)
    """
    asked = Version.parse(wanted)
    if asked is None:
        return not wanted
    exact = wanted.count(".") == 2
    return version == asked if exact else (version.major, version.minor) == (asked.major, asked.minor)
