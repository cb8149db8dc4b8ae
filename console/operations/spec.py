"""The shape of an operation: one `OpSpec` says all that planning, guarding, running and showing it needs.

Pure declarations; the verbs themselves are in `pause`, `resume` and `reload`, gathered by `registry`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from console.guard.verdict import Tier
from console.operations.observe import Observation
from console.operations.target import Target
from console.operations.verbs import Verb
from console.poolers.base import Capability, Dialect

if TYPE_CHECKING:
    from console.operations.outcome import TargetReceipt
    from console.operations.step import Step


class Parameters(BaseModel):
    """What every verb takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: Annotated[float, Field(gt=0, le=600, description="Seconds the verb may take.")] = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a target stands before a verb."""

    present: str
    """The state as words, e.g. `running`."""
    already: bool = False
    """As wanted: nothing would be sent."""
    blocked: str | None = None
    """Why the verb cannot be carried out as things are."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operation."""

    verb: Verb
    tier: Tier
    parameters: type[Parameters]
    one_database: bool
    """Whether it can act on a single database."""
    effects: Mapping[str, str]
    """What clients feel, by pool mode (`transaction`, `statement`, `session`)."""
    stand: Callable[[Target, Observation, Parameters], Standing]
    statements: Callable[[Dialect, Target, Observation], tuple[str, ...]]
    """Exactly what is sent, in order, when all goes well."""
    rescue: Callable[[Dialect, Target, Observation], tuple[str, ...]] | None
    """What is sent besides when it does not go well; None: nothing more is sent then."""
    carry_out: Callable[[Step], Awaitable[TargetReceipt]]
    verified_by: str
    """What is read back before success is reported."""
    undo: str | None
    """The verb that takes it back; None when `no_undo_reason` says why there is none."""
    no_undo_reason: str | None
    needs: Capability | None = None
    """What a version must be able to do; None: every version can."""

    @property
    def name(self) -> str:
        """The command."""
        return self.verb.name


def state_words(target: Target, observation: Observation) -> str:
    """Return the present state of a target as words."""
    servers = observation.servers(target)
    undrained = f", {servers} server connection{'s' if servers != 1 else ''} not released" if servers else ""
    if observation.state.suspended:
        return "suspended"
    if observation.state.paused:
        return f"paused{undrained}"
    if target.database is not None:
        return f"database paused{undrained}" if observation.paused(target) else "running"
    word = "running" if observation.state.paused is False else "not known to be paused"
    names = observation.paused_databases
    return f"{word}; paused on their own: {', '.join(names)}" if names else word
