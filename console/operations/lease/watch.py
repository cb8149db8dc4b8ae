"""A guardian's eyes on one bouncer: its session, how the covered targets stand, and whose pause it sees.

It opens sessions and asks; the one thing it sends besides is the probe for a pause that versions below 1.19
need. `lifting` decides what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from console.audit.processes import process_start
from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.operations.lease.base import Cover
from console.operations.lease.evidence import Evidence, Judgement, Traffic, judge, traffic_of
from console.operations.lease.store import LeasePhase
from console.operations.observe import Observation, observe, probe_paused
from console.operations.sessions import Connector, WriteSession, close_quietly, identity
from console.operations.target import Target
from console.poolers.base import Capability, Dialect

LOGINS = 5
"""Behind a port that processes share (trap T21), each login may meet another one."""


@dataclass(slots=True)
class Guarded:
    """One target under a lease, and what has become of it."""

    place: int
    """Among the covers of the order."""
    cover: Cover
    phase: LeasePhase = LeasePhase.ARMED
    ends_s: float | None = None
    """When it is lifted, on the guardian's clock; None: nothing was sent to it, or it is over."""
    traffic_held: Traffic | None = None
    """When it was held; None: it was not."""
    running_since_s: float | None = None
    """When it was first seen running after it was held; None: it was not."""
    again_s: float | None = None
    """While it is lifted: its run went on, so once that is over it is exposed for so long again."""

    @property
    def target(self) -> Target:
        """What it is."""
        return self.cover.target

    @property
    def open(self) -> bool:
        """Whether it may be paused by the lease, and nobody is lifting it yet."""
        return self.phase in (LeasePhase.EXPOSED, LeasePhase.HELD)


@dataclass(frozen=True, slots=True)
class Glance:
    """A bouncer at one moment."""

    paused: bool | None
    """As a whole; None: not asked."""
    databases: Mapping[str, bool]
    """Whether each has a pause of its own; empty when not asked."""
    traffic: Traffic

    def of(self, target: Target) -> bool | None:
        """Say whether exactly `target` is paused; None: not asked, or no longer listed."""
        return self.paused if target.database is None else self.databases.get(target.database)


