"""A pooler that answers, as START sees it: there is nothing to start, unless that is not it, or it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.errors import AdminError, NodeError
from console.model.version import Version
from console.operations.observe import Observation
from console.operations.outcome import NOTHING, SHUTTING_DOWN
from console.operations.spec import Ask, Look, Standing, state_words

ANSWERS_WHILE_ENDING = Version(1, 25)
"""Since then a Unix console is let in while the process shuts down."""


@dataclass(frozen=True, slots=True)
class Running:
    """What was found besides the observation. Implements `console.operations.spec.Found`."""

    problem: str | None = None
    """Why it does not count as running; None: it does."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Nothing is sent to one that runs, so a permit needs none."""
        return NOTHING


async def look_at_running(look: Look) -> Running:
    """See whether what answers is the pooler, and takes clients."""
    bouncer, seen = look.node, look.observation
    assert isinstance(bouncer, Bouncer), "only poolers are started"
    answers = seen.config.get("pidfile")
    wanted = bouncer.process.pid_file if bouncer.process is not None else None
    if wanted is not None and answers is not None and answers.value and answers.value != str(wanted):
        return Running(
            f"another process answers at its address (its pid file is {answers.value}, not {wanted}): give "
            "each process an address or Unix socket of its own in the inventory"
        )
    if seen.version < ANSWERS_WHILE_ENDING or seen.state.paused or seen.state.suspended:
        return Running()
    try:
        await look.reach.connector.probe(bouncer.name)
    except (NodeError, AdminError) as error:
        if SHUTTING_DOWN in error.message:
            return Running(
                "it shuts down and takes no client any more, which nobody can revoke: start it once it has "
                f"ended (pooldeck process {bouncer.name})"
            )
    return Running()


def running_standing(ask: Ask[Observation]) -> Standing:
    """Return how one that answers stands before a START."""
    found: Running = ask.found
    return Standing(
        state_words(ask.target, ask.seen), already=found.problem is None, blocked=found.problem, clients=0
    )


def no_statements(_: Ask[Observation]) -> tuple[str, ...]:
    """Return what is sent to one that answers."""
    return ()
