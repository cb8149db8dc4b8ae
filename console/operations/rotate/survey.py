"""The fleet's side of a rotation's plan: the Postgres nodes behind the poolers, and what fits together.

It only asks. The steps that come of it are `steps`', each pooler by itself is `standing`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from console.config.schema import Bouncer, Inventory
from console.config.scram import SecretKind, fingerprint, secret_kind
from console.errors import PooldeckError
from console.model.role import RoleReading
from console.operations.observe import Observation
from console.operations.roles import Roles
from console.operations.rotate.growth import Growth, growth
from console.operations.rotate.layout import Place
from console.operations.rotate.look import RotateLook
from console.operations.rotate.nodes import Behind, behind
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.run_file import RunState
from console.operations.rotate.scheme import AtPooler, DirectLogin, Scheme
from console.operations.rotate.standing import BY_HAND, at_pooler
from console.operations.rotate.steps import Wish, steps_of
from console.operations.spec import Ask, Survey, Whole


async def survey_rotation(survey: Survey[Observation]) -> Whole:
    """Return what is to be said of the targets together."""
    return await _Survey(survey).whole()


@dataclass
class _Found:
    """What goes into the plan besides the steps."""

    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class _Survey:
    def __init__(self, survey: Survey[Observation]) -> None:
        self._survey = survey
        self._asked: RotateParameters = survey.parameters
        self._inventory: Inventory = survey.inventory
        self._found = _Found()
        self._behind: dict[tuple[str, str], Behind] = {}

    async def whole(self) -> Whole:
        here = [(ask, at_pooler(ask)) for ask in self._survey.asks]
        poolers = tuple(one for _, one in here if one.places)
        if not poolers and not any(ask.found.why_not for ask, _ in here):
            self._refuse(f"no pooler that is named knows a role {self._asked.role}")
        for ask, one in here:
            for place in one.places:
                if place.needs_postgres:
                    self._lead(ask.found.bouncer, place)
        readings = await self._readings()
        primaries, replicas = self._primaries(readings)
        self._judge_roles(primaries)
        self._judge_secrets(primaries)
        to = self._asked.to or None
        scheme = Scheme(self._asked.role, to, poolers, primaries, replicas, self._direct(poolers))
        if to is not None:
            self._judge_growth(readings, primaries, replicas)
        self._judge_methods(scheme)
        left = await self._left()
        wish = Wish(
            timeout_s=self._asked.timeout_s,
            hold_s=self._asked.hold_s,
            old_known=bool(self._asked.old_from),
            back=self._asked.undo,
            interrupted=left is not None,
        )
        steps = steps_of(scheme, wish)
        return Whole(
            steps if poolers else (),
            facts=_facts(scheme),
            warnings=tuple(dict.fromkeys(self._found.warnings)),
            blocked="; ".join(dict.fromkeys(self._found.refusals)) or None,
            found=scheme,
        )

    async def _left(self) -> RunState | None:
        """Return what an earlier run of the role left, and refuse what does not go with it."""
        files, asked = self._survey.reach.run_files, self._asked
        if files is None:
            return None
        try:
            left = await asyncio.to_thread(files.open_for, self._inventory.fleet, asked.role)
        except PooldeckError as error:
            self._refuse(str(error))
            return None
        if left is None and (asked.resume or asked.undo):
            self._refuse(f"no rotation of {asked.role} was interrupted here: there is nothing to go on with")
        if left is not None and not (asked.resume or asked.undo):
            self._refuse(
                f"a rotation of {asked.role} on {left.selector} was interrupted ({left.phase}): complete it "
                "with --resume, or take it back with --undo"
            )
        return left

    def _refuse(self, text: str) -> None:
        self._found.refusals.append(text)

    def _warn(self, text: str) -> None:
        self._found.warnings.append(text)

    # -- what lies behind ---------------------------------------------------------------------------

    def _lead(self, bouncer: Bouncer, place: Place) -> None:
        found = behind(place.host, place.port, bouncer, self._inventory)
        self._behind[bouncer.name, place.database] = found
        address = f"{place.host or 'its own socket'}:{place.port}"
        if found.pooler is not None:
            named = {ask.target.bouncer for ask in self._survey.asks}
            if found.pooler.name not in named:
                self._refuse(
                    f"{bouncer.name}/{place.database} leads to the pooler {found.pooler.name}, which is not "
                    "named: both have to change together"
                )
        elif found.node is None:
            self._refuse(
                f"which Postgres node {bouncer.name}/{place.database} leads to ({address}) is not known: "
                "name it in [[postgres]] of the inventory"
            )
        elif found.by_port:
            self._warn(
                f"{bouncer.name}/{place.database} leads to {address}, taken for {found.node.name} by its port"
            )

    def _direct(self, poolers: tuple[AtPooler, ...]) -> tuple[DirectLogin, ...]:
        """Return where poolers log in with the password itself."""
        found = [
            # The line * has no name of its own.
            DirectLogin(node.name, place.dbname or node.databases[0])
            for one in poolers
            for place in one.places
            if place.logs_in_directly and (node := self._behind[one.bouncer, place.database].node) is not None
        ]
        return tuple(dict.fromkeys(found))

    async def _readings(self) -> Mapping[str, RoleReading]:
        """Read the role on every node behind, and on the primaries of those that are replicas."""
        roles: Roles | None = self._survey.reach.roles
        nodes = {found.node.name: found.node for found in self._behind.values() if found.node is not None}
        if not nodes:
            return {}
        if roles is None:
            self._refuse("this session cannot log in to Postgres nodes, so no password can be changed")
            return {}
        if any(node.role == "replica" for node in nodes.values()):
            nodes |= {node.name: node for node in self._inventory.postgres if node.role == "primary"}
        read = await asyncio.gather(*(self._read(roles, name) for name in nodes))
        return {reading.node: reading for reading in read if reading is not None}

    async def _read(self, roles: Roles, name: str) -> RoleReading | None:
        limit_s = self._inventory.defaults.query_timeout_s
        try:
            return await roles.read(name, self._asked.role, timeout_s=limit_s)
        except PooldeckError as error:
            self._refuse(f"{name} cannot be asked about {self._asked.role}: {error.message}")
            return None

    def _primaries(
        self, readings: Mapping[str, RoleReading]
    ) -> tuple[tuple[RoleReading, ...], Mapping[str, str]]:
        """Return where the role is changed, and the replicas behind poolers with their primaries."""
        wanted: dict[str, RoleReading] = {}
        replicas: dict[str, str] = {}
        for name in dict.fromkeys(found.node.name for found in self._behind.values() if found.node):
            reading = readings.get(name)
            if reading is None:
                continue
            if not reading.in_recovery:
                wanted[name] = reading
                continue
            primary = _primary_of(reading, readings)
            if primary is None:
                self._refuse(f"{name} is a replica, and its primary is not in the inventory")
            else:
                wanted[primary.node] = primary
                replicas[name] = primary.node
        return tuple(wanted.values()), replicas

    # -- judging ------------------------------------------------------------------------------------

    def _judge_roles(self, primaries: tuple[RoleReading, ...]) -> None:
        role = self._asked.role
        for reading in primaries:
            if reading.why_not is not None:
                self._refuse(f"{reading.node}: the password of {role} cannot be changed: {reading.why_not}")
            elif not reading.can_log_in:
                self._refuse(f"{reading.node}: {role} may not log in")
            elif reading.expired:
                self._refuse(f"{reading.node}: VALID UNTIL of {role} has passed: nobody can log in with it")
            if reading.superuser:
                self._warn(f"{role} is a superuser on {reading.node}")
            if reading.stored is not None and secret_kind(reading.stored) is SecretKind.MD5:
                self._warn(f"{reading.node} has an md5 secret for it, which becomes a SCRAM verifier")
            if reading.stored is None:
                self._warn(
                    f"{reading.node}: pg_authid may not be read, so --undo may need the old secret: with a "
                    "superuser as its admin_user the old verifier would be kept"
                )

    def _judge_secrets(self, primaries: tuple[RoleReading, ...]) -> None:
        """Warn of what does not work even now: pass-through needs one and the same secret."""
        stored = {hashlib.sha256(one.stored.encode()).hexdigest() for one in primaries if one.stored}
        if len(stored) != 1:
            if len(stored) > 1:
                self._warn("the nodes have different secrets of the role; afterwards they have the same")
            return
        for ask in self._survey.asks:
            found: RotateLook = ask.found
            entry = found.known.entry if found.known is not None else None
            if entry is SecretKind.SCRAM and found.entry_hash not in stored and at_pooler(ask).pauses:
                self._warn(
                    f"{ask.target.bouncer}: the SCRAM secret of its auth_file is not the one of Postgres, so "
                    "its server logins fail already"
                )

    def _judge_methods(self, scheme: Scheme) -> None:
        asked = self._asked
        if asked.method == "ab" and scheme.to is None:
            self._refuse("--method ab needs --to: the role that takes over")
        if scheme.to is not None and asked.method not in ("auto", "ab", "inline", "auth-user"):
            self._refuse(f"--method {asked.method} changes the role's own secret, so it goes without --to")
        hand = [method for method in scheme.methods if method in BY_HAND]
        if hand:
            names = ", ".join(f"{method.runbook} {method.value}" for method in hand)
            self._refuse(f"{names}: these steps are for your own hands as yet; --check prints them")
        left = [one.name for one in self._inventory.bouncers if one.name not in self._names()]
        if left and scheme.to is None and scheme.primaries:
            self._warn(
                f"not named: {', '.join(left)}; where they know {asked.role} too, nobody could log in there "
                "any more"
            )

    def _names(self) -> frozenset[str]:
        return frozenset(ask.target.bouncer for ask in self._survey.asks)

    def _judge_growth(
        self,
        readings: Mapping[str, RoleReading],
        primaries: tuple[RoleReading, ...],
        replicas: Mapping[str, str],
    ) -> None:
        for name in dict.fromkeys((*(one.node for one in primaries), *replicas)):
            reading = readings[name]
            grown = self._growth(name, reading.max_connections - reading.reserved)
            if grown.refused is not None:
                self._refuse(grown.refused)
            if grown.warning is not None:
                self._warn(grown.warning)

    def _growth(self, node: str, available: int) -> Growth:
        def leading(ask: Ask[Observation]) -> frozenset[str]:
            leads = {
                row.name: behind(row.host, row.port, ask.found.bouncer, self._inventory).node
                for row in ask.seen.databases
            }
            return frozenset(
                name for name, found in leads.items() if found is not None and found.name == node
            )

        seen = [
            (ask.seen, leading(ask), {place.database: 1 for place in at_pooler(ask).places})
            for ask in self._survey.asks
        ]
        return growth(node, seen, available=available)


def _primary_of(replica: RoleReading, readings: Mapping[str, RoleReading]) -> RoleReading | None:
    others = [one for one in readings.values() if not one.in_recovery]
    if replica.system_id is None:
        return others[0] if len(others) == 1 else None
    return next((one for one in others if one.system_id == replica.system_id), None)


def _facts(scheme: Scheme) -> dict[str, str]:
    """Return what a permit is bound to beyond the poolers' own facts; no secrets."""
    facts = {
        f"role on {one.node}": f"secret {fingerprint(one.stored) if one.stored else 'not known'}, "
        f"{'may log in' if one.can_log_in else 'may not log in'}"
        for one in scheme.primaries
    }
    return facts | {f"replica {name}": f"of {primary}" for name, primary in scheme.replicas.items()}
