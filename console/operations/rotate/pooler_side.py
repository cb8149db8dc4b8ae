"""One pooler during a rotation: its sessions, its files, its pause, its canaries.

It does one thing at a time and decides nothing: `run` says what comes next, and what is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from console.config.pgbouncer_texts import ConfigTexts, HostFile
from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.operations.observe import Observation, observe
from console.operations.outcome import EventKind, TargetReceipt
from console.operations.pausing import Ending, Pausing
from console.operations.reload_changes import changes_between
from console.operations.reload_copies import keep_good
from console.operations.rotate.canary import Canaries
from console.operations.rotate.host_files import FileAt, HeldFile
from console.operations.rotate.layout import Place
from console.operations.rotate.look import RotateLook
from console.operations.rotate.scheme import AtPooler
from console.operations.rotate.server_logins import ServerLogins
from console.operations.rotate.standing import at_pooler
from console.operations.sessions import WriteSession, close_quietly
from console.operations.step import Step

BACK_LIMIT_S = 10.0
"""So long the host is tried again, when contact is lost, to put its files back."""
BACK_PAUSE_S = 0.5
CURES = 2
"""How often a pooler that lost the keys of its canary is reloaded again."""


@dataclass(slots=True)
class PoolerSide:
    """One pooler of a rotation."""

    step: Step
    canaries: Canaries
    server_logins: ServerLogins
    here: AtPooler = field(init=False)
    files: tuple[HeldFile, ...] = ()
    """Those that are changed."""
    pausing: Pausing | None = None
    is_paused: bool = False
    awaited: frozenset[tuple[str, str]] = frozenset()
    """Pools, by database and user, in which clients waited while it was paused."""
    was_reloaded: bool = False
    """A RELOAD was sent: it may have another secret in memory than before."""
    ever_trusted: bool = False
    """A canary was let in: it has other keys for server logins than before."""
    verified: list[str] = field(default_factory=list)
    _session: WriteSession | None = None

    def __post_init__(self) -> None:
        self.here = at_pooler(self.step.ask)

    @property
    def name(self) -> str:
        """The pooler's."""
        return self.here.bouncer

    @property
    def bouncer(self) -> Bouncer:
        """Its entry of the inventory."""
        found: RotateLook = self.step.ask.found
        return found.bouncer

    @property
    def places(self) -> tuple[Place, ...]:
        """Where logins can be tried."""
        disabled = {row.name for row in self.step.before.databases if row.disabled}
        return tuple(
            place for place in self.here.places if place.client_may_log_in and place.database not in disabled
        )

    async def open(self) -> None:
        """Open its sessions and find its file; nothing is changed.

        Raises:
            NodeError: one could not be had.
        """
        step = self.step
        if self.here.files:
            self.files = tuple(await asyncio.gather(*(self._found(file.path) for file in self.here.files)))
            self._session = await step.connector.writer(self.name)
            await step.check_process(self._session)
        await self.server_logins.look()
        if self.here.pauses:
            self.pausing = Pausing(step)
            await self.pausing.open()

    async def _found(self, name: str) -> HeldFile:
        at = await FileAt.of(self.bouncer, name, self.step.reach.transport, timeout_s=self._host_limit_s)
        content = await at.read()
        if content != self.texts.file(name).content:
            raise NodeError(Phase.PROTOCOL, f"{name} was changed since it was checked", where=self.name)
        return HeldFile(name, at, content, content)

    @property
    def texts(self) -> ConfigTexts:
        """Its files as they were found."""
        found: RotateLook = self.step.ask.found
        assert found.config.texts is not None, "a pooler whose files were not read is refused"
        return found.config.texts

    @property
    def _host_limit_s(self) -> float:
        return self.step.query_timeout_s + (self.bouncer.connect_timeout_s or self.step.query_timeout_s)

    async def keep_copies(self) -> None:
        """Keep a copy of each file. Raises NodeError."""
        for file in self.files:
            await file.keep()

    async def put(self, contents: Mapping[str, bytes]) -> None:
        """Put contents in the place of files; the pooler does not read them yet. Raises NodeError."""
        for file in self.files:
            if file.name in contents and await file.put(contents[file.name]):
                self.step.tell(EventKind.NOTE, f"{file.at.path} is written")

    async def put_back(self) -> None:
        """Put every file back as it was found, trying again for a while. Raises NodeError."""
        end = asyncio.get_running_loop().time() + BACK_LIMIT_S
        while True:
            try:
                return await self.put({file.name: file.original for file in self.files})
            except NodeError:
                if asyncio.get_running_loop().time() + BACK_PAUSE_S >= end:
                    raise
            await asyncio.sleep(BACK_PAUSE_S)

    async def reload(self) -> None:
        """Have it read its files, and see that nothing else has changed.

        Raises:
            NodeError: it did not do what is meant. AdminError: it says that it could not.
        """
        if not self.files or self._session is None:
            return
        step = self.step
        self.was_reloaded = True
        await step.send(self._session, step.dialect.reload(), step.query_timeout_s)
        after = await self._observe(self._session)
        found: RotateLook = step.ask.found
        lint = found.config.judged
        changes = changes_between(step.before, after, lint.expected if lint is not None else None)
        if changes.fell_to_defaults:
            raise NodeError(Phase.PROTOCOL, "settings fell to their defaults after RELOAD", where=self.name)
        await self._log_in_anew()
        if changes.lines:
            step.warn(f"the RELOAD changed besides: {'; '.join(changes.lines)}")
        self.awaited = frozenset((pool.database, pool.user) for pool in after.pools if pool.cl_waiting)
        names = ", ".join(file.at.path for file in self.files)
        are = "is" if len(self.files) == 1 else "are"
        self.verified.append(f"{names} {are} in force; settings and databases are as before")

    async def _log_in_anew(self) -> None:
        """See that its console lets us in, unless it is our own secret that changes. Raises NodeError."""
        if self.canaries.role in (self.bouncer.admin_user, self.bouncer.monitor_user):
            return
        try:
            await close_quietly(await self.step.connector.writer(self.name))
        except NodeError as error:
            raise NodeError(
                error.phase, f"its console lets us in no more: {error.message}", where=self.name
            ) from None

    async def _observe(self, session: WriteSession) -> Observation:
        step = self.step
        return await observe(session, step.dialect, self.name, timeout_s=step.query_timeout_s, prober=session)

    async def let_in(self, secret: SecretStr) -> None:
        """Log in everywhere with the secret that is to be good. Raises NodeError.

        Under a pause only where somebody has been before. A login to a pool that was never used would wait,
        and open a server connection at the RESUME: by keys that are wrong should it all be taken back. The
        pool would be locked then, and nobody waits in it; `serve` tries those.
        """
        places = [place for place in self.places if not self.is_paused or self._was_used(place)]
        for place in places:
            problem = await self.canaries.is_let_in(place, secret, paused=self.is_paused)
            if problem is not None:
                raise NodeError(Phase.AUTH, f"the canary was refused: {problem}", where=self._at(place))
            self.ever_trusted = True
        if places:
            names = ", ".join(place.database for place in places)
            self.step.tell(EventKind.NOTE, f"the new secret is let in: {names}")

    def _was_used(self, place: Place) -> bool:
        users = {self.canaries.role}
        row = self.step.before.database(place.database)
        if row is not None and row.force_user:
            users = {row.force_user}
        return place.is_console or any(
            pool.database == place.database and pool.user in users for pool in self.step.before.pools
        )

    async def keep_out(self, secret: SecretStr) -> None:
        """Log in everywhere with the secret that must not be good any more. Raises NodeError."""
        for place in self.places:
            problem = await self.canaries.is_refused(place, secret)
            if problem is not None:
                raise NodeError(Phase.AUTH, f"the old secret: {problem}", where=self._at(place))
        if self.places:
            self.verified.append("the other secret is refused")

    async def serve(self, secret: SecretStr) -> None:
        """Have a query answered everywhere, once clients go on. Raises NodeError."""
        for place in self.places:
            problem = await self.canaries.is_served(place, secret)
            for _ in range(CURES if place.needs_postgres and self._auth_file is not None else 0):
                if problem is None:
                    break
                self.step.warn(f"{place.database}: {problem}; reloading once more (facts 10 and 14)")
                await self._touch()
                await self.let_in(secret)
                problem = await self.canaries.is_served(place, secret)
            if problem is not None:
                raise NodeError(Phase.PROTOCOL, f"a query was not served: {problem}", where=self._at(place))
        if self.places:
            names = ", ".join(place.database for place in self.places)
            self.verified.append(f"the secret is let in, and a query answered, on {names}")

    async def see_servers(self) -> None:
        """See that server connections log in as the role, where no canary tells. Raises NodeError."""
        proved = await self.server_logins.prove(self.awaited)
        if proved is not None:
            self.verified.append(proved)

    @property
    def _auth_file(self) -> HeldFile | None:
        return next((file for file in self.files if file.name == self.here.auth_file), None)

    async def _touch(self) -> None:
        """Write its auth_file once more and RELOAD: it is read only when it looks changed."""
        file = self._auth_file
        if file is None or self._session is None:
            return
        await file.at.touch(file.current)
        await self.step.send(self._session, self.step.dialect.reload(), self.step.query_timeout_s)

    async def resume(self, ending: Ending) -> TargetReceipt | None:
        """End its pause and read that back; None: it was never paused."""
        if self.pausing is None:
            return None
        held_at_s = self.pausing.held_at_s
        receipt = await self.pausing.end(ending)
        if held_at_s is not None:
            resumed_s = self.step.answered_s.get(self.step.dialect.resume(None), held_at_s)
            self.verified.append(f"clients were held for {resumed_s - held_at_s:.2f} s")
        if receipt.after is not None and receipt.after != "paused":
            self.is_paused = False
        return receipt

    async def forget_copies(self) -> None:
        """Remove the copies of its files. Raises NodeError."""
        for file in self.files:
            await file.forget()

    async def keep_good(self) -> None:
        """Give copies that a bad RELOAD is mended with what the files hold now; none is made. Never raises.

        As they were they would bring the other secret back.
        """
        found: RotateLook = self.step.ask.found
        now = {file.name: HostFile(file.name, file.current) for file in self.files}
        there = {path: file for path, file in now.items() if path in found.config.good.files}
        kept = await keep_good(replace(found.config, texts=replace(self.texts, files=there)))
        for path, reason in (kept.failed or {}).items():
            self.step.warn(f"no good copy of {path} was kept: {reason}")

    async def close(self) -> None:
        """Close its sessions; never raises."""
        if self.pausing is not None:
            await self.pausing.close()
        await close_quietly(self._session)

    def _at(self, place: Place) -> str:
        return f"{self.name}/{place.database}"
