"""Makes plans: resolves a selector to its target, reads it fresh, and lets the verb say how it stands.

It only asks. The one thing it sends besides SHOW is the probe of `observe`, below PgBouncer 1.19.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from console.clock import Clock
from console.config.schema import Bouncer, Inventory
from console.config.selector import Selected, parse_selector
from console.errors import UsageError
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Pool
from console.operations.observe import Observation, facts_of, fingerprint, observe
from console.operations.plan import LeftOut, Plan, PoolImpact, TargetPlan
from console.operations.registry import REGISTRY
from console.operations.sessions import Connector, WriteSession, close_quietly
from console.operations.spec import OpSpec, Parameters
from console.operations.target import Target
from console.poolers.base import Capability, Dialect
from console.poolers.dialects import dialect_for


class Planner:
    """Makes plans for one fleet."""

    def __init__(self, inventory: Inventory, connector: Connector, clock: Clock, *, read_only: bool) -> None:
        self._inventory = inventory
        self._connector = connector
        self._clock = clock
        self._read_only = read_only
        self._bouncers = {bouncer.name: bouncer for bouncer in inventory.bouncers}

    async def plan(self, op: str, selector: str, parameters: Mapping[str, Any]) -> Plan:
        """Return the plan of `op` on what `selector` names.

        Raises:
            UsageError: an unknown verb, a wrong parameter, a selector that names nothing or more than one
                target, a database that is not there. NodeError: the pooler did not answer.
        """
        spec = REGISTRY.get(op)
        if spec is None:
            raise UsageError(f"there is no operation {op}", hint=f"one of {', '.join(REGISTRY)}")
        checked = _parameters(spec, parameters)
        chosen = self._one(spec, selector)
        bouncer = self._bouncers[chosen.name]
        observation = await self.observe(bouncer)
        target = Target(bouncer.name, _database(chosen, observation))
        item = target_plan(spec, target, observation, checked, why=f"named by {selector}", bouncer=bouncer)
        return Plan(
            spec=spec,
            selector=selector,
            parameters=checked,
            fleet=self._inventory.fleet,
            environment=self._inventory.environment,
            made_at_s=self._clock.wall_s(),
            targets=(item,),
            left_out=tuple(
                LeftOut(name, f"not named by {selector}") for name in self._bouncers if name != bouncer.name
            ),
        )

    async def observe(self, bouncer: Bouncer) -> Observation:
        """Read one pooler fresh.

        Raises:
            NodeError: it did not answer.
        """
        dialect = dialect_for(bouncer.kind)
        timeout_s = self.query_timeout_s(bouncer)
        prober: WriteSession | None = None
        reader = await self._connector.reader(bouncer.name)
        try:
            version = dialect.parse_version(await reader.show("VERSION", timeout_s=timeout_s))
            may_probe = bouncer.admin_user is not None and not self._read_only
            if may_probe and not dialect.has(version, Capability.SHOW_STATE):
                prober = await self._connector.writer(bouncer.name)
            return await observe(reader, dialect, bouncer.name, timeout_s=timeout_s, prober=prober)
        finally:
            await close_quietly(prober, reader)

    def query_timeout_s(self, bouncer: Bouncer) -> float:
        """Return how long one answer of `bouncer` may take."""
        return bouncer.query_timeout_s or self._inventory.defaults.query_timeout_s

    def bouncer(self, name: str) -> Bouncer:
        """Return the inventory's entry."""
        return self._bouncers[name]

    def _one(self, spec: OpSpec, text: str) -> Selected:
        chosen = parse_selector(text).select(self._inventory.bouncers)
        if len(chosen) != 1:
            raise UsageError(
                f"{text} names {len(chosen)} targets: {', '.join(str(one) for one in chosen[:8])}",
                hint=f"this version runs {spec.name} on one bouncer or one of its databases at a time",
            )
        if chosen[0].database is not None and not spec.one_database:
            raise UsageError(
                f"{spec.name} acts on a whole bouncer, not on one of its databases",
                hint=f"pooldeck {spec.name} {chosen[0].name}",
            )
        return chosen[0]


