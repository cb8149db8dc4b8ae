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
from console.operations.observe import Observation
from console.operations.spec import OpSpec, Parameters
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
    blocked: str | None
    """Why it cannot be carried out as things are."""
    facts: Mapping[str, str]
    """What this rests on; read again before the first statement."""
    fingerprint: str
    """SHA-256 of the facts."""
    observation: Observation
    """What was read; not part of the JSON."""

    @property
    def clients(self) -> int:
        """Clients connected to the pools it touches."""
        return sum(pool.clients for pool in self.pools)

    @property
    def servers(self) -> int:
        """Server connections of those pools."""
        return sum(pool.servers for pool in self.pools)


@dataclass(frozen=True)
class Plan:
    """What a run would do. Satisfies `console.guard.policy.Subject`."""

    spec: OpSpec
    selector: str
    parameters: Parameters
    fleet: str
    environment: Environment
    made_at_s: float
    targets: tuple[TargetPlan, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def op(self) -> str:
        """The verb's name."""
        return self.spec.name

    @property
    def title(self) -> str:
        """For people, e.g. `PAUSE edge-1a/app`."""
        return f"{self.op.upper()} {self.phrase}"

    @property
    def tier(self) -> Tier:
        """How far it reaches."""
        return self.spec.tier

    @property
    def phrase(self) -> str:
        """The name to type: the targets as a selector writes them."""
        return ",".join(str(item.target) for item in self.targets)

    @property
    def clients(self) -> int:
        """Clients connected to what it touches."""
        return sum(item.clients for item in self.targets)

    @property
    def changes(self) -> bool:
        """Whether anything would be sent."""
        return any(item.changes for item in self.targets)

    @property
    def blocked(self) -> str | None:
        """Why it cannot be carried out as things are."""
        return next((f"{item.target}: {item.blocked}" for item in self.targets if item.blocked), None)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what decides the run, as 64 hex digits."""
        decisive = {
            "op": self.op,
            "parameters": self.parameters.model_dump(mode="json"),
            "fleet": self.fleet,
            "environment": self.environment,
            "targets": [
                {
                    "target": str(item.target),
                    "statements": item.statements,
                    "rescue": item.rescue,
                    "changes": item.changes,
                    "facts": dict(item.facts),
                }
                for item in self.targets
            ],
        }
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values: what `--plan --json` prints."""
        return {
            "op": self.op,
            "selector": self.selector,
            "parameters": self.parameters.model_dump(mode="json"),
            "fleet": self.fleet,
            "environment": self.environment,
            "made_at": self.made_at_s,
            "tier": self.tier.name.lower(),
            "clients": self.clients,
            "changes": self.changes,
            "blocked": self.blocked,
            "hash": self.hash,
            "targets": [_target_dict(item) for item in self.targets],
            "left_out": [asdict(item) for item in self.left_out],
        }


def _target_dict(item: TargetPlan) -> dict[str, Any]:
    return {
        "target": str(item.target),
        "why": item.why,
        "version": item.version,
        "present": item.present,
        "changes": item.changes,
        "statements": list(item.statements),
        "rescue": list(item.rescue),
        "effects": list(item.effects),
        "clients": item.clients,
        "servers": item.servers,
        "pools": [asdict(pool) for pool in item.pools],
        "query_wait_timeout_s": item.query_wait_timeout_s,
        "verified_by": item.verified_by,
        "undo": list(item.undo),
        "no_undo_reason": item.no_undo_reason,
        "warnings": list(item.warnings),
        "blocked": item.blocked,
        "fingerprint": item.fingerprint,
    }
