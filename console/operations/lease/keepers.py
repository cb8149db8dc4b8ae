"""Keepers on the poolers' own hosts, from the console's side: arm, renew, release, and what became of them.

A keeper is the second net under a pause: when the console, its guardian or the way to them is lost, a process
beside the pooler still resumes it. What runs there is `keeper_script`, sent as text through the standard
input of a Python that the host has; nothing is installed, and no secret is in an argument or a file there.
Everything goes through `Transport.run`. Whether a host without a keeper may be paused is the caller's to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

from console.errors import DeadlineError, NodeError, Phase
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Stats
from console.operations.lease.keeper_mail import KeeperMail
from console.operations.lease.keeper_order import KeeperOrder
from console.operations.outcome import Exchange
from console.transport.base import Transport

TOLD_LIMIT_S = 5.0
"""For one short command on a host."""


class KeeperOutcome(StrEnum):
    """How a keeper ended."""

    RESUMED = "resumed"
    RELEASED = "released"
    """By its console; it did not resume."""
    NOT_PAUSED = "not paused any more"
    """Somebody else resumed it, or it never was paused."""
    ANOTHER_PROCESS = "another process"
    """The pooler was restarted, so the pause is gone; or it could not be told from a restarted one."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class KeeperResult:
    """How a keeper ended, in its own words."""

    outcome: KeeperOutcome
    detail: str
    ended_at_s: float
    """The host's wall clock, seconds since the epoch."""
    held: bool
    """It had been told that the target was held."""
    exchanges: tuple[Exchange, ...]
    """What it sent to change anything; the last 50."""


class KeeperOver(NodeError):
    """A keeper that was to be told something has ended; `result` says how, None: it was killed."""

    def __init__(self, host: str, result: KeeperResult | None) -> None:
        how = f"{result.outcome}: {result.detail}" if result is not None else "it was killed"
        super().__init__(Phase.PROTOCOL, f"the keeper has ended ({how})", where=f"keeper on {host}")
        self.result = result


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """A keeper on a host, living or not."""

    host: str
    key: str
    folder: str
    """Where its files are on the host."""
    lease_id: str | None
    """None, as the next three, when it ended before it had written its state."""
    bouncer: str | None
    database: str | None
    pid: int | None
    alive: bool
    remaining_s: float | None
    """Until it lifts the pause; None when it has ended."""
    held: bool
    paused: bool | None
    """As it last saw the target; None: not known."""
    trouble: str | None
    """Why it cannot reach the pooler; None: it can."""
    result: KeeperResult | None
    """None while it lives, and when it was killed."""


