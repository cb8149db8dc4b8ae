"""The plan of one target, from what was found of it. Pure."""

from __future__ import annotations

import re
from typing import Any

from console.config.schema import Bouncer, PostgresNode
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Pool
from console.operations.observe import Observation, facts_of, fingerprint
from console.operations.plan import PoolImpact, TargetPlan
from console.operations.radius import Radius
from console.operations.radius_warnings import waiting_warnings
from console.operations.spec import Ask, OpSpec, Standing


def target_plan(
    spec: OpSpec[Any],
    ask: Ask[Any],
    *,
    why: str,
    entry: Bouncer | PostgresNode,
    radius: Radius | None = None,
) -> TargetPlan:
    """Return what `spec` would do to the target of `ask`."""
    spec = spec.on(ask.seen)
    target = ask.target
    standing = spec.stand(ask)
    seen = ask.seen if isinstance(ask.seen, Observation) else None
    blocked = standing.blocked or _cannot(spec, entry, ask)
    facts = facts_for(spec, ask)
    pools = seen.pools_of(target) if seen is not None else ()
    effects = spec.effects if standing.effects is None else standing.effects
    modes = {mode for pool in pools if seen is not None and (mode := _mode(pool, seen))}
    return TargetPlan(
        target=target,
        why=why,
        version=str(seen.version) if seen is not None else "n/a",
        present=standing.present,
        changes=not standing.already,
        statements=() if standing.already or blocked else spec.statements(ask),
        rescue=() if standing.already or blocked or spec.rescue is None else spec.rescue(ask),
        effects=tuple(f"{mode}: {text}" for mode, text in effects.items() if not modes or mode in modes),
        pools=tuple(_impact(pool, seen) for pool in pools if seen is not None),
        query_wait_timeout_s=seen.seconds("query_wait_timeout") if seen is not None else None,
        verified_by=spec.verified_by,
        undo=(target.command(spec.undo),) if spec.undo and not standing.already else (),
        no_undo_reason="nothing is changed" if standing.already else spec.no_undo_reason,
        warnings=(*standing.warnings, *_radius_warnings(spec, standing, ask, radius)),
        notes=standing.notes,
        blocked=blocked,
        tier=max(spec.tier, standing.tier or spec.tier),
        facts=facts,
        fingerprint=fingerprint(facts),
        ask=ask,
        radius=radius,
        hits=standing.clients,
        evidence=standing.evidence,
        is_counted=seen is not None or standing.clients is not None,
    )


def facts_for(spec: OpSpec[Any], ask: Ask[Any]) -> dict[str, str]:
    """Return what a plan of `spec` on this target rests on, as names and words."""
    own = spec.on(ask.seen).facts
    if own is not None:
        return dict(own(ask))
    facts = facts_of(ask.seen, ask.target)
    if ask.found is not None:
        facts |= ask.found.facts
    return facts


def _cannot(spec: OpSpec[Any], entry: Bouncer | PostgresNode, ask: Ask[Any]) -> str | None:
    if isinstance(entry, PostgresNode):
        return None
    if entry.admin_user is None:
        return f"the inventory names no admin_user for {entry.name}, so nothing can be changed on it"
    if not isinstance(ask.seen, Observation):
        return None
    admins = ask.seen.config.get("admin_users")
    by_socket = entry.admin_user == ADMIN_DATABASE and entry.unix is not None
    if admins is not None and entry.admin_user not in _words(admins.value) and not by_socket:
        return (
            f"{entry.admin_user}, the inventory's admin_user, is not one of the pooler's admin_users "
            f"({admins.value or 'none'}), so nothing can be changed on it"
        )
    if spec.needs is not None and not ask.dialect.has(ask.seen.version, spec.needs):
        return f"{spec.name} needs {entry.kind} {ask.dialect.since(spec.needs)}; this is {ask.seen.version}"
    return None


def _words(listed: str | None) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,]+", listed or ""))


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


def _radius_warnings(
    spec: OpSpec[Any], standing: Standing, ask: Ask[Any], radius: Radius | None
) -> tuple[str, ...]:
    if standing.already or radius is None:
        return ()
    if not spec.holds:
        return radius.warnings
    limit_s = ask.seen.seconds("query_wait_timeout")
    waiting = waiting_warnings(radius, budget_s=ask.parameters.timeout_s, query_wait_timeout_s=limit_s)
    return (*radius.warnings, *waiting)
