"""PAUSE as a declaration: how a target stands before it, what is sent, how long clients can be held.

`pausing` carries it out on one target, `held` on all of a run. Source of the rules: pgbouncer-admin.md,
sections 2 and 6.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from console.operations.observe import Observation
from console.operations.spec import Ask, Parameters, Standing, state_words
from console.operations.step import plural
from console.operations.target import Target
from console.operations.whose import owner_of

PATIENCE_SETTINGS = ("query_wait_timeout", "query_timeout", "client_login_timeout")
"""What cuts a client that waits, be it for a server or in its login (trap T11)."""
PATIENCE_MARGIN_S = 5.0
"""A pause must be over so long before the first client is cut."""


class PauseParameters(Parameters):
    """`timeout_s` is for draining; the hold comes on top."""

    hold_s: Annotated[float, Field(ge=0, le=3600, description="Seconds to hold.")] = 30.0
    detach: bool = False


def pause_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what PAUSE sends when all goes well."""
    return (ask.dialect.pause(ask.target.database),)


def patience_s(observation: Observation) -> tuple[str, float] | None:
    """Return the setting that cuts waiting clients first, and after how many seconds; None: none does."""
    limits = [(key, observation.seconds(key)) for key in PATIENCE_SETTINGS]
    known = [(key, value) for key, value in limits if value]
    return min(known, key=lambda item: item[1]) if known else None


def pause_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a PAUSE."""
    target, observation, parameters = ask.target, ask.seen, ask.parameters
    present = state_words(target, observation)
    blocked = None
    if observation.state.suspended:
        blocked = "the pooler is suspended; PAUSE is refused until it is resumed"
    elif target.database is not None and observation.state.paused:
        blocked = (
            "the whole pooler is paused, and this database with it; its own PAUSE is refused meanwhile; "
            f"{owner_of(ask).words}"
        )
    elif ask.found is not None and ask.found.closed_at is not None:
        blocked = (
            f"it shuts down: its console answers over its Unix socket, but nothing listens on "
            f"{ask.found.closed_at} any more, and a pooler that shuts down refuses RESUME"
        )
    elif target.database is None and observation.state.paused is None:
        blocked = "whether it is paused could not be read: this version needs an admin login for that"
    too_long = _too_long(observation, parameters)
    if blocked is None and not ask.long_pause_allowed:
        blocked = too_long
    if blocked is None and ask.max_pause_s is not None and parameters.hold_s > ask.max_pause_s:
        blocked = f"--for {parameters.hold_s:g}s is longer than the policy's max_pause_s, {ask.max_pause_s:g}"
    already = bool(observation.paused(target)) and blocked is None
    warnings = [] if already else list(_warnings(target, observation))
    if too_long is not None and blocked is None:
        warnings.append(f"{too_long}; the policy allows it")
    if already:
        warnings.append(f"{owner_of(ask).words}: it is left as it is, and not resumed by this run")
    if already and observation.servers(target):
        warnings.append("it is not drained yet; it will be waited for")
    return Standing(present, already=already, blocked=blocked, warnings=tuple(warnings))


def _too_long(observation: Observation, parameters: PauseParameters) -> str | None:
    """Say why clients would be cut before it is over; None when they would not."""
    patience = patience_s(observation)
    if patience is None:
        return None
    key, limit_s = patience
    longest_s = parameters.timeout_s + parameters.hold_s
    if longest_s <= limit_s - PATIENCE_MARGIN_S:
        return None
    most_s = limit_s - PATIENCE_MARGIN_S - parameters.timeout_s
    advice = (
        f"at most --for {most_s:g}s with --timeout {parameters.timeout_s:g}"
        if most_s >= 0
        else f"--timeout must be shorter than {limit_s - PATIENCE_MARGIN_S:g}"
    )
    return (
        f"clients could wait {longest_s:g} s (--timeout {parameters.timeout_s:g} and --for "
        f"{parameters.hold_s:g}), but {key} cuts them after {limit_s:g} s: {advice}"
    )


def _warnings(target: Target, observation: Observation) -> list[str]:
    warnings = []
    for pool in observation.pools_of(target):
        if pool.pool_mode == "session" and pool.sv_active:
            warnings.append(
                f"pool {pool.database}/{pool.user} is in session mode: PAUSE cannot finish while its "
                f"{plural(pool.sv_active, 'linked client')} stay connected"
            )
    if target.database is not None:
        if not observation.pools_of(target):
            warnings.append(
                "nobody has used this database since the pooler started; if it is an automatic one (*), "
                "it can vanish from the list while paused"
            )
        others = [name for name in observation.paused_databases if name != target.database]
        if others:
            warnings.append(
                f"PAUSE answers only when every paused database is drained; paused too: {', '.join(others)}"
            )
    if observation.seconds("query_wait_timeout") == 0:
        warnings.append("query_wait_timeout is 0: clients wait for ever, until they give up themselves")
    return warnings
