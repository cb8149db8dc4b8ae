"""One session with one pooler's admin console: what is due, asked in turn, parsed into a `Sample`.

It asks only what the poll budget allows (design.md 3), never SHOW FDS, and never more than one question at
a time. It must not reconnect, wait between ticks or decide what a failure means: `NodeTask` does.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from console.clock import Clock
from console.errors import AdminError, NodeError, Phase
from console.fleet.polling import Due, PollBudget
from console.model.rows import Client, PauseState, Server, Setting, Stats, User
from console.model.sample import NOTHING_MISSING, Reading, Sample
from console.model.table import ResultTable
from console.model.version import Version
from console.poolers.base import Capability, Dialect
from console.poolers.results import parse_in_slices

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger(__name__)


class PoolerReader(Protocol):
    """A session that can only read; `AdminReader` is one."""

    async def show(self, what: str, /, *, timeout_s: float) -> ResultTable:
        """Return the answer to `SHOW what`."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class PoolerSource(Protocol):
    """Where readers come from; `PoolerConnector` is one."""

    async def reader(self, name: str, /) -> PoolerReader:
        """Log in to a pooler's admin console as its monitor user."""
        ...


class WatchedSource(PoolerSource, Protocol):
    """One that can be asked besides whether a pooler shuts down; `PoolerConnector` is one."""

    async def lets_nobody_in(self, name: str, config: Mapping[str, Setting], /) -> bool:
        """Say whether nothing listens any more at its address; False also when that cannot be told."""
        ...


class _Memo(dict[str, tuple[ResultTable, object]]):
    """The last answer to each question, parsed: most answers repeat the one before."""

    def parse(self, what: str, table: ResultTable, parser: Callable[[ResultTable], T]) -> T:
        known = self.get(what)
        if known is not None and known[0].rows == table.rows and known[0].names == table.names:
            return known[1]  # type: ignore[return-value]  # `what` fixes the parser, and so the type
        value = parser(table)
        self[what] = (table, value)
        return value


def _shared(table: ResultTable) -> ResultTable:
    """Return the table with equal cells as one object: users, addresses and times repeat in long tables."""
    known: dict[str | None, str | None] = {}
    share = known.setdefault
    rows = tuple([tuple(map(share, row, row)) for row in table.rows])
    return ResultTable(table.names, rows, table.tag, table.answer_us)