def target_plan(
    spec: OpSpec,
    target: Target,
    observation: Observation,
    parameters: Parameters,
    *,
    why: str,
    bouncer: Bouncer,
) -> TargetPlan:
    """Return what `spec` would do to `target`, as `observation` found it. Pure."""
    dialect = dialect_for(bouncer.kind)
    standing = spec.stand(target, observation, parameters)
    blocked = standing.blocked or _cannot(spec, bouncer, dialect, observation)
    statements = () if standing.already else spec.statements(dialect, target, observation)
    rescue = () if standing.already or spec.rescue is None else spec.rescue(dialect, target, observation)
    pools = observation.pools_of(target)
    facts = facts_of(observation, target)
    modes = {mode for pool in pools if (mode := _mode(pool, observation))}
    return TargetPlan(
        target=target,
        why=why,
        version=str(observation.version),
        present=standing.present,
        changes=not standing.already,
        statements=statements,
        rescue=rescue,
        effects=tuple(f"{mode}: {text}" for mode, text in spec.effects.items() if mode in modes),
        pools=tuple(_impact(pool, observation) for pool in pools),
        query_wait_timeout_s=observation.seconds("query_wait_timeout"),
        verified_by=spec.verified_by,
        undo=(target.command(spec.undo),) if spec.undo and not standing.already else (),
        no_undo_reason="nothing is changed" if standing.already else spec.no_undo_reason,
        warnings=standing.warnings,
        blocked=blocked,
        facts=facts,
        fingerprint=fingerprint(facts),
        observation=observation,
    )


def _cannot(spec: OpSpec, bouncer: Bouncer, dialect: Dialect, observation: Observation) -> str | None:
    if bouncer.admin_user is None:
        return f"the inventory names no admin_user for {bouncer.name}, so nothing can be changed on it"
    if spec.needs is not None and not dialect.has(observation.version, spec.needs):
        return f"{spec.name} needs {bouncer.kind} {dialect.since(spec.needs)}; this is {observation.version}"
    return None


def _parameters(spec: OpSpec, given: Mapping[str, Any]) -> Parameters:
    try:
        return spec.parameters.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        wrong = first["msg"].replace("Input should be", "must be")
        raise UsageError(f"{spec.name}: {key.removesuffix('_s')} {wrong}") from None


def _database(chosen: Selected, observation: Observation) -> str | None:
    """Return the one database that is meant, as SHOW DATABASES spells it (traps T2, T23)."""
    if chosen.database is None:
        return None
    if chosen.database == ADMIN_DATABASE:
        raise UsageError(f"{ADMIN_DATABASE} is the admin console itself; no operation acts on it")
    names = [database.name for database in observation.databases]
    found = chosen.choose(names)
    if len(found) > 1:
        raise UsageError(
            f"{chosen} names {len(found)} databases: {', '.join(found[:8])}",
            hint="this version acts on one database at a time",
        )
    if not found:
        near = get_close_matches(chosen.database, names, n=3)
        raise UsageError(
            f"{chosen.name} lists no database {chosen.database}",
            hint=f"did you mean {' or '.join(near)}?" if near else f"it lists {', '.join(names) or 'none'}",
        )
    return found[0]


def _mode(pool: Pool, observation: Observation) -> str | None:
    database = observation.database(pool.database)
    return pool.pool_mode or (database.pool_mode if database else None)


def _impact(pool: Pool, observation: Observation) -> PoolImpact:
    cancelling = (pool.cl_active_cancel_req or 0) + (pool.cl_waiting_cancel_req or 0)
    return PoolImpact(
        database=pool.database,
        user=pool.user,
        pool_mode=_mode(pool, observation),
        clients=pool.cl_active + pool.cl_waiting + cancelling,
        waiting=pool.cl_waiting,
        servers=pool.servers,
        servers_active=pool.sv_active,
    )
