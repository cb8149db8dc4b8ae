"""One pooler during a rotation with two roles: its files, its sessions, its logins.

It does one thing at a time and decides nothing: `two_roles_run` says what comes next, and what is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from console.config.pgbouncer_edit import changed_paths
from console.config.pgbouncer_texts import ConfigTexts
from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.model.rows import Client, Database, Server
from console.operations.config_files import HostFiles
from console.operations.observe import Observation, read_pools
from console.operations.radius import BackendSource
from console.operations.reload_files import ConfigReader
from console.operations.reload_reading import read_after
from console.operations.roles import Logins
from console.operations.rotate.canary import Canaries
from console.operations.rotate.layout import Place
from console.operations.rotate.standing import kills_on_user
from console.operations.rotate.two_roles_edit import Pooler
from console.operations.rotate.two_roles_look import TwoRolesLook
from console.operations.rotate.two_roles_standing import tried, who_uses
from console.operations.sessions import WriteSession, close_quietly
from console.operations.step import Step, plural
from console.postgres.activity import Backend

_POLL_S = 0.1
_WHO = "SELECT current_user"


@dataclass(slots=True)
class TwoRolesSide:
    """One pooler."""

    step: Step
    logins: Logins
    role: str
    to: str
    texts: ConfigTexts = field(init=False)
    """The files as they are for all we know."""
    changed: bool = False
    """A second half wrote its files."""
    verified: list[str] = field(default_factory=list)
    seen: Observation = field(init=False)
    """As it was read last."""
    _session: WriteSession | None = None

    def __post_init__(self) -> None:
        texts = self.look.config.texts
        assert texts is not None, "the plan has seen to that"
        self.texts = texts
        self.seen = self.step.before

    @property
    def name(self) -> str:
        """The pooler's."""
        return self.step.target.bouncer

    @property
    def look(self) -> TwoRolesLook:
        """What was found of it just before."""
        found: TwoRolesLook = self.step.ask.found
        return found

    @property
    def bouncer(self) -> Bouncer:
        """Its entry of the inventory."""
        return self.look.bouncer

    @property
    def pooler(self) -> Pooler:
        """For edits, as it runs now."""
        return Pooler(self.seen.version, self.seen.config)

    @property
    def host(self) -> HostFiles:
        """Its host's files."""
        host = self.look.config.host
        assert host is not None, "the plan has seen to that"
        return host

    @property
    def host_limit_s(self) -> float:
        """For each command there."""
        return self.look.config.timeout_s

    async def open(self) -> None:
        """Open the session that is held over RELOAD. Raises NodeError."""
        self._session = await self.step.connector.writer(self.name)
        await self.step.check_process(self._session)

    async def close(self) -> None:
        """Close it; never raises."""
        await close_quietly(self._session)

    @property
    def session(self) -> WriteSession:
        """The one that is held."""
        assert self._session is not None, "opened before"
        return self._session

    # -- who is there ---------------------------------------------------------------------------------

    async def nobody_uses(self, role: str) -> None:
        """Make sure that no client is logged in as a role.

        Raises:
            NodeError: some are; its text says which.
        """
        step = self.step
        table = await self.session.show("CLIENTS", timeout_s=step.query_timeout_s)
        text = who_uses(self._clients(step.dialect.parse_clients(table)), role)
        if text is not None:
            raise NodeError(Phase.PROTOCOL, f"{text}; move them first", where=self.name)

    def _clients(self, clients: tuple[Client, ...]) -> tuple[Client, ...]:
        return tuple(one for one in clients if one.user in (self.role, self.to))

    async def _servers(self, databases: Collection[str]) -> tuple[Server, ...]:
        table = await self.session.show("SERVERS", timeout_s=self.step.query_timeout_s)
        return tuple(one for one in self.step.dialect.parse_servers(table) if one.database in databases)

    # -- files ----------------------------------------------------------------------------------------

    async def read_again(self, paths: Collection[str]) -> None:
        """Read files once more, where it is not known what was written. Raises NodeError."""
        for path in paths:
            file = await self.host.read(path, timeout_s=self.host_limit_s)
            if file.content is None:
                raise NodeError(Phase.PROTOCOL, f"{path}: {file.why}", where=self.host.where)
            self.texts = self.texts.with_files({path: file})

    async def adopt(self, texts: ConfigTexts) -> None:
        """Have it run with these files: judged, written, reloaded, read back.

        Raises:
            NodeError: it does not; what was written stays. AdminError: it says that it could not.
        """
        step, found = self.step, self.look
        reader = ConfigReader(self.host, self.seen, self.bouncer, self.host_limit_s)
        judged = await reader.judge(texts)
        wrong = (*judged.errors, *judged.unread)
        if wrong:
            raise NodeError(Phase.PARSE, f"the files would have an error: {wrong[0]}", where=self.name)
        await self._spare_clients(judged.expected.databases)
        for path in changed_paths(self.texts, texts):
            await self._write(path, texts)
        await step.send(self.session, step.dialect.reload(), step.query_timeout_s)
        after = replace(found.config, texts=texts, lint=judged)
        reading = await read_after(step, self.session, after, judged.expected, lost=False)
        self.seen = reading.after
        problem = reading.problem()
        if problem is not None:
            raise NodeError(Phase.PROTOCOL, f"after RELOAD: {problem}", where=self.name)
        for note in reading.notes:
            step.warn(note)

    async def _spare_clients(self, databases: Mapping[str, Database]) -> None:
        """Make sure that no client is there whom a changed `user=` would kill (fact 11). Raises NodeError."""
        version = self.seen.version
        if not kills_on_user((version.major, version.minor, version.patch)):
            return
        changed = {
            row.name
            for row in self.seen.databases
            if row.name in databases and databases[row.name].force_user not in (None, row.force_user)
        }
        limit_s = self.step.query_timeout_s
        pools = await read_pools(self.session, self.step.dialect, timeout_s=limit_s) if changed else ()
        hit = sum(pool.cl_active + pool.cl_waiting for pool in pools if pool.database in changed)
        if hit:
            raise NodeError(
                Phase.PROTOCOL,
                f"{plural(hit, 'client')} came whom a changed user= would kill",
                where=self.name,
            )

    async def _write(self, path: str, texts: ConfigTexts) -> None:
        old, new = self.texts.file(path), texts.file(path)
        assert new.content is not None, "made from one that was read"
        content = new.content

        async def write() -> str | None:
            done = await self.host.write(path, content, expect_sha256=old.sha256, timeout_s=self.host_limit_s)
            return done.problem

        problem = await self.step.act(f"write {path}", write)
        if problem is not None:
            raise NodeError(Phase.PROTOCOL, f"{path} could not be written: {problem}", where=self.name)
        self.texts = self.texts.with_files({path: new})

    # -- proofs ---------------------------------------------------------------------------------------

    async def drained(self, databases: Collection[str]) -> None:
        """Wait until no server connection of some databases is to be closed; one that stays is a warning.

        It is a client's that is amid a transaction, or in session mode just there: it is served by the first
        role until then. Raises NodeError.
        """
        limit_s = self.step.parameters.timeout_s
        end = asyncio.get_running_loop().time() + limit_s
        while True:
            left = sum(bool(one.close_needed) for one in await self._servers(databases))
            if not left:
                self.verified.append(
                    f"no server connection is left from before: {', '.join(sorted(databases))}"
                )
                return
            if self.step.control.stopped or asyncio.get_running_loop().time() >= end:
                break
            await asyncio.sleep(_POLL_S)
        self.step.warn(
            f"after {limit_s:g} s {plural(left, 'server connection')} of {', '.join(sorted(databases))} "
            "still serve a client as before; each is replaced when it is released"
        )

    async def lets_in(self, secret: SecretStr) -> None:
        """Log in as the second role and see who answers, everywhere. Raises NodeError."""
        canaries = Canaries(self.logins, self.name, self.to, self.step.query_timeout_s)
        done = []
        for place in tried(self.step.ask):
            problem = await canaries.is_served(place, secret)
            if problem is not None:
                raise NodeError(Phase.AUTH, f"{self.to} was not served: {problem}", where=self._at(place))
            if not place.is_console:
                await self._answers(place, secret)
            done.append(place.database)
        if done:
            self.verified.append(f"{self.to} is let in, and a query answered, on {', '.join(done)}")

    async def _answers(self, place: Place, secret: SecretStr) -> None:
        row = self.seen.database(place.database)
        wanted = (row.force_user if row is not None else None) or self.to
        limit_s = self.step.query_timeout_s
        found = await self.logins.ask_as(self.name, place.database, self.to, secret, _WHO, timeout_s=limit_s)
        if found != (wanted,):
            said = found[0] if found else "nobody"
            raise NodeError(Phase.PROTOCOL, f"{said} answered, not {wanted}", where=self._at(place))

    async def still_lets_in(self, secret: SecretStr) -> None:
        """Log in as the first role, everywhere. Raises NodeError."""
        canaries = Canaries(self.logins, self.name, self.role, self.step.query_timeout_s)
        done = []
        for place in self._old_places:
            problem = await canaries.is_served(place, secret)
            if problem is not None:
                raise NodeError(Phase.AUTH, f"{self.role} was not served: {problem}", where=self._at(place))
            done.append(place.database)
        if done:
            self.verified.append(f"{self.role} is let in still, and a query answered, on {', '.join(done)}")

    async def keeps_out(self, secret: SecretStr) -> None:
        """Log in as the first role, to be refused everywhere. Raises NodeError."""
        canaries = Canaries(self.logins, self.name, self.role, self.step.query_timeout_s)
        for place in self._old_places:
            problem = await canaries.is_refused(place, secret)
            if problem is not None:
                raise NodeError(Phase.AUTH, f"a login as {self.role}: {problem}", where=self._at(place))
        if self._old_places:
            self.verified.append(f"a login as {self.role} is refused")

    @property
    def _old_places(self) -> tuple[Place, ...]:
        return tuple(place for place in tried(self.step.ask) if place in self.look.places)

    async def serves_by(
        self, databases: Collection[str], nodes: Collection[str], source: BackendSource | None
    ) -> None:
        """See that the second role answers where it is forced: by probe_user, else by who the backends are.

        `nodes`: those behind; a pid of another one may be anybody's.

        Raises:
            NodeError: somebody else does.
        """
        clients = self.step.reach.clients
        if self.bouncer.probe_user is not None and clients is not None:
            for database in sorted(databases):
                found = await clients.ask_as_client(self.name, database, _WHO)
                if found != (self.to,):
                    said = found[0] if found else "nobody"
                    raise NodeError(
                        Phase.PROTOCOL, f"{said} answered, not {self.to}", where=f"{self.name}/{database}"
                    )
            self.verified.append(f"{self.to} answered on {', '.join(sorted(databases))}")
            return
        servers = await self._servers(databases)
        pids = {one.remote_pid for one in servers if one.remote_pid and not one.close_needed}
        backends = await source.backends(pids) if source is not None and pids else ()
        own = [one for one in backends if one.node in nodes and isinstance(one, Backend)]
        users = {one.user for one in own if one.user is not None}
        if users - {self.to}:
            others = ", ".join(sorted(users - {self.to}))
            raise NodeError(Phase.PROTOCOL, f"backends are {others}, not {self.to}", where=self.name)
        if users:
            self.verified.append(f"the backends of {', '.join(sorted(databases))} are {self.to}")
        else:
            self.step.warn(
                f"{', '.join(sorted(databases))}: no server connection was opened yet, so that {self.to} "
                "serves there was not seen"
            )

    async def asks_for_others(self, databases: Collection[str]) -> None:
        """See that a user who is not in the auth_file is let in, where one is known. Raises NodeError."""
        clients, user = self.step.reach.clients, self.bouncer.probe_user
        names = ", ".join(sorted(databases))
        if clients is None or user is None or self._is_listed(user):
            self.step.warn(
                f"{names}: the inventory has no probe_user whom auth_query is asked for, so none was tried"
            )
            return
        for database in sorted(databases):
            await clients.ask_as_client(self.name, database, _WHO)
        self.verified.append(f"{user}, who is not in the auth_file, is let in on {names}")

    def _is_listed(self, user: str) -> bool:
        lint = self.look.config.lint
        return lint is not None and lint.users is not None and user in lint.users.by_name

    def _at(self, place: Place) -> str:
        return f"{self.name}/{place.database}"