class Keepers:
    """Arms keepers and finds them again. Safe to call concurrently."""

    def __init__(self, transport: Transport) -> None:
        self._mail = KeeperMail(transport)

    async def arm(
        self, host: str, order: KeeperOrder, password: SecretStr | None, *, timeout_s: float
    ) -> Keeper:
        """Start a keeper on an inventory host; it has logged in to the pooler when this returns.

        When this raises, no keeper will act, whatever got as far as the host: until it is confirmed, which
        is the last thing done here, a keeper does nothing and ends by itself. Where only the answer to that
        was lost, and releasing it failed too, it lifts the pause after `ttl_s`: too early, never too late.

        Raises:
            NodeError: phase `ssh` (no way there, no python3, no place for its folder), connect, tls, auth
                or protocol (on the way from there to the pooler); DeadlineError.
        """
        secret = None if password is None else password.get_secret_value()
        task = {"task": "arm", "order": order.as_dict(), "password": secret}
        ready = await self.ask(host, order.key, task, timeout_s=timeout_s)
        keeper = Keeper(self, host, order.key, paused=ready["paused"], carried_bytes=ready["carried_bytes"])
        try:
            await keeper.renew(order.ttl_s, timeout_s=timeout_s)
        except NodeError:
            with contextlib.suppress(NodeError):
                await keeper.release()
            raise
        return keeper

    def keeper(self, host: str, key: str) -> Keeper:
        """Return a keeper that was found by `collect`; nothing is asked."""
        return Keeper(self, host, key)

    async def collect(self, host: str, *, timeout_s: float, remove: bool = False) -> tuple[KeeperReport, ...]:
        """Return every keeper of our account on a host: those that live and those that left something.

        `remove` deletes what the ended ones left, once it has arrived here.

        Raises:
            NodeError: as `arm`.
        """
        answer = await self.ask(host, "collect", {"task": "collect"}, timeout_s=timeout_s)
        reports = tuple(_report(host, values) for values in answer["reports"])
        over = [report.key for report in reports if not report.alive]
        if remove and over:
            await self.discard(host, over, timeout_s=timeout_s)
        return reports

    async def discard(self, host: str, keys: Iterable[str], *, timeout_s: float) -> None:
        """Delete what keepers of these keys left; living ones are left alone.

        Raises:
            NodeError: as `arm`.
        """
        await self.ask(host, "discard", {"task": "discard", "keys": list(keys)}, timeout_s=timeout_s)

    async def ask(self, host: str, name: str, task: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Have the keepers' program on a host carry out one task and return its answer.

        `name` is for the process list there.

        Raises:
            NodeError: as `arm`.
        """
        return await self._mail.ask(host, name, task, timeout_s=timeout_s)


class Keeper:
    """One keeper in force, as its console holds it."""

    def __init__(
        self,
        keepers: Keepers,
        host: str,
        key: str,
        *,
        paused: bool | None = None,
        carried_bytes: int | None = None,
    ) -> None:
        self.host = host
        self.key = key
        self.paused = paused
        """Whether the target was paused already when it was armed."""
        self.carried_bytes = carried_bytes
        """When it was armed."""
        self._keepers = keepers
        self._held: str | None = None
        self._ttl_s: float | None = None

    async def renew(self, ttl_s: float, *, timeout_s: float = TOLD_LIMIT_S) -> None:
        """Have it wait for `ttl_s` from now.

        Raises:
            KeeperOver: it has ended. NodeError: as `Keepers.arm`.
        """
        self._ttl_s = ttl_s
        await self._tell_on(timeout_s)

    async def held(self, carried_bytes: int | None = None, *, timeout_s: float = TOLD_LIMIT_S) -> None:
        """Say that the target is seen paused and drained: if it runs from now on, somebody resumed it.

        Args:
            carried_bytes: what `carried_bytes()` was then; None: as the keeper reads it a moment later.
            timeout_s: for saying it.

        Raises:
            NodeError: as `renew`.
        """
        self._held = "held" if carried_bytes is None else f"held {carried_bytes}"
        await self._tell_on(timeout_s)

    async def release(self, *, timeout_s: float = TOLD_LIMIT_S) -> KeeperResult | None:
        """End it; nothing is sent to the pooler, unless it was lifting already. Its folder is removed.

        Returns how it ended, which may have been long ago; None when it was killed.

        Raises:
            DeadlineError: it still is lifting. NodeError: as `Keepers.arm`.
        """
        report = await self._tell(["release"], wait_s=timeout_s * 0.6, timeout_s=timeout_s)
        if report is None:
            return None
        if report.alive:
            raise DeadlineError(
                Phase.PROTOCOL,
                f"the keeper is resuming by itself and did not end: {report.trouble or 'no trouble known'}",
                limit_s=timeout_s,
                where=f"keeper on {self.host}",
            )
        with contextlib.suppress(NodeError):  # `collect` finds what is left
            await self._keepers.discard(self.host, [self.key], timeout_s=timeout_s)
        return report.result

    async def status(self, *, timeout_s: float = TOLD_LIMIT_S) -> KeeperReport | None:
        """Return what it is doing; None when nothing of it is left.

        Raises:
            NodeError: as `Keepers.arm`.
        """
        task = {"task": "status", "key": self.key}
        answer = await self._keepers.ask(self.host, self.key, task, timeout_s=timeout_s)
        return _report(self.host, answer["report"]) if answer["report"] else None

    async def _tell_on(self, timeout_s: float) -> None:
        """Say all that holds: the lines of an earlier time may never have been read."""
        lines = [] if self._held is None else [self._held]
        if self._ttl_s is not None:
            lines.append(f"renew {self._ttl_s}")
        report = await self._tell(lines, wait_s=0.0, timeout_s=timeout_s)
        if report is None or not report.alive:
            raise KeeperOver(self.host, report.result if report is not None else None)

    async def _tell(self, lines: list[str], *, wait_s: float, timeout_s: float) -> KeeperReport | None:
        task = {"task": "tell", "key": self.key, "lines": lines, "wait_s": wait_s}
        answer = await self._keepers.ask(self.host, self.key, task, timeout_s=timeout_s)
        return _report(self.host, answer["report"]) if answer["report"] else None


def carried_bytes(stats: Iterable[Stats], database: str | None) -> int:
    """Return what went between clients and servers, of one database or, None, of the whole pooler.

    It stands still while a target is held, and with any traffic after a RESUME it does not.
    """
    return sum(
        row.total_received_bytes + row.total_sent_bytes
        for row in stats
        if row.database != ADMIN_DATABASE and database in (None, row.database)
    )


def _report(host: str, values: Mapping[str, Any]) -> KeeperReport:
    try:
        result = values["result"]
        state = values["state"] or result or {}
        return KeeperReport(
            host=host,
            key=values["key"],
            folder=values["folder"],
            lease_id=state.get("lease_id"),
            bouncer=state.get("bouncer"),
            database=state.get("database"),
            pid=state.get("pid"),
            alive=values["alive"],
            remaining_s=values["remaining_s"],
            held=bool(state.get("held")),
            paused=state.get("paused"),
            trouble=state.get("trouble"),
            result=None if result is None else _result(result),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as odd:
        raise NodeError(Phase.PARSE, f"a keeper's report cannot be read: {odd!r}", where=host) from odd


def _result(values: Mapping[str, Any]) -> KeeperResult:
    return KeeperResult(
        outcome=KeeperOutcome(values["outcome"]),
        detail=values["detail"],
        ended_at_s=values["ended_at_s"],
        held=values["held"],
        exchanges=tuple(Exchange(sent, reply, took_s) for sent, reply, _, took_s in values["exchanges"]),
    )
