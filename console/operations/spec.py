"""The shape of an operation: one `OpSpec` says all that planning, guarding, running and showing it needs.

Pure declarations; the verbs themselves are in modules of their own, gathered by `registry`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from console.guard.verdict import Tier
from console.model.claims import Claim
from console.operations.observe import Observation
from console.operations.suspended import Suspended
from console.operations.target import Target
from console.operations.verb import Verb
from console.poolers.base import Capability, Dialect

if TYPE_CHECKING:
    from console.config.schema import Bouncer, Inventory, PostgresNode
    from console.config.selector import Selected
    from console.operations.holding import Held
    from console.operations.job import Job
    from console.operations.outcome import TargetReceipt
    from console.operations.pausing import Ending
    from console.operations.reach import Reach
    from console.operations.sessions import ReadSession
    from console.operations.step import Step

S = TypeVar("S")
"""What is observed: an `Observation` of a pooler, one that is `Suspended`, or what a verb on nodes reads."""


class Parameters(BaseModel):
    """What every verb takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: Annotated[float, Field(gt=0, le=600, description="Seconds the verb may take.")] = 5.0


class Scope(StrEnum):
    """What a verb can act on."""

    POOLER = "a whole bouncer"
    DATABASE = "a database of a bouncer"
    NODE = "a Postgres node"


class Absence(StrEnum):
    """Whether a verb takes its target out of service."""

    NONE = "none"
    BRIEF = "for a while"
    LASTING = "for good"


class Found(Protocol):
    """What a verb's own look found (`OpSpec.look`), e.g. the configuration files that RELOAD would read."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What a permit is bound to besides the observation's facts; no secrets."""
        ...


@dataclass(frozen=True, slots=True)
class Ask(Generic[S]):
    """One target as it was found, and what is wanted of it: what every function of a verb is handed."""

    target: Target
    seen: S
    parameters: Any
    """Of the verb's own `Parameters` class."""
    dialect: Dialect
    found: Any = None
    """What `OpSpec.look` gave; None for verbs without one."""
    long_pause_allowed: bool = False
    """`allow_long_pause` of the policy: clients may be held until they are cut."""
    max_pause_s: float | None = None
    """`max_pause_s` of the policy; None: it sets none."""
    claims: tuple[Claim, ...] = ()
    """What runs of this machine hold, or left paused, on its bouncer; () also when that is not looked at."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a verb's own look may use. It only asks."""

    target: Target
    observation: Observation
    parameters: Any
    node: Bouncer | PostgresNode
    session: ReadSession
    dialect: Dialect
    reach: Reach
    timeout_s: float
    peers: tuple[Bouncer, ...] = ()
    """The other members of its peer group."""


@dataclass(frozen=True, slots=True)
class WholeStep:
    """One step of a verb that works on all its targets as one."""

    where: str
    """A pooler, a node, several with commas."""
    what: str
    checked: str
    """What is checked before the next one is begun."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What a verb that works on all its targets as one says of them together."""

    steps: tuple[WholeStep, ...]
    facts: Mapping[str, str]
    """What a permit is bound to besides the targets' own facts; no secrets."""
    warnings: tuple[str, ...] = ()
    blocked: str | None = None
    found: Any = None
    """For the run; not part of the plan's JSON."""


@dataclass(frozen=True, slots=True)
class Survey(Generic[S]):
    """What `OpSpec.survey` may use. It only asks."""

    asks: tuple[Ask[S], ...]
    """Every target that answered."""
    parameters: Any
    reach: Reach
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Standing:
    """How a target stands before a verb."""

    present: str
    """The state as words, e.g. `running`."""
    evidence: tuple[str, ...] = ()
    """How that was found out, where no SHOW says it."""
    already: bool = False
    """As wanted: nothing would be sent."""
    blocked: str | None = None
    """Why the verb cannot be carried out as things are."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What it would change, line by line, e.g. the settings that a RELOAD changes."""
    clients: int | None = None
    """Clients that it hits, where those are not all of the target's pools; None: all of them."""
    tier: Tier | None = None
    """Asks for more than the verb's own tier, e.g. a RELOAD that cuts clients; None: the verb's."""
    effects: Mapping[str, str] | None = None
    """What clients feel, by pool mode, where that is not what the verb says; None: it is."""


