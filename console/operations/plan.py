"""A plan: what would be done, to what, with which effect. A value that can be shown, hashed and compared.

The hash covers what decides the run: verb, parameters, statements and the facts they rest on. It leaves out
what moves all the time (client counts, the moment), so the same world gives the same hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from console.guard.verdict import Tier
from console.model.fleet import Environment
from console.operations.outcome import Unreachable
from console.operations.radius import Radius
from console.operations.rollout import Rollout
from console.operations.spec import Ask, OpSpec, Whole
from console.operations.target import Target


@dataclass(frozen=True, slots=True)
class PoolImpact:
    """One pool that the operation touches, as it was when the plan was made."""

    database: str
    user: str
    pool_mode: str | None
    clients: int
    """Active and waiting."""
    waiting: int
    servers: int
    """In any state."""
    servers_active: int
    """Held by a client: an open transaction, or in session mode a connection."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A bouncer that the selector does not reach."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What would happen to one target."""

    target: Target
    why: str
    """Why it is in the plan."""
    version: str
    present: str
    """Its state as words."""
    changes: bool
    """False: it already is as wanted, and nothing is sent."""
    statements: tuple[str, ...]
    """Exactly what is sent, in order; empty when nothing changes."""
    rescue: tuple[str, ...]
    """What is sent besides when it does not go well, e.g. the RESUME of a pause that is not complete."""
    effects: tuple[str, ...]
    """What clients feel, by the pool modes that occur."""
    pools: tuple[PoolImpact, ...]
    query_wait_timeout_s: float | None
    """How long clients can wait before they are cut; 0: for ever; None: not known."""
    verified_by: str
    undo: tuple[str, ...]
    """Commands that take it back; empty when `no_undo_reason` says why there are none."""
    no_undo_reason: str | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """What it would change, line by line."""
    blocked: str | None
    """Why it cannot be carried out as things are."""
    tier: Tier
    facts: Mapping[str, str]
    """What this rests on; read again before the first statement."""
    fingerprint: str
    """SHA-256 of the facts."""
    ask: Ask[Any]
    """What was read; not part of the JSON."""
    radius: Radius | None = None
    """Who is hit, in detail; None: not read."""
    hits: int | None = None
    """Clients that it hits, where those are not all of the target's pools."""
    evidence: tuple[str, ...] = ()
    """How its state was found out, where no SHOW says it."""
    diff: tuple[str, ...] = ()
    """How files would differ; see `Standing.diff`."""
    is_counted: bool = True
    """False: nobody is let in, so nobody could count its clients and servers."""

    @property
    def clients(self) -> int | None:
        """Clients that it hits: those of the pools it touches, unless the verb means only some.

        None: they could not be counted.
        """
        if not self.is_counted:
            return None
        if self.hits is not None:
            return self.hits
        return sum(pool.clients for pool in self.pools)

    @property
    def waiting(self) -> int:
        """Those of them that wait for a server now."""
        return sum(pool.waiting for pool in self.pools)

    @property
    def servers(self) -> int:
        """Server connections of those pools."""
        return sum(pool.servers for pool in self.pools)


