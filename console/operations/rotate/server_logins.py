"""Server connections that are opened as the role, proven where no login as the role through the pooler can.

An inline password and an auth_user's are used by the pooler alone: nobody logs in with them. A PAUSE that
drained has closed every server connection, so the first one after the RESUME has to log in with what the
files hold now; a RECONNECT would add nothing. Who brings one about is `probe_user`, or a client that waits.
Source: pgbouncer-admin.md, section 4 (facts 8, 10c, 11 and 13), trap T31.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from console.config.schema import Bouncer
from console.config.scram import SecretKind
from console.errors import NodeError, Phase
from console.model.rows import Pool
from console.operations.observe import read_pools
from console.operations.rotate.layout import Method, Place
from console.operations.rotate.look import RotateLook
from console.operations.rotate.standing import KEYS_MENDED, at_pooler
from console.operations.sessions import close_quietly
from console.operations.step import Step
from console.operations.switchover.nodes import ClientSide

_POLL_S = 0.1
_QUERY = "SELECT 1"


@dataclass(slots=True)
class ServerLogins:
    """One pooler's server connections as the role."""

    step: Step
    bouncer: Bouncer
    clients: ClientSide | None
    _asked: tuple[Place, ...] = field(default=(), init=False)
    """Where `probe_user` may be tried."""
    _served: frozenset[Place] = field(default=frozenset(), init=False)
    """Where it was let in before anything changed."""

    async def look(self) -> None:
        """Find out where `probe_user` is served now: there it has to be afterwards. Nothing is changed."""
        here = at_pooler(self.step.ask)
        self._asked = tuple(place for place in here.places if self._may_be_probed(place))
        found = await asyncio.gather(*(self._problem(place) for place in self._asked))
        self._served = frozenset(
            place for place, problem in zip(self._asked, found, strict=True) if problem is None
        )

    def _may_be_probed(self, place: Place) -> bool:
        found: RotateLook = self.step.ask.found
        lint, user = found.config.lint, self.bouncer.probe_user
        if self.clients is None or user in (None, self.step.parameters.role) or lint is None:
            return False
        if place.is_star or place.is_console:
            return False
        entry = lint.users.by_name.get(user) if lint.users is not None else None
        if place.method is Method.AUTH_USER:
            return entry is None
        if not place.is_unproven:
            return False
        plaintext = entry is not None and entry.kind is SecretKind.PLAINTEXT
        return plaintext or at_pooler(self.step.ask).version >= KEYS_MENDED

    async def _problem(self, place: Place) -> str | None:
        """Say why `probe_user` is not served; the second try lifts the lock of a pool that failed before."""
        return await self._probe(place) and await self._probe(place)

    async def _probe(self, place: Place) -> str | None:
        assert self.clients is not None, "asked before"
        try:
            await self.clients.ask_as_client(self.bouncer.name, place.database, _QUERY)
        except NodeError as error:
            return error.message
        return None

    async def prove(self, awaited: frozenset[tuple[str, str]]) -> str | None:
        """See that server connections log in as the role; return what was seen, None: nothing.

        Args:
            awaited: pools, by database and user, in which clients wait for one.

        Raises:
            NodeError: none does although it is needed.
        """
        proved = []
        for place in self._asked:
            problem = await self._problem(place)
            if problem is None:
                proved.append(place)
            elif place in self._served:
                raise NodeError(
                    Phase.PROTOCOL,
                    f"a query as {self.bouncer.probe_user} was not served: {problem}",
                    where=f"{self.bouncer.name}/{place.database}",
                )
            else:
                self.step.warn(
                    f"{place.database}: {self.bouncer.probe_user} is not served, nor was before: {problem}"
                )
        here = at_pooler(self.step.ask)
        left = [place for place in here.unproven if place not in proved]
        if left:
            proved += await self._seen(left, awaited)
        if not proved:
            return None
        names = ", ".join(place.database for place in proved)
        return f"a server connection is logged in as {self.step.parameters.role} for {names}"

    async def _seen(self, places: list[Place], awaited: frozenset[tuple[str, str]]) -> list[Place]:
        """Wait for those that clients need; tell of those that nobody needed yet."""
        role = self.step.parameters.role
        loop = asyncio.get_running_loop()
        end = loop.time() + self.step.query_timeout_s
        session = await self.step.connector.reader(self.bouncer.name)
        try:
            while True:
                pools = await read_pools(session, self.step.dialect, timeout_s=self.step.query_timeout_s)
                there = {pool.database for pool in pools if pool.user == role and _logged_in(pool)}
                missing = [place.database for place in places if place.database not in there]
                needed = [name for name in missing if (name, role) in awaited]
                if not needed:
                    break
                if loop.time() >= end:
                    raise NodeError(
                        Phase.PROTOCOL,
                        f"clients waited, and no server connection logged in as {role} within "
                        f"{self.step.query_timeout_s:g} s",
                        where=f"{self.bouncer.name}/{', '.join(needed)}",
                    )
                await asyncio.sleep(_POLL_S)
        finally:
            await close_quietly(session)
        if missing:
            self.step.warn(
                f"{', '.join(missing)}: nobody has needed a server connection since the RESUME, so none was "
                f"seen to log in as {role}"
            )
        return [place for place in places if place.database in there]


def _logged_in(pool: Pool) -> bool:
    return bool(pool.sv_active + pool.sv_idle + pool.sv_used + pool.sv_tested)