class PoolerSession:
    """Asks one pooler. `asking` names the question that is outstanding."""

    def __init__(
        self,
        name: str,
        reader: PoolerReader,
        dialect: Dialect,
        budget: PollBudget,
        clock: Clock,
        *,
        query_limit_s: float,
        rng: random.Random | None = None,
        stats_early_s: float | None = None,
    ) -> None:
        rng = rng or random.Random()
        self.name = name
        self.asking: str | None = None
        self.reader = reader
        self._dialect = dialect
        self._budget = budget
        self._clock = clock
        self._limit_s = query_limit_s
        self._stats_due = Due(budget.stats_s, early_s=stats_early_s or budget.tick_s, rng=rng)
        self._settings_due = Due(budget.settings_s, rng=rng)
        self._clients_at_s: float | None = None
        self._clients_answer_s: float | None = None
        self._memo = _Memo()
        self._version: Version | None = None
        self._missing: Mapping[str, str] = NOTHING_MISSING
        self._answer_us = 0
        self._stats: Reading[tuple[Stats, ...]] | None = None
        self._servers: Reading[tuple[Server, ...]] | None = None
        self._clients: Reading[tuple[Client, ...]] | None = None
        self._users: Reading[tuple[User, ...]] | None = None
        self._config: Reading[Mapping[str, Setting]] | None = None
        self._unread: dict[str, str] = {}

    def reread(self) -> None:
        """Ask CONFIG, USERS and VERSION again in the next turn: the pooler was told to reload."""
        self._settings_due.hasten()

    async def every_tick(self) -> Sample:
        """Ask STATE (where the version has it), POOLS, DATABASES and LISTS.

        Raises:
            NodeError: no answer, or one that cannot be parsed.
            AdminError: the console refused a question.
        """
        self._answer_us = 0
        if self._version is None or self._settings_due.now(self._clock.monotonic_s()):
            await self._ask_version()
        state = PauseState(paused=None, suspended=None)
        if self._version is not None and self._dialect.has(self._version, Capability.SHOW_STATE):
            state = self._memo.parse("STATE", await self._ask("STATE"), self._dialect.parse_state)
        pools = await parse_in_slices(self._dialect.parse_pools, await self._ask("POOLS"))
        taken_at_s, monotonic_s = self._clock.wall_s(), self._clock.monotonic_s()
        databases = self._memo.parse("DATABASES", await self._ask("DATABASES"), self._dialect.parse_databases)
        lists = self._memo.parse("LISTS", await self._ask("LISTS"), self._dialect.parse_lists)
        return Sample(
            pooler=self.name,
            taken_at_s=taken_at_s,
            monotonic_s=monotonic_s,
            version=self._version,
            state=state,
            pools=pools,
            databases=databases,
            lists=lists,
            stats=self._stats,
            servers=self._servers,
            clients=self._clients,
            users=self._users,
            config=self._config,
            unread=dict(self._unread) if self._unread else NOTHING_MISSING,
            missing=self._missing,
            answer_us=self._answer_us,
        )

    async def sometimes(self, sample: Sample, *, clients: bool, servers: bool = True) -> Sample:
        """Ask what else is due (STATS, SERVERS, CONFIG, USERS, CLIENTS) and return the sample with it.

        The sample itself when nothing was. A question that is refused or cannot be parsed does not cost the
        others: its reason is in `Sample.unread`.

        Args:
            sample: of this tick.
            clients: someone looks at the clients.
            servers: ask SERVERS with STATS.

        Raises:
            NodeError: no answer.
        """
        now_s = self._clock.monotonic_s()
        asked = False
        if self._stats_due.now(now_s):
            asked = True
            self._stats = await self._rows("STATS", self._dialect.parse_stats, self._stats)
            if servers:
                self._servers = await self._rows("SERVERS", self._dialect.parse_servers, self._servers)
            self._stats_due.done(now_s)
        if self._settings_due.now(now_s):
            asked = True
            self._config = await self._settings("CONFIG", self._dialect.parse_config, self._config)
            self._users = await self._settings("USERS", self._parse_users, self._users)
            self._settings_due.done(now_s)
        asked = await self._ask_clients(sample, clients) or asked
        if not asked:
            return sample
        return dataclasses.replace(
            sample,
            stats=self._stats,
            servers=self._servers,
            clients=self._clients,
            users=self._users,
            config=self._config,
            unread=dict(self._unread) if self._unread else NOTHING_MISSING,
            answer_us=self._answer_us,
        )

    def _parse_users(self, table: ResultTable) -> tuple[User, ...]:
        return self._dialect.parse_users(table, self._version)

    async def _ask_version(self) -> None:
        version = self._memo.parse("VERSION", await self._ask("VERSION"), self._dialect.parse_version)
        if version != self._version:
            self._missing = self._dialect.missing_columns(version)
        self._version = version

    async def _ask_clients(self, sample: Sample, watched: bool) -> bool:
        """Ask CLIENTS when someone looks and it is due; say whether anything about clients changed."""
        if not watched:
            had = self._clients is not None or "CLIENTS" in self._unread
            self._clients = self._clients_at_s = None
            self._unread.pop("CLIENTS", None)
            return had
        count = sample.lists.get("used_clients", 0)
        interval_s = self._budget.clients_interval_s(count, self._clients_answer_s)
        now_s = self._clock.monotonic_s()
        if interval_s is None:
            self._clients = self._clients_at_s = None
            self._unread["CLIENTS"] = (
                f"{count:,} clients are connected: above {self._budget.clients_limit:,} the list is not"
                " asked for, since building it would hold up all of them"
            )
            return True
        if self._clients_at_s is not None and now_s - self._clients_at_s < interval_s:
            return False
        before_us = self._answer_us
        self._clients = await self._rows("CLIENTS", self._dialect.parse_clients, self._clients)
        self._clients_at_s = now_s
        self._clients_answer_s = (self._answer_us - before_us) / 1e6
        return True

    async def _ask(self, what: str) -> ResultTable:
        self.asking = f"SHOW {what}"
        try:
            table = await self.reader.show(what, timeout_s=self._limit_s)
        finally:
            self.asking = None
        self._answer_us += table.answer_us
        return table

    async def _rows(
        self, what: str, parser: Callable[[ResultTable], tuple[R, ...]], before: Reading[tuple[R, ...]] | None
    ) -> Reading[tuple[R, ...]] | None:
        """Ask a question whose answer may be long and never repeats the one before."""
        return await self._reading(what, lambda table: parse_in_slices(parser, _shared(table)), before)

    async def _settings(
        self, what: str, parser: Callable[[ResultTable], T], before: Reading[T] | None
    ) -> Reading[T] | None:
        """Ask a question whose answer mostly repeats the one before."""

        async def parse(table: ResultTable) -> T:
            return self._memo.parse(what, table, parser)

        return await self._reading(what, parse, before)

    async def _reading(
        self, what: str, parse: Callable[[ResultTable], Awaitable[T]], before: Reading[T] | None
    ) -> Reading[T] | None:
        """Ask one of the rarer questions; keep the reading before it when the answer is of no use."""
        try:
            table = await self._ask(what)
            answered_s = self._clock.monotonic_s()
            value = await parse(table)
        except (AdminError, NodeError) as error:
            if isinstance(error, NodeError) and error.phase is not Phase.PARSE:
                raise
            if self._unread.get(what) != str(error):
                _log.warning("%s: SHOW %s: %s", self.name, what, error)
            self._unread[what] = str(error)
            return before
        self._unread.pop(what, None)
        return Reading(value, answered_s)
