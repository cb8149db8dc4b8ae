"""The fleet's side of a plan with two roles: nodes behind the poolers, both roles there, what fits together.

It only asks. Each pooler by itself is `two_roles_standing`'s, the steps that come of it `two_roles_steps`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import scan
from console.config.scram import fingerprint
from console.errors import PooldeckError
from console.model.role import RoleReading
from console.model.role_pair import PairReading
from console.operations.observe import Observation
from console.operations.rotate.growth import Growth, growth
from console.operations.rotate.layout import Method, Place
from console.operations.rotate.nodes import behind
from console.operations.rotate.scheme import Scheme
from console.operations.rotate.standing import at_pooler
from console.operations.rotate.survey import RoleSurvey, facts_of_nodes
from console.operations.rotate.two_roles import AuthQuery, Half, TwoRolesScheme, half_of, why_not_now
from console.operations.rotate.two_roles_file import TwoRolesFiles, TwoRolesState
from console.operations.rotate.two_roles_look import TwoRolesLook
from console.operations.rotate.two_roles_standing import is_known
from console.operations.rotate.two_roles_steps import two_roles_steps
from console.operations.spec import Ask, Survey, Whole


async def survey_two_roles(survey: Survey[Observation]) -> Whole:
    """Return what is to be said of the targets together."""
    return await _TwoRolesSurvey(survey).whole()


class _TwoRolesSurvey(RoleSurvey):
    def __init__(self, survey: Survey[Observation]) -> None:
        super().__init__(survey)
        self._half = half_of(self.asked)

    async def whole(self) -> Whole:
        """Return what is to be said of the targets together."""
        asks = [ask for ask in self.survey.asks if is_known(ask)]
        if not asks and not any(ask.found.why_not for ask in self.survey.asks):
            self.refuse(f"no pooler that is named knows a role {self.asked.role}")
        for ask in asks:
            for place in _places(ask):
                if place.needs_postgres:
                    self.lead(ask.found.bouncer, place)
        readings = await self.readings()
        primaries, replicas = self.primaries(readings)
        poolers = tuple(at_pooler(ask) for ask in asks)
        base = Scheme(self.asked.role, poolers, primaries, replicas)
        pairs = await self._pairs(primaries)
        left = await self._open()
        self._judge(base, pairs, left)
        if self._half.lets_in:
            self._judge_growth(readings, base)
        order = self._order(asks)
        scheme = TwoRolesScheme(
            self._half,
            self.asked.to,
            base,
            pairs,
            self._databases(asks, replicas),
            self._auth_queries(asks, replicas),
            tuple(ask.target.bouncer for ask in order),
            left,
        )
        return Whole(
            two_roles_steps(scheme, order, old_known=bool(self.asked.old_from)) if asks else (),
            facts={**facts_of_nodes(base), **_facts(scheme)},
            warnings=tuple(dict.fromkeys(self.judged.warnings)),
            blocked="; ".join(dict.fromkeys(self.judged.refusals)) or None,
            found=scheme,
        )

    async def _pairs(self, primaries: Sequence[RoleReading]) -> dict[str, PairReading]:
        pairs = self.survey.reach.pairs
        if pairs is None:
            self.refuse("this session cannot log in to Postgres nodes, so no role can be made")
            return {}
        limit_s = self.inventory.defaults.query_timeout_s
        found = {}
        for one in primaries:
            try:
                found[one.node] = await pairs.read_pair(
                    one.node, self.asked.role, self.asked.to, timeout_s=limit_s
                )
            except PooldeckError as error:
                self.refuse(f"{one.node} cannot be asked about {self.asked.to}: {error.message}")
        return found

    async def _open(self) -> TwoRolesState | None:
        """Return what is open of it, and refuse what does not go with that."""
        files, asked, fleet = self.survey.reach.run_files, self.asked, self.inventory.fleet
        if files is None:
            return None
        try:
            left = await asyncio.to_thread(TwoRolesFiles(files.folder).touching, fleet, asked.role, asked.to)
            for role in (asked.role, asked.to):
                other = await asyncio.to_thread(files.open_for, fleet, role)
                if other is not None:
                    self.refuse(f"a rotation of {role} was interrupted: --resume or --undo it first")
        except PooldeckError as error:
            self.refuse(str(error))
            return None
        why_not = why_not_now(self._half, left, asked)
        if why_not is not None:
            self.refuse(why_not)
            return None
        missing = sorted(left.files.keys() - self.names()) if left is not None else []
        if missing:
            self.refuse(f"not named, and part of it: {', '.join(missing)}")
        return left

    # -- what lies behind ---------------------------------------------------------------------------

    def _order(self, asks: Sequence[Ask[Observation]]) -> list[Ask[Observation]]:
        """Return the poolers as they are changed: one that others lead to before them."""
        ahead = {
            name: {found.pooler.name for (of, _), found in self.behind.items() if of == name and found.pooler}
            for name in (ask.target.bouncer for ask in asks)
        }
        order: list[Ask[Observation]] = []
        waiting = list(asks)
        while waiting:
            done = {ask.target.bouncer for ask in order}
            names = {ask.target.bouncer for ask in waiting}
            free = [ask for ask in waiting if not (ahead[ask.target.bouncer] - done) & names]
            order += free or waiting
            waiting = [ask for ask in waiting if free and ask not in free]
        return order

    def _primary(self, ask: Ask[Observation], place: Place, replicas: Mapping[str, str]) -> str | None:
        found = self.behind.get((ask.target.bouncer, place.database))
        if found is None or found.node is None:
            return None
        return replicas.get(found.node.name, found.node.name)

    def _databases(
        self, asks: Sequence[Ask[Observation]], replicas: Mapping[str, str]
    ) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        for ask in asks:
            for place in _places(ask):
                node = self._primary(ask, place, replicas)
                if node is not None and place.dbname is not None and place.needs_postgres:
                    found.setdefault(node, {})[place.dbname] = None
        return {node: tuple(names) for node, names in found.items()}

    def _auth_queries(
        self, asks: Sequence[Ask[Observation]], replicas: Mapping[str, str]
    ) -> tuple[AuthQuery, ...]:
        found: dict[AuthQuery, None] = {}
        for ask in asks:
            for place in _places(ask):
                node = self._primary(ask, place, replicas)
                if place.method is Method.AUTH_USER and node is not None:
                    database, query = _asks(ask, place)
                    if database is not None and query:
                        found[AuthQuery(node, database, query)] = None
        return tuple(found)

    # -- judging ------------------------------------------------------------------------------------

    def _judge(self, base: Scheme, pairs: Mapping[str, PairReading], left: TwoRolesState | None) -> None:
        asked = self.asked
        if asked.method not in ("auto", "ab"):
            self.refuse(f"--method {asked.method} changes the role's own secret, so it goes without --to")
        for node, pair in pairs.items():
            if pair.why_not is not None:
                self.refuse(f"{node}: {pair.why_not}")
            elif self._half is Half.FIRST:
                self._judge_first(node, pair)
        if self._half is Half.FINISH:
            unnamed = [one.name for one in self.inventory.bouncers if one.name not in self.names()]
            if unnamed:
                self.refuse(
                    f"NOLOGIN is for all poolers of the fleet, so name them too: {', '.join(unnamed)}"
                )
            strangers = [
                one.bouncer for one in base.poolers if left is not None and one.bouncer not in left.files
            ]
            if strangers:
                self.refuse(
                    f"{asked.to} was not let in there: {', '.join(strangers)}: --undo, and begin again"
                )

    def _judge_first(self, node: str, pair: PairReading) -> None:
        role, to = self.asked.role, self.asked.to
        if not pair.old_can_log_in:
            self.refuse(f"{node}: {role} may not log in")
        if pair.expired:
            self.refuse(f"{node}: VALID UNTIL of {to} has passed: nobody can log in with it")
        if pair.exists and pair.stored is None:
            self.warn(
                f"{node}: pg_authid may not be read, so --undo could not give {to} its former secret back"
            )
        if pair.can_log_in and pair.stored != "":
            self.warn(f"{node}: {to} may log in already; unless it has the secret given, it gets that one")
        if pair.lacking:
            self.warn(
                f"{node}: {to} is there and without {', '.join(pair.lacking)}, which {role} has or needs; a "
                "role that exists keeps its own attributes, limit and settings"
            )
        if "SUPERUSER" in pair.attributes:
            self.warn(f"{role} is a superuser on {node}, and {to} becomes one")
        if pair.is_above and pair.owned:
            self.warn(
                f"{node}: {role} is a member of {to}, so {to} joins its groups instead; {pair.owned} rights "
                f"and objects are {role}'s own, and {to} does not get those"
            )

    def _judge_growth(self, readings: Mapping[str, RoleReading], base: Scheme) -> None:
        for name in dict.fromkeys((*(one.node for one in base.primaries), *base.replicas)):
            reading = readings[name]
            grown = self._growth(name, reading.max_connections - reading.reserved)
            if grown.refused is not None:
                self.refuse(grown.refused)
            if grown.warning is not None:
                self.warn(grown.warning)

    def _growth(self, node: str, available: int) -> Growth:
        def leading(ask: Ask[Observation]) -> frozenset[str]:
            leads = {
                row.name: behind(row.host, row.port, ask.found.bouncer, self.inventory).node
                for row in ask.seen.databases
            }
            return frozenset(
                name for name, found in leads.items() if found is not None and found.name == node
            )

        seen = [
            (ask.seen, leading(ask), {place.database: 1 for place in at_pooler(ask).places})
            for ask in self.survey.asks
        ]
        return growth(node, seen, available=available)


def _places(ask: Ask[Observation]) -> tuple[Place, ...]:
    """Return the first role's, and the second one's: as soon as that took over, it alone is there."""
    found: TwoRolesLook = ask.found
    return (*found.places, *found.new_places)


def _asks(ask: Ask[Observation], place: Place) -> tuple[str | None, str]:
    """Return the database in Postgres where a place's auth_query is asked, and the query."""
    found: TwoRolesLook = ask.found
    texts, pooler = found.config.texts, found.pooler
    if texts is None or pooler is None:
        return None, ""
    lines = scan(texts)[0].ini.effective("databases")
    line = lines.get(place.database) or lines.get("*")
    pairs = dict(connection_pairs(line)) if line is not None else {}
    query = pairs.get("auth_query") or pooler.value("auth_query")
    where = pairs.get("auth_dbname") or pooler.value("auth_dbname")
    if not where:
        return place.dbname, query
    row = ask.seen.database(where)
    return (row.database if row is not None else None), query


def _facts(scheme: TwoRolesScheme) -> dict[str, str]:
    """Return what a permit is bound to besides; no secrets."""
    facts = {
        f"{scheme.to} on {node}": (
            f"{'there' if pair.exists else 'not there'}, {'LOGIN' if pair.can_log_in else 'NOLOGIN'}, secret "
            f"{fingerprint(pair.stored) if pair.stored else 'not known'}; {scheme.role}: "
            f"{'LOGIN' if pair.old_can_log_in else 'NOLOGIN'}"
        )
        for node, pair in scheme.pairs.items()
    }
    left = scheme.left
    return facts | ({"open": f"{left.run_id} {left.phase}"} if left is not None else {})
