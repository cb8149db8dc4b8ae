"""One client: transactions one by one, each tried once; only an unanswered connect is tried again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

from tests.harness.clients.kinds import kind_of, retriable
from tests.harness.clients.record import Record
from tests.harness.clients.session import Session, Trouble
from tests.harness.clients.wish import Group

LEDGER = "load_ledger"
_PREPARED = "ledger"
RETRY_S = 0.05
MAX_EXAMPLES = 5


class Client:
    """Runs until `stop`; what it saw is in `record`."""

    def __init__(self, number: int, group: Group, stop: asyncio.Event) -> None:
        self.group = group
        self.record = Record(number, group.name)
        self.first_success = asyncio.Event()
        self._stop = stop
        self._random = random.Random(number)
        self._session: Session | None = None
        self._leaves_s: float | None = None
        self._sequence = 0
        self._phase = "connect"
        self._loop = asyncio.get_running_loop()

    def change(self, **fields: Any) -> None:
        """Use other parameters from the next connect on."""
        self.group = replace(self.group, **fields)

    async def run(self) -> None:
        """Work until told to stop; a transaction that is under way then is finished."""
        interval_s = self.group.interval_ms / 1_000
        await asyncio.sleep(self._random.uniform(0, interval_s))
        self.record.began_s = self._loop.time()
        try:
            while not self._stop.is_set():
                done = await self._transaction()
                rest_s = interval_s if done else max(interval_s, RETRY_S)
                # Not less than half of it: a gap must not depend on chance alone.
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * rest_s)
        finally:
            self.record.ended_s = self._loop.time()
            self._leave()

    async def _transaction(self) -> bool:
        self._sequence += 1
        self._phase = "connect"
        try:
            async with asyncio.timeout(self.group.patience_s):
                session = await self._connected()
                await self._work(session)
        except Trouble as trouble:
            self._fail(trouble)
        except TimeoutError:
            self._fail(Trouble(self._phase, f"no answer within {self.group.patience_s:g} s"))
        except asyncio.CancelledError:
            self._fail(Trouble(self._phase, "no answer when the run ended"))
            raise
        else:
            self.record.done_s.append(self._loop.time())
            self.first_success.set()
            self._part_if_due()
            return True
        return False

    async def _connected(self) -> Session:
        if self._session is not None:
            closed = self._session.found_closed()
            if closed is None:
                return self._session
            self.record.lost_idle[kind_of(closed)] += 1
            self._leave()
        began = self._loop.time()
        retried = False
        while True:
            try:
                self._session = await Session.open(self.group.parameters())
            except Trouble as trouble:
                again = retriable(trouble)
                if again is None:
                    raise
                self.record.retries[again] += 1
                retried = True
                await asyncio.sleep(RETRY_S)
                continue
            self.record.connect_ms.append((self._loop.time() - began) * 1_000)
            self.record.retried += retried
            lifetime_s = self.group.lifetime_s
            self._leaves_s = None
            if lifetime_s is not None:
                self._leaves_s = self._loop.time() + lifetime_s * self._random.uniform(0.75, 1.25)
            return self._session

    async def _work(self, session: Session) -> None:
        self._phase = "BEGIN"
        await session.query("BEGIN")
        self._phase = "INSERT"
        number = self.record.client
        if self.group.prepared:
            if not session.prepared:
                insert = f"INSERT INTO {LEDGER} (client, seq) VALUES ($1, $2)"
                await session.prepare(_PREPARED, insert, "PREPARE")
            await session.run_prepared(_PREPARED, (number, self._sequence), "INSERT")
        else:
            await session.query(f"INSERT INTO {LEDGER} (client, seq) VALUES ({number}, {self._sequence})")
        self._phase = "COMMIT"
        await session.query("COMMIT")

    def _fail(self, trouble: Trouble) -> None:
        kind = kind_of(trouble)
        self.record.failures.append((self._loop.time(), kind))
        self.record.unknown += trouble.phase == "COMMIT"
        if len(self.record.examples) < MAX_EXAMPLES:
            self.record.examples.append(f"{trouble.phase}: {trouble.message.strip()}")
        self._leave()

    def _part_if_due(self) -> None:
        if self._leaves_s is not None and self._loop.time() >= self._leaves_s:
            self._leave()

    def _leave(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