@dataclass(frozen=True)
class Plan:
    """What a run would do. Satisfies `console.guard.policy.Subject`."""

    spec: OpSpec[Any]
    selector: str
    parameters: Any
    """Of the verb's own `Parameters` class."""
    fleet: str
    environment: Environment
    made_at_s: float
    targets: tuple[TargetPlan, ...]
    unreachable: tuple[Unreachable, ...]
    left_out: tuple[LeftOut, ...]
    rollout: Rollout
    waves: tuple[tuple[Target, ...], ...]
    """In which order and how many at once; every target of `targets` is in exactly one."""
    group_warnings: tuple[str, ...] = ()
    group_blocked: str | None = None
    """Why the targets together cannot be worked on, e.g. the last healthy member of a group."""
    whole: Whole | None = None
    """What the verb says of all targets together; None: it works on each by itself."""

    @property
    def op(self) -> str:
        """The verb's name."""
        return self.spec.name

    @property
    def title(self) -> str:
        """For people, e.g. `PAUSE edge-1a/app`, `PAUSE 20 targets of prod`."""
        return f"{self.op.upper()} {self.phrase}"

    @property
    def tier(self) -> Tier:
        """How far it reaches: the verb's tier, or more when a target asks for more."""
        return max((item.tier for item in self.targets), default=self.spec.tier)

    @property
    def verb_tier(self) -> Tier:
        """How far its verb reaches by itself."""
        return self.spec.tier

    @property
    def phrase(self) -> str:
        """What it acts on, short enough to type: the target as a selector writes it, or the fleet's name."""
        return self.name

    @property
    def name(self) -> str:
        """The name to type: the target's when there is one, the fleet's when there are several."""
        if self.target_count == 1 and self.targets:
            return str(self.targets[0].target)
        return self.fleet if self.target_count != 1 else self.unreachable[0].name

    @property
    def target_count(self) -> int:
        """How many targets were named, unreachable ones included."""
        return len(self.targets) + len(self.unreachable)

    @property
    def rescues(self) -> bool:
        """Whether it is a way out of a bad state."""
        return self.spec.rescues

    @property
    def clients(self) -> int | None:
        """Clients connected to what it touches; None: not all of them could be counted."""
        counts = [item.clients for item in self.targets if item.changes]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @property
    def changes(self) -> bool:
        """Whether anything would be sent."""
        return any(item.changes for item in self.targets)

    @property
    def allowed_failures(self) -> int:
        """How many targets may fail before nothing further is begun; of a way out, all."""
        if self.rescues:
            return self.target_count
        return self.rollout.max_failed.of(self.target_count)

    @property
    def blocked(self) -> str | None:
        """Why it cannot be carried out as things are."""
        if self.group_blocked is not None:
            return self.group_blocked
        wrong = [f"{item.target}: {item.blocked}" for item in self.targets if item.blocked]
        wrong += [f"{item.name} cannot be reached: {item.reason}" for item in self.unreachable]
        if not wrong:
            return None
        if len(wrong) <= self.allowed_failures and len(wrong) < self.target_count:
            return None
        return wrong[0] if len(wrong) == 1 else f"{len(wrong)} of {self.target_count} targets: {wrong[0]}"

    def item(self, target: Target) -> TargetPlan:
        """Return the plan of one of its targets."""
        return next(item for item in self.targets if item.target == target)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what decides the run, as 64 hex digits."""
        decisive = {
            "op": self.op,
            "parameters": self.parameters.model_dump(mode="json"),
            "fleet": self.fleet,
            "environment": self.environment,
            "rollout": asdict(self.rollout),
            "waves": [[str(target) for target in wave] for wave in self.waves],
            "unreachable": [item.name for item in self.unreachable],
            "targets": [decisive_of(item) for item in self.targets],
        }
        if self.whole is not None:
            decisive["whole"] = [[asdict(step) for step in self.whole.steps], dict(self.whole.facts)]
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values: what `--plan --json` prints and a saved plan holds."""
        return {
            "op": self.op,
            "selector": self.selector,
            "parameters": self.parameters.model_dump(mode="json"),
            "fleet": self.fleet,
            "environment": self.environment,
            "made_at": self.made_at_s,
            "tier": self.tier.name.lower(),
            "name": self.name,
            "clients": self.clients,
            "changes": self.changes,
            "blocked": self.blocked,
            "warnings": list(self.group_warnings),
            "hash": self.hash,
            "rollout": asdict(self.rollout),
            "waves": [[str(target) for target in wave] for wave in self.waves],
            "targets": [_target_dict(item) for item in self.targets],
            "steps": [asdict(step) for step in self.whole.steps] if self.whole is not None else [],
            "unreachable": [asdict(item) for item in self.unreachable],
            "left_out": [asdict(item) for item in self.left_out],
        }


def decisive_of(item: TargetPlan) -> dict[str, Any]:
    """Return what of one target decides the run; two plans that agree in it would do the same."""
    return {
        "target": str(item.target),
        "statements": list(item.statements),
        "rescue": list(item.rescue),
        "changes": item.changes,
        "facts": dict(item.facts),
    }


def _target_dict(item: TargetPlan) -> dict[str, Any]:
    return {
        "target": str(item.target),
        "why": item.why,
        "version": item.version,
        "present": item.present,
        "evidence": list(item.evidence),
        "changes": item.changes,
        "statements": list(item.statements),
        "rescue": list(item.rescue),
        "effects": list(item.effects),
        "clients": item.clients,
        "servers": item.servers if item.is_counted else None,
        "pools": [asdict(pool) for pool in item.pools],
        "radius": None if item.radius is None else item.radius.as_dict(),
        "query_wait_timeout_s": item.query_wait_timeout_s,
        "verified_by": item.verified_by,
        "undo": list(item.undo),
        "no_undo_reason": item.no_undo_reason,
        "warnings": list(item.warnings),
        "notes": list(item.notes),
        "diff": list(item.diff),
        "blocked": item.blocked,
        "tier": item.tier.name.lower(),
        "facts": dict(item.facts),
        "fingerprint": item.fingerprint,
    }
