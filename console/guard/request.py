"""Who asks for an operation, and with what: the circumstances that a policy looks at. A value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """The circumstances of one request."""

    user: str
    """The person: the sudo caller if there is one."""
    wall_s: float
    """Now, in seconds since the epoch, for change windows; the permit office goes by its own clock."""
    reason: str | None = None
    """Why, in the person's words (`--reason`)."""
    plan_maker: str | None = None
    """Who made the plan that is approved with `--approve`; None or empty: no approval."""
