"""Shields the clients of one bouncer while it, or databases of it, are resumed (trap T4).

A server login that a pause interrupts, or that is tried while a database is paused, counts as failed: after
the RESUME clients wait, and new ones fail, for up to `server_login_retry` seconds. So that setting is 0 while
it happens. It is the whole pooler's: whoever is first in sets it, whoever is last out waits until servers log
in and puts it back. Source: pgbouncer-admin.md, section 2; after a pause of the whole bouncer: seen on 1.18,
1.24 and 1.26.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from console.errors import AdminError, PooldeckError
from console.operations.observe import Observation, read_pools
from console.operations.sessions import WriteSession, close_quietly

if TYPE_CHECKING:
    from console.operations.step import Step

RETRY_SETTING = "server_login_retry"
WARM_LIMIT_S = 2.0
"""How long `server_login_retry` may stay 0 while the first server logs in; 0.8 s was measured."""
PUT_BACK_LIMIT_S = 5.0
_WARM_POLL_S = 0.1
_NUMBER = re.compile(r"\d+(\.\d+)?")


def shield_statements(observation: Observation) -> tuple[str, str] | None:
    """Return what sets `server_login_retry` to 0 and what puts it back; None: it is 0, or cannot be set."""
    setting = observation.config.get(RETRY_SETTING)
    value = setting.value if setting is not None and setting.changeable else None
    if value is None or not _NUMBER.fullmatch(value) or float(value) == 0:
        return None
    return f"SET {RETRY_SETTING} = 0", f"SET {RETRY_SETTING} = {value}"


@dataclass(slots=True)
class Shield:
    """Of one bouncer, shared by everybody in this process who resumes it or databases of it."""

    _expected: int = 0
    _put_back: str | None = None
    """What ends it; None: it is not up."""
    _resumed: set[str | None] = field(default_factory=set)
    """Databases whose servers are waited for before it is taken down; None: all."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_up(self) -> bool:
        """Whether the setting is 0 by us."""
        return self._put_back is not None

    @contextmanager
    def expect(self) -> Iterator[None]:
        """Keep it up for one more RESUME, once it is up. `settle` must follow."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    async def raise_over(self, step: Step, session: WriteSession, timeout_s: float) -> None:
        """Put it up, unless it is or need not be; the target of `step` is about to be resumed.

        Raises:
            NodeError: no answer; it may be up, so `settle` must follow.
        """
        statements = shield_statements(step.before)
        async with self._turn:
            if self._put_back is None:
                if statements is None:
                    return
                self._put_back = statements[1]
                try:
                    await step.send(session, statements[0], timeout_s)
                except AdminError as error:
                    self._put_back = None
                    step.warn(f"{statements[0]} was refused ({error.message}); clients may fail for a moment")
                    return
        self._resumed.add(step.target.database)

    async def settle(self, step: Step, session: WriteSession | None, timeout_s: float) -> None:
        """Take it down once servers log in, unless another RESUME is expected. Errors become warnings.

        Args:
            step: whose statements it counts among.
            session: an open one; None: a new one is opened if need be.
            timeout_s: for the statement.
        """
        if self._expected or self._put_back is None:
            return
        async with self._turn:
            if session is not None:
                try:
                    await self._warm(step, session)
                except PooldeckError:
                    session = None
            await self._lower(step, session, timeout_s)

    async def _lower(self, step: Step, session: WriteSession | None, timeout_s: float) -> None:
        statement = self._put_back
        if not self._expected and statement is not None:
            await _put_back(step, session, statement, timeout_s)
            self._put_back = None
            self._resumed.clear()

    async def _warm(self, step: Step, session: WriteSession) -> None:
        """Wait until no pool that was resumed still waits for its first server, or somebody else is in."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WARM_LIMIT_S
        kept = {
            row.name: row.min_pool_size or step.before.seconds("min_pool_size") or 0
            for row in step.before.databases
        }
        while loop.time() < end and not self._expected:
            pools = await read_pools(session, step.dialect, timeout_s=step.query_timeout_s)
            lists = step.dialect.parse_lists(await session.show("LISTS", timeout_s=step.query_timeout_s))
            cold = any(
                (None in self._resumed or pool.database in self._resumed)
                and not pool.sv_active + pool.sv_idle + pool.sv_used
                and (pool.cl_waiting or pool.sv_login or (kept.get(pool.database) and pool.cl_active))
                for pool in pools
            )
            if not cold and not lists.get("login_clients"):
                return
            await asyncio.sleep(_WARM_POLL_S)


class Shields:
    """The shield of every bouncer that a run, or a guardian, resumes."""

    def __init__(self) -> None:
        self._shields: dict[str, Shield] = {}

    def of(self, bouncer: str) -> Shield:
        """Return the one of a bouncer."""
        return self._shields.setdefault(bouncer, Shield())


async def _put_back(step: Step, session: WriteSession | None, statement: str, timeout_s: float) -> None:
    """Restore the setting, on a new session if this one broke; say so when it cannot be done."""
    error: PooldeckError | None = None
    if session is not None:
        try:
            await step.send(session, statement, timeout_s)
            return
        except PooldeckError as failed:
            error = failed
    fresh = await step.reopen(until_s=asyncio.get_running_loop().time() + PUT_BACK_LIMIT_S)
    try:
        if fresh is not None:
            await step.send(fresh, statement, timeout_s)
            return
    except PooldeckError as failed:
        error = failed
    finally:
        await close_quietly(fresh)
    because = error.message if error is not None else "no session with it"
    step.warn(
        f"{RETRY_SETTING} may still be 0 ({because}): put it back by hand with {statement}, "
        "or reload the pooler"
    )
