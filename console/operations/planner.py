"""Makes plans: resolves a selector to its targets, reads each fresh, and lets the verb say how it stands.

It only asks. The one thing it sends besides SHOW is the probe of `observe`, below PgBouncer 1.19.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from console.clock import Clock
from console.config.schema import Bouncer, Inventory, PostgresNode
from console.config.selector import Besides, Selected, parse_selector
from console.errors import NodeError, PooldeckError, UsageError
from console.model.claims import Claim
from console.operations.choice import NothingThere, targets_of
from console.operations.groups import GroupCheck, check_groups, mixed_peers, peers_of
from console.operations.health import waited_already
from console.operations.lasting import Tally, telling
from console.operations.observe import Observation, observe
from console.operations.outcome import Unreachable
from console.operations.plan import LeftOut, Plan, TargetPlan
from console.operations.radius import Radius, read_radii
from console.operations.reach import Reach
from console.operations.registry import REGISTRY
from console.operations.rollout import Rollout, parse_serial, waves
from console.operations.sessions import WriteSession, close_quietly
from console.operations.spec import Absence, Ask, Look, OpSpec, Outside, Parameters, Survey, Whole
from console.operations.target import Target
from console.operations.target_plan import target_plan
from console.poolers.base import Capability
from console.poolers.dialects import dialect_for

AT_ONCE = 24
"""So many poolers are read at the same time."""


class Planner:
    """Makes plans for one fleet."""

    def __init__(self, inventory: Inventory, reach: Reach, clock: Clock, *, read_only: bool) -> None:
        self._inventory = inventory
        self._reach = reach
        self._clock = clock
        self._read_only = read_only
        self._bouncers = {bouncer.name: bouncer for bouncer in inventory.bouncers}
        self._nodes = {node.name: node for node in inventory.postgres}
        self._rules = inventory.policy.resolved(inventory.environment)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def plan(
        self,
        op: str,
        selector: str,
        parameters: Mapping[str, Any],
        rollout: Rollout | None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Plan:
        """Return the plan of `op` on what `selector` names; `progress` is told how far that is.

        Raises:
            UsageError: an unknown verb, a wrong parameter, a selector that names nothing, a database that
                is not there. NodeError: the only target did not answer.
        """
        spec = REGISTRY.get(op)
        if spec is None:
            raise UsageError(f"there is no operation {op}", hint=f"one of {', '.join(REGISTRY)}")
        checked = _parameters(spec, parameters)
        chosen = await self._chosen(spec, selector, checked)
        alone = len(chosen) == 1
        tally = Tally("node read" if spec.on_node else "bouncer read", len(chosen))
        async with telling(progress, lambda: tally.words):
            found = await asyncio.gather(
                *(tally.count(self._of_one(spec, one, checked, selector, alone=alone)) for one in chosen)
            )
        items = [item for group in found for item in group if isinstance(item, TargetPlan)]
        unreachable = tuple(item for group in found for item in group if isinstance(item, Unreachable))
        left_out = [item for group in found for item in group if isinstance(item, LeftOut)]
        if not items and not unreachable:
            raise UsageError(f"{selector}: {'; '.join(dict.fromkeys(out.reason for out in left_out))}")
        groups = await self._groups(spec, items, checked)
        whole = await self._whole(spec, items, checked)
        how = rollout or Rollout(parse_serial(spec.serial))
        order = waves([item.target for item in items], how, self._membership(spec))
        warnings = (
            *groups.warnings,
            *(whole.warnings if whole is not None else ()),
            *await self._others(spec, items),
            *_gate_warnings(spec, items, order, how),
        )
        return Plan(
            spec=spec,
            selector=selector,
            parameters=checked,
            fleet=self._inventory.fleet,
            environment=self._inventory.environment,
            made_at_s=self._clock.wall_s(),
            targets=tuple(items),
            unreachable=unreachable,
            left_out=(*left_out, *self._not_named(spec, chosen, selector)),
            rollout=how,
            waves=order,
            group_warnings=warnings,
            group_blocked=groups.blocked or (whole.blocked if whole is not None else None),
            whole=whole,
        )

    async def _whole(
        self, spec: OpSpec[Any], items: Sequence[TargetPlan], parameters: Parameters
    ) -> Whole | None:
        if spec.survey is None:
            return None
        asks = tuple(item.ask for item in items)
        return await spec.survey(Survey(asks, parameters, self._reach, self._inventory))

    async def look(self, spec: OpSpec[Any], target: Target, parameters: Parameters) -> Ask[Any]:
        """Read what a verb needs to know of one target, fresh.

        Raises:
            NodeError: it did not answer. UsageError: what it names is not there.
        """
        if spec.on_node:
            assert spec.observe_node is not None, "verbs on nodes say how they look"
            dialect = dialect_for("pgbouncer")
            seen = await spec.observe_node(self._reach, target, parameters)
            return Ask(target, seen, parameters, dialect)
        async with self._slots:
            ask, _ = await self._read(
                spec, self._bouncers[target.bouncer], [target], parameters, radius=False
            )
        return ask[0]

    async def observe(self, bouncer: Bouncer) -> Observation:
        """Read one pooler fresh.

        Raises:
            NodeError: it did not answer.
        """
        dialect = dialect_for(bouncer.kind)
        prober: WriteSession | None = None
        reader = await self._reach.connector.reader(bouncer.name)
        try:
            timeout_s = self.query_timeout_s(bouncer.name)
            version = dialect.parse_version(await reader.show("VERSION", timeout_s=timeout_s))
            if self._may_probe(bouncer) and not dialect.has(version, Capability.SHOW_STATE):
                prober = await self._reach.connector.writer(bouncer.name)
            return await observe(reader, dialect, bouncer.name, timeout_s=timeout_s, prober=prober)
        finally:
            await close_quietly(prober, reader)

    async def observe_by_name(self, name: str) -> Observation:
        """Read one pooler fresh; see `observe`."""
        async with self._slots:
            return await self.observe(self._bouncers[name])

    def peers(self, names: Iterable[str], *, without: Collection[str]) -> tuple[str, ...]:
        """Return the bouncers that stand in for some: members of their peer groups, less `without`."""
        groups = {self._bouncers[name].peer_group for name in names} - {None}
        return tuple(
            one.name
            for one in self._inventory.bouncers
            if one.peer_group in groups and one.name not in without
        )

    def query_timeout_s(self, name: str) -> float:
        """Return how long one answer of a bouncer or node may take."""
        entry = self.entry(name)
        return entry.query_timeout_s or self._inventory.defaults.query_timeout_s

    def entry(self, name: str) -> Bouncer | PostgresNode:
        """Return the inventory's entry."""
        return self._bouncers.get(name) or self._nodes[name]

    # -- inside -------------------------------------------------------------------------------

    def _members(self, bouncer: Bouncer) -> tuple[Bouncer, ...]:
        """Return the other members of its peer group."""
        group = bouncer.peer_group
        others = (one for one in self._inventory.bouncers if one.name != bouncer.name)
        return tuple(one for one in others if group is not None and one.peer_group == group)

    def _may_probe(self, bouncer: Bouncer) -> bool:
        return bouncer.admin_user is not None and not self._read_only

    async def _chosen(self, spec: OpSpec[Any], text: str, parameters: Parameters) -> tuple[Selected, ...]:
        if spec.choose is not None:
            return await spec.choose(self._inventory, text, parameters)
        bouncers, nodes = self._inventory.bouncers, self._inventory.postgres
        selector = parse_selector(text)
        if spec.on_node:
            wanted = f"{spec.name} acts on Postgres nodes"
            return selector.select(nodes, Besides(bouncers, "a bouncer", wanted))
        return selector.select(bouncers, Besides(nodes, "a Postgres node", f"{spec.name} acts on bouncers"))

    def _not_named(self, spec: OpSpec[Any], chosen: Iterable[Selected], text: str) -> list[LeftOut]:
        named = {one.name for one in chosen}
        every = self._nodes if spec.on_node else self._bouncers
        return [LeftOut(name, f"not named by {text}") for name in every if name not in named]

    def _membership(self, spec: OpSpec[Any]) -> Any:
        def of(target: Target) -> tuple[str, str] | None:
            bouncer = self._bouncers.get(target.bouncer)
            if bouncer is None or bouncer.peer_group is None or spec.holds or spec.rescues or spec.conduct:
                return None
            return bouncer.peer_group, bouncer.name

        return of

    async def _of_one(
        self, spec: OpSpec[Any], chosen: Selected, parameters: Parameters, selector: str, *, alone: bool
    ) -> Sequence[TargetPlan | Unreachable | LeftOut]:
        try:
            if spec.on_node:
                target = Target(chosen.name)
                ask = await self.look(spec, target, parameters)
                return [target_plan(spec, ask, why=f"named by {selector}", entry=self._nodes[chosen.name])]
            async with self._slots:
                return await self._of_bouncer(spec, chosen, parameters, selector)
        except NodeError as error:
            if alone:
                raise
            return [Unreachable(str(chosen), f"{error.message} ({error.phase})", error.hint)]

    async def _of_bouncer(
        self, spec: OpSpec[Any], chosen: Selected, parameters: Parameters, selector: str
    ) -> Sequence[TargetPlan | LeftOut]:
        bouncer = self._bouncers[chosen.name]
        try:
            asks, radii = await self._read(spec, bouncer, chosen, parameters, radius=True)
        except NothingThere as nothing:
            return [LeftOut(chosen.name, f"{chosen.name} {nothing}")]
        return [
            target_plan(spec, ask, why=f"named by {selector}", entry=bouncer, radius=radius)
            for ask, radius in zip(asks, radii, strict=True)
        ]

    async def _read(
        self,
        spec: OpSpec[Any],
        bouncer: Bouncer,
        wanted: Selected | Sequence[Target],
        parameters: Parameters,
        *,
        radius: bool,
    ) -> tuple[list[Ask[Any]], list[Radius | None]]:
        """Read a pooler once for all its targets, over one session."""
        dialect = dialect_for(bouncer.kind)
        timeout_s = self.query_timeout_s(bouncer.name)
        try:
            seen = await self.observe(bouncer)
        except NodeError as error:
            if spec.outside is None:
                raise
            return [await self._from_outside(spec.outside, bouncer, wanted, parameters, error)], [None]
        asks: list[Ask[Any]] = []
        radii: list[Radius | None] = []
        claims = await self._claims(bouncer.name)
        reader = await self._reach.connector.reader(bouncer.name)
        try:
            look = Look(
                *(Target(bouncer.name), seen, parameters, bouncer, reader, dialect, self._reach, timeout_s),
                peers=self._members(bouncer),
            )
            targets = await targets_of(spec, wanted, look) if isinstance(wanted, Selected) else wanted
            for target in targets:
                found = None if spec.look is None else await spec.look(replace(look, target=target))
                long, most_s = self._rules.allow_long_pause, self._rules.max_pause_s
                asks.append(Ask(target, seen, parameters, dialect, found, long, most_s, claims))
            if radius:
                backends = self._reach.backends
                radii += await read_radii(
                    reader, dialect, seen, targets, backends=backends, timeout_s=timeout_s
                )
        finally:
            await close_quietly(reader)
        return asks, radii

    async def _from_outside(
        self,
        spec: OpSpec[Any],
        bouncer: Bouncer,
        wanted: Selected | Sequence[Target],
        parameters: Parameters,
        error: NodeError,
    ) -> Ask[Any]:
        """Look at a pooler that lets nobody in.

        Raises:
            NodeError: that is no case for the verb, or one of its databases is meant.
        """
        assert spec.look_outside is not None, "verbs that need no login say how they look"
        # A command may have to wait for the SSH connection first.
        connect_s = bouncer.connect_timeout_s or self._inventory.defaults.connect_timeout_s
        timeout_s = self.query_timeout_s(bouncer.name) + connect_s
        seen = await spec.look_outside(Outside(bouncer, error, parameters, self._reach, timeout_s))
        target = Target(bouncer.name)
        meant = [wanted] if isinstance(wanted, Selected) else wanted
        if any(one.database is not None for one in meant):
            raise NodeError(
                error.phase,
                "nobody is let in, so its databases cannot be looked at",
                where=bouncer.name,
                hint=target.command(spec.name),
            )
        return Ask(target, seen, parameters, dialect_for(bouncer.kind))

    async def _claims(self, bouncer: str) -> tuple[Claim, ...]:
        past = self._reach.past
        return () if past is None else tuple(one for one in await past.claims() if one.bouncer == bouncer)

    async def _groups(
        self, spec: OpSpec[Any], items: Sequence[TargetPlan], parameters: Parameters
    ) -> GroupCheck:
        if spec.absence is Absence.NONE or spec.on_node:
            return GroupCheck()
        bouncers = self._inventory.bouncers
        names = [item.target.bouncer for item in items]
        peers = peers_of(names, bouncers)
        seen = dict(zip(peers, await asyncio.gather(*map(self._glance, peers)), strict=True))
        healthy = {
            name: one is not None and not (one.state.paused or one.state.suspended)
            for name, one in seen.items()
        }
        allow_last = bool(getattr(parameters, "allow_last", False))
        found = check_groups(names, bouncers, healthy, spec.absence, allow_last=allow_last)
        versions = {name: one.version for name, one in seen.items() if one is not None}
        versions |= {
            item.target.bouncer: item.ask.seen.version
            for item in items
            if isinstance(item.ask.seen, Observation)
        }
        return replace(found, warnings=(*found.warnings, *mixed_peers(versions, bouncers)))

    async def _others(self, spec: OpSpec[Any], items: Sequence[TargetPlan]) -> list[str]:
        """Say which other run works on a target."""
        locks = self._reach.locks
        if locks is None or spec.on_node:
            return []
        names = dict.fromkeys(item.target.bouncer for item in items)
        holders = await asyncio.gather(*(asyncio.to_thread(locks.holder, name) for name in names))
        return [f"{who} is running on {name}" for name, who in zip(names, holders, strict=True) if who]

    async def _glance(self, name: str) -> Observation | None:
        """Read a pooler that is no target; None: it does not answer."""
        try:
            return await self.observe_by_name(name)
        except PooldeckError:
            return None


def _gate_warnings(
    spec: OpSpec[Any], items: Sequence[TargetPlan], order: Sequence[Sequence[Target]], how: Rollout
) -> tuple[str, ...]:
    """Warn where the gate after a wave will find what was so before."""
    if spec.holds or spec.conduct or spec.absence is Absence.LASTING:
        return ()
    gated = {target.bouncer for wave in order[:-1] for target in wave}
    looks = {item.target.bouncer: item.ask.seen for item in items if item.target.bouncer in gated}
    return waited_already(
        (seen for seen in looks.values() if isinstance(seen, Observation)), limit_s=how.max_wait_s
    )


def _parameters(spec: OpSpec[Any], given: Mapping[str, Any]) -> Parameters:
    try:
        return spec.parameters.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        option = next((one for one in spec.verb.options if one.field == key), None)
        name = (option.flag or option.metavar) if option is not None else f"--{key.removesuffix('_s')}"
        wrong = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        raise UsageError(f"{spec.name}: {f'{name} ' if key else ''}{wrong}") from None
