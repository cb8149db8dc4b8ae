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
from console.operations.rotate.layout import Place
from console.operations.rotate.look import RotateLook
from console.operations.rotate.nodes import Behind, behind
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.run_file import RunState
from console.operations.rotate.scheme import AtPooler, DirectLogin, Scheme
from console.operations.rotate.standing import at_pooler
from console.operations.rotate.steps import Wish, steps_of
from console.operations.rotate.two_roles_file import TwoRolesFiles
from console.operations.spec import Survey, Whole


async def survey_rotation(survey: Survey[Observation]) -> Whole:
    """Return what is to be said of the targets together."""
    return await RoleSurvey(survey).whole()


@dataclass
class Judged:
    """What goes into the plan besides the steps."""

    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class RoleSurvey:
    """The survey while it is made; that of two roles rests on it.

    Attributes:
        survey: what may be used.
        asked: of the verb.
        inventory: of the fleet.
        judged: what was found wrong or odd so far.
        behind: what a pooler's database leads to, by (pooler, database).
    """

    def __init__(self, survey: Survey[Observation]) -> None:
        self.survey = survey
        self.asked: RotateParameters = survey.parameters
        self.inventory: Inventory = survey.inventory
        self.judged = Judged()
        self.behind: dict[tuple[str, str], Behind] = {}

    async def whole(self) -> Whole:
        here = [(ask, at_pooler(ask)) for ask in self.survey.asks]
        poolers = tuple(one for _, one in here if one.places)
        if not poolers and not any(ask.found.why_not for ask, _ in here):
            self.refuse(f"no pooler that is named knows a role {self.asked.role}")
        for ask, one in here:
            for place in one.places:
                if place.needs_postgres:
                    self.lead(ask.found.bouncer, place)
        readings = await self.readings()
        primaries, replicas = self.primaries(readings)
        self._judge_roles(primaries)
        self._judge_secrets(primaries)
        scheme = Scheme(self.asked.role, poolers, primaries, replicas, self._direct(poolers))
        self._judge_methods(scheme)
        left = await self._left()
        wish = Wish(
            timeout_s=self.asked.timeout_s,
            hold_s=self.asked.hold_s,
            old_known=bool(self.asked.old_from),
            back=self.asked.undo,
            interrupted=left is not None,
        )
        steps = steps_of(scheme, wish)
        return Whole(
            steps if poolers else (),
            facts=facts_of_nodes(scheme),
            warnings=tuple(dict.fromkeys(self.judged.warnings)),
            blocked="; ".join(dict.fromkeys(self.judged.refusals)) or None,
            found=scheme,
        )

    async def _left(self) -> RunState | None:
        """Return what an earlier run of the role left, and refuse what does not go with it."""
        files, asked = self.survey.reach.run_files, self.asked
        if files is None:
            return None
        try:
            left = await asyncio.to_thread(files.open_for, self.inventory.fleet, asked.role)
            both = await asyncio.to_thread(
                TwoRolesFiles(files.folder).touching, self.inventory.fleet, asked.role
            )
        except PooldeckError as error:
            self.refuse(str(error))
            return None
        if both is not None:
            self.refuse(f"a rotation from {both.role} to {both.to} is open: --finish or --undo it first")
        if left is None and (asked.resume or asked.undo):
            self.refuse(f"no rotation of {asked.role} was interrupted here: there is nothing to go on with")
        if left is not None and not (asked.resume or asked.undo):
            self.refuse(
                f"a rotation of {asked.role} on {left.selector} was interrupted ({left.phase}): complete it "
                "with --resume, or take it back with --undo"
            )
        return left

    def refuse(self, text: str) -> None:
        """Say why it cannot be done."""
        self.judged.refusals.append(text)

    def warn(self, text: str) -> None:
        """Say what is odd."""
        self.judged.warnings.append(text)

    # -- what lies behind ---------------------------------------------------------------------------

    def lead(self, bouncer: Bouncer, place: Place) -> None:
        """Find out what a place leads to."""
        found = behind(place.host, place.port, bouncer, self.inventory)
        self.behind[bouncer.name, place.database] = found
        address = f"{place.host or 'its own socket'}:{place.port}"
        if found.pooler is not None:
            named = {ask.target.bouncer for ask in self.survey.asks}
            if found.pooler.name not in named:
                self.refuse(
                    f"{bouncer.name}/{place.database} leads to the pooler {found.pooler.name}, which is not "
                    "named: both have to change together"
                )
        elif found.node is None:
            self.refuse(
                f"which Postgres node {bouncer.name}/{place.database} leads to ({address}) is not known: "
                "name it in [[postgres]] of the inventory"
            )
        elif found.by_port:
            self.warn(f"databases that lead to {address} are taken for {found.node.name}'s, by its port")

    def _direct(self, poolers: tuple[AtPooler, ...]) -> tuple[DirectLogin, ...]:
        """Return where poolers log in with the password itself."""
        found = [
            # The line * has no name of its own.
            DirectLogin(node.name, place.dbname or node.databases[0])
            for one in poolers
            for place in one.places
            if place.logs_in_directly and (node := self.behind[one.bouncer, place.database].node) is not None
        ]
        return tuple(dict.fromkeys(found))

    async def readings(self) -> Mapping[str, RoleReading]:
        """Read the role on every node behind, and on the primaries of those that are replicas."""
        roles: Roles | None = self.survey.reach.roles
        nodes = {found.node.name: found.node for found in self.behind.values() if found.node is not None}
        if not nodes:
            return {}
        if roles is None:
            self.refuse("this session cannot log in to Postgres nodes, so no password can be changed")
            return {}
        if any(node.role == "replica" for node in nodes.values()):
            nodes |= {node.name: node for node in self.inventory.postgres if node.role == "primary"}
        read = await asyncio.gather(*(self._read(roles, name) for name in nodes))
        return {reading.node: reading for reading in read if reading is not None}

    async def _read(self, roles: Roles, name: str) -> RoleReading | None:
        limit_s = self.inventory.defaults.query_timeout_s
        try:
            return await roles.read(name, self.asked.role, timeout_s=limit_s)
        except PooldeckError as error:
            self.refuse(f"{name} cannot be asked about {self.asked.role}: {error.message}")
            return None

    def primaries(
        self, readings: Mapping[str, RoleReading]
    ) -> tuple[tuple[RoleReading, ...], Mapping[str, str]]:
        """Return where the role is changed, and the replicas behind poolers with their primaries."""
        wanted: dict[str, RoleReading] = {}
        replicas: dict[str, str] = {}
        for name in dict.fromkeys(found.node.name for found in self.behind.values() if found.node):
            reading = readings.get(name)
            if reading is None:
                continue
            if not reading.in_recovery:
                wanted[name] = reading
                continue
            primary = _primary_of(reading, readings)
            if primary is None:
                self.refuse(f"{name} is a replica, and its primary is not in the inventory")
            else:
                wanted[primary.node] = primary
                replicas[name] = primary.node
        return tuple(wanted.values()), replicas

    # -- judging ------------------------------------------------------------------------------------

    def _judge_roles(self, primaries: tuple[RoleReading, ...]) -> None:
        role = self.asked.role
        for reading in primaries:
            if reading.why_not is not None:
                self.refuse(f"{reading.node}: the password of {role} cannot be changed: {reading.why_not}")
            elif not reading.can_log_in:
                self.refuse(f"{reading.node}: {role} may not log in")
            elif reading.expired:
                self.refuse(f"{reading.node}: VALID UNTIL of {role} has passed: nobody can log in with it")
            if reading.superuser:
                self.warn(f"{role} is a superuser on {reading.node}")
            if reading.stored is not None and secret_kind(reading.stored) is SecretKind.MD5:
                self.warn(f"{reading.node} has an md5 secret for it, which becomes a SCRAM verifier")
            if reading.stored is None:
                self.warn(
                    f"{reading.node}: pg_authid may not be read, so --undo may need the old secret: with a "
                    "superuser as its admin_user the old verifier would be kept"
                )

    def _judge_secrets(self, primaries: tuple[RoleReading, ...]) -> None:
        """Warn of what does not work even now: pass-through needs one and the same secret."""
        stored = {hashlib.sha256(one.stored.encode()).hexdigest() for one in primaries if one.stored}
        if len(stored) != 1:
            if len(stored) > 1:
                self.warn("the nodes have different secrets of the role; afterwards they have the same")
            return
        for ask in self.survey.asks:
            found: RotateLook = ask.found
            entry = found.known.entry if found.known is not None else None
            if entry is SecretKind.SCRAM and found.entry_hash not in stored and at_pooler(ask).pauses:
                self.warn(
                    f"{ask.target.bouncer}: the SCRAM secret of its auth_file is not the one of Postgres, so "
                    "its server logins fail already"
                )

    def _judge_methods(self, scheme: Scheme) -> None:
        asked = self.asked
        if asked.method == "ab":
            self.refuse("--method ab needs --to: the role that takes over")
        left = [one.name for one in self.inventory.bouncers if one.name not in self.names()]
        if left and scheme.primaries:
            self.warn(
                f"not named: {', '.join(left)}; where they know {asked.role} too, nobody could log in there "
                "any more"
            )

    def names(self) -> frozenset[str]:
        """Return the poolers that are named and answered."""
        return frozenset(ask.target.bouncer for ask in self.survey.asks)


def _primary_of(replica: RoleReading, readings: Mapping[str, RoleReading]) -> RoleReading | None:
    others = [one for one in readings.values() if not one.in_recovery]
    if replica.system_id is None:
        return others[0] if len(others) == 1 else None
    return next((one for one in others if one.system_id == replica.system_id), None)


def facts_of_nodes(scheme: Scheme) -> dict[str, str]:
    """Return what a permit is bound to beyond the poolers' own facts; no secrets."""
    facts = {
        f"role on {one.node}": f"secret {fingerprint(one.stored) if one.stored else 'not known'}, "
        f"{'may log in' if one.can_log_in else 'may not log in'}"
        for one in scheme.primaries
    }
    return facts | {f"replica {name}": f"of {primary}" for name, primary in scheme.replicas.items()}