class Watch:
    """One bouncer. `open` first; its questions are asked one at a time (`turn`)."""

    def __init__(
        self,
        bouncer: Bouncer,
        guarded: Sequence[Guarded],
        connector: Connector,
        dialect: Dialect,
        *,
        query_timeout_s: float,
        retry_now: Callable[[str], None],
        loses_counters: bool,
    ) -> None:
        self.name = bouncer.name
        self.guarded = tuple(guarded)
        self.dialect = dialect
        self.query_timeout_s = query_timeout_s
        self.turn = asyncio.Lock()
        self._bouncer = bouncer
        self._connector = connector
        self._retry_now = retry_now
        self._loses_counters = loses_counters
        self._session: WriteSession | None = None
        self._before: Observation | None = None
        self._traffic: Traffic = {}
        self._process: str | None = None
        self._process_now: str | None = None
        self._same_session = True
        self._same_settings = True
        self._begins_anew = False

    @property
    def before(self) -> Observation:
        """The bouncer as it was found at the beginning."""
        assert self._before is not None, "opened before"
        return self._before

    @property
    def opened(self) -> bool:
        """Whether the guardian stands by here."""
        return self._before is not None

    @property
    def met_stranger(self) -> bool:
        """Whether the last login met other settings than the first one."""
        return not self._same_settings

    async def open(self) -> None:
        """Log in and find the process that the covers mean.

        Raises:
            NodeError: no login, or not that process.
        """
        for _ in range(LOGINS):
            session = await self._connector.writer(self.name)
            try:
                seen = await observe(
                    session, self.dialect, self.name, timeout_s=self.query_timeout_s, prober=session
                )
                stats = self.dialect.parse_stats(await session.show("STATS", timeout_s=self.query_timeout_s))
            except BaseException:
                await close_quietly(session)
                raise
            if all(_is_meant(one.cover, seen) for one in self.guarded):
                self._session, self._before, self._traffic = session, seen, traffic_of(stats)
                self._same_session = self._same_settings = True
                self._begins_anew = False
                self._process = self._read_process()
                return
            await close_quietly(session)
        raise NodeError(
            Phase.PROTOCOL,
            "its login met another process than the plan did",
            where=self.name,
            hint="give each process its own address or Unix socket in the inventory",
        )

    def begin(self) -> None:
        """Note that statements are about to be sent: its process is the one that the run has just checked.

        A session that is lost by now says nothing of that process, so the next login is the first one anew.
        """
        if self._session is None or getattr(self._session, "lost", None) is not None:
            self._begins_anew = True

    async def close(self) -> None:
        """Hang up; never raises."""
        await close_quietly(self._session)
        self._session = None

    async def session(self) -> WriteSession:
        """Return the session, a new one if it was lost.

        Raises:
            NodeError: there is none to be had.
        """
        if self._session is None:
            if self._bouncer.host is not None:
                self._retry_now(self._bouncer.host)
            if self._begins_anew:
                await self.open()
            else:
                self._session = await self._log_in_again()
        assert self._session is not None, "a login gives one or raises"
        return self._session

    @property
    def open_session(self) -> WriteSession | None:
        """The session; None: the next question logs in anew."""
        return self._session

    async def drop(self) -> None:
        """Give the session up: the next question logs in anew."""
        await self.close()

    async def glance(self, *, sure: bool) -> Glance:
        """Read how the covered targets stand.

        Args:
            sure: find out about a global pause whatever that costs: below 1.19 each time is two lines in the
                pooler's log.

        Raises:
            NodeError: it did not answer; the session was given up. AdminError: it refused.
        """
        limit_s = self.query_timeout_s
        session = await self.session()
        paused: bool | None = None
        databases: dict[str, bool] = {}
        try:
            # The pause first: what is served between the questions then shows in the counters.
            if any(one.target.database is None for one in self.guarded):
                if self.dialect.has(self.before.version, Capability.SHOW_STATE):
                    state = self.dialect.parse_state(await session.show("STATE", timeout_s=limit_s))
                    paused = bool(state.paused)
                elif sure:
                    paused = await probe_paused(session, timeout_s=limit_s)
            if any(one.target.database is not None for one in self.guarded):
                rows = self.dialect.parse_databases(await session.show("DATABASES", timeout_s=limit_s))
                databases = {row.name: row.paused for row in rows}
            stats = self.dialect.parse_stats(await session.show("STATS", timeout_s=limit_s))
        except NodeError:
            await self.drop()
            raise
        return Glance(paused, databases, traffic_of(stats))

    def judge(self, one: Guarded, seen: Glance) -> Judgement:
        """Say whose pause a glance shows."""
        return judge(
            Evidence(
                database=one.target.database,
                paused=seen.of(one.target),
                same_session=self._same_session,
                same_settings=self._same_settings,
                process_then=self._process,
                process_now=self._process_now,
                traffic_then=self._traffic,
                traffic_held=one.traffic_held,
                traffic_now=seen.traffic,
                seen_running=one.running_since_s is not None,
                loses_counters=self._loses_counters,
            )
        )

    async def _log_in_again(self) -> WriteSession:
        """Log in, several times if need be until the settings are those of the process that was met."""
        wanted = identity(self.before.config)
        self._same_session = False
        for attempt in range(1, LOGINS + 1):
            session = await self._connector.writer(self.name)
            try:
                table = await session.show("CONFIG", timeout_s=self.query_timeout_s)
                self._same_settings = identity(self.dialect.parse_config(table)) == wanted
            except BaseException:
                await close_quietly(session)
                raise
            if self._same_settings or attempt == LOGINS:
                break
            await close_quietly(session)
        self._process_now = self._read_process()
        return session

    def _read_process(self) -> str | None:
        """Return what the pid file names, for a bouncer on this machine; None where it cannot be read."""
        setting = self.before.config.get("pidfile")
        if setting is None or not setting.value or not _is_here(self._bouncer):
            return None
        try:
            pid = int(Path(setting.value).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        started = process_start(pid)
        return f"{pid} {started}" if started is not None else None


def _is_meant(cover: Cover, seen: Observation) -> bool:
    config = seen.config
    return all(
        (config[key].value or "") == value if key in config else not value
        for key, value in cover.identity.items()
    )


def _is_here(bouncer: Bouncer) -> bool:
    if bouncer.host is not None:
        return False
    if bouncer.unix is not None or bouncer.tcp_host == "localhost":
        return True
    try:
        return ip_address(bouncer.tcp_host or "").is_loopback
    except ValueError:
        return False
