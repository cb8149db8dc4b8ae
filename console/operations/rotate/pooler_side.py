"""One pooler during a rotation: its sessions, its auth_file, its pause, its canaries.

It does one thing at a time and decides nothing: `run` says what comes next, and what is undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.operations.observe import Observation, observe
from console.operations.outcome import EventKind, TargetReceipt
from console.operations.pausing import Ending, Pausing
from console.operations.reload_changes import changes_between
from console.operations.rotate.canary import Canaries
from console.operations.rotate.host_files import AuthFileAt
from console.operations.rotate.layout import Place
from console.operations.rotate.look import RotateLook
from console.operations.rotate.scheme import AtPooler
from console.operations.rotate.standing import at_pooler
from console.operations.sessions import WriteSession, close_quietly
from console.operations.step import Step

CURES = 2
"""How often a pooler that lost the keys of its canary is reloaded again."""


@dataclass(slots=True)
class PoolerSide:
    """One pooler of a rotation."""

    step: Step
    canaries: Canaries
    here: AtPooler = field(init=False)
    file: AuthFileAt | None = None
    original: bytes | None = field(default=None, repr=False)
    """The auth_file as it was found."""
    current: bytes | None = field(default=None, repr=False)
    """The auth_file as it is for all we know."""
    keeps_copy: bool = False
    pausing: Pausing | None = None
    is_paused: bool = False
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
        if self.here.writes_file and self.here.auth_file is not None:
            self.file = await AuthFileAt.of(
                self.bouncer, self.here.auth_file, step.reach.transport, timeout_s=self._host_limit_s
            )
            self.original = self.current = await self.file.read()
            self._session = await step.connector.writer(self.name)
            await step.check_process(self._session)
        if self.here.pauses:
            self.pausing = Pausing(step)
            await self.pausing.open()

    @property
    def _host_limit_s(self) -> float:
        return self.step.query_timeout_s + (self.bouncer.connect_timeout_s or self.step.query_timeout_s)

    async def keep_copy(self) -> None:
        """Keep a copy of its file. Raises NodeError."""
        if self.file is not None and not self.keeps_copy:
            await self.file.keep()
            self.keeps_copy = True

    async def put(self, content: bytes | None) -> None:
        """Put a content in the place of its file; the pooler does not read it yet. Raises NodeError."""
        if self.file is None or content is None or self.current is None or content == self.current:
            return
        await self.file.put(content, instead_of=self.current)
        self.current = content
        self.step.tell(EventKind.NOTE, f"{self.file.path} is written")

    async def reload(self) -> None:
        """Have it read its file, and see that nothing else has changed.

        Raises:
            NodeError: it did not do what is meant. AdminError: it says that it could not.
        """
        if self.file is None or self._session is None:
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
        self.verified.append(f"{self.file.path} is in force; settings and databases are as before")

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
            for _ in range(CURES if place.needs_postgres and self.file is not None else 0):
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

    async def _touch(self) -> None:
        """Write its file once more and RELOAD: it is read only when it looks changed."""
        if self.file is None or self.current is None or self._session is None:
            return
        await self.file.touch(self.current)
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

    async def forget_copy(self) -> None:
        """Remove the copy of its file. Raises NodeError."""
        if self.file is not None and self.keeps_copy:
            await self.file.forget()
            self.keeps_copy = False

    async def close(self) -> None:
        """Close its sessions; never raises."""
        if self.pausing is not None:
            await self.pausing.close()
        await close_quietly(self._session)

    def _at(self, place: Place) -> str:
        return f"{self.name}/{place.database}"