@dataclass(frozen=True, slots=True)
class OpSpec(Generic[S]):
    """One operation."""

    verb: Verb
    tier: Tier
    parameters: type[Parameters]
    scopes: frozenset[Scope]
    effects: Mapping[str, str]
    """What clients feel, by pool mode (`transaction`, `statement`, `session`)."""
    stand: Callable[[Ask[S]], Standing]
    statements: Callable[[Ask[S]], tuple[str, ...]]
    """Exactly what is sent, in order, when all goes well."""
    rescue: Callable[[Ask[S]], tuple[str, ...]] | None
    """What is sent besides when it does not go well; None: nothing more is sent then. Of a leased verb:
    what its guardian sends."""
    carry_out: Callable[[Step], Awaitable[TargetReceipt]] | None
    """None: it `holds`, and `console.operations.held` carries it out; or it `conduct`s itself."""
    verified_by: str
    """What is read back before success is reported."""
    undo: str | None
    """The verb that takes it back; None when `no_undo_reason` says why there is none."""
    no_undo_reason: str | None
    needs: Capability | None = None
    """What a version must be able to do; None: every version can."""
    holds: bool = False
    """It holds clients for a time and lets them go itself."""
    leased: bool = False
    """Clients may be left waiting if we die in the middle: a guardian stands by."""
    absence: Absence = Absence.NONE
    """While its target serves no new clients, its peers have to."""
    rescues: bool = False
    """A way out of a bad state: never held up by change windows and the like."""
    together: bool = False
    """Targets of one bouncer are worked on side by side; otherwise one after another."""
    serial: str = "1,25%,100%"
    """The waves when several are named and nobody says otherwise."""
    take_back: Callable[[Step], Awaitable[TargetReceipt]] | None = None
    """Undoes a target that is done when the run is interrupted; None: what is done stays done."""
    look: Callable[[Look], Awaitable[Found]] | None = None
    """Reads more than the observation, at planning and once more before the first statement."""
    observe_node: Callable[[Reach, Target, Any], Awaitable[S]] | None = None
    """How a verb on Postgres nodes reads its target; None for verbs on poolers."""
    facts: Callable[[Ask[S]], Mapping[str, str]] | None = None
    """What a permit is bound to; None: what an `Observation` tells, and what `look` found."""
    in_shell: bool = False
    """Its statements are commands for a shell on the target's host."""
    suspended: OpSpec[Suspended] | None = None
    """What it is where a pooler lets nobody in because it is suspended; None: it needs a login."""
    survey: Callable[[Survey[S]], Awaitable[Whole]] | None = None
    """What is said of all targets together, for verbs that work on them as one."""
    conduct: Callable[[Job], Awaitable[tuple[TargetReceipt, ...]]] | None = None
    """Carries the whole run out, with a receipt for every target; for verbs with a `survey`."""
    spread: Callable[[Observation, Any], tuple[str | None, ...]] | None = None
    """The targets on a bouncer that a selector names as a whole: databases, None for the pooler itself.
    None: the pooler itself."""
    choose: Callable[[Inventory, str, Any], Awaitable[tuple[Selected, ...]]] | None = None
    """Which bouncers a selector means that names something else, such as the node behind them."""
    work: Callable[[Held], Awaitable[Mapping[Target, Ending]]] | None = None
    """What is done while all targets are held, and how each ends; None: they are held for a time."""

    @property
    def name(self) -> str:
        """The command."""
        return self.verb.name

    def on(self, seen: object) -> OpSpec[Any]:
        """Return what it is on a target that was seen like this."""
        return self.suspended if self.suspended is not None and isinstance(seen, Suspended) else self

    @property
    def undone_by_stop(self) -> bool:
        """Whether a run that is stopped takes back what it did."""
        return self.holds or self.take_back is not None

    @property
    def on_node(self) -> bool:
        """Whether it acts on Postgres nodes, not on poolers."""
        return Scope.NODE in self.scopes


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
