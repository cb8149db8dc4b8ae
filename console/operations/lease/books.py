"""What a guardian writes down: journal records, and its lease file as things change.

Telling never stands in the way of a RESUME: what cannot be written is logged, kept in the lease file if that
can be written, and the guardian goes on. Only its beginning insists, when nothing was sent yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from console.audit.journal import Journal
from console.errors import JournalError, PooldeckError
from console.operations.lease.store import LeasePhase, LeaseRecord, LeaseStore, with_target
from console.operations.outcome import TargetReceipt

RECORD_LIMIT_S = 3.0
"""How long a record is waited for; a disk that hangs must not keep clients waiting."""
_log = logging.getLogger(__name__)


class Books:
    """One lease's records."""

    def __init__(self, journal: Journal, store: LeaseStore, record: LeaseRecord) -> None:
        self._journal = journal
        self._store = store
        self._record = record
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        """The last write of the lease file; it may have been given up and still go on."""

    @property
    def lease(self) -> LeaseRecord:
        """The lease as it is now."""
        return self._record

    async def begin(self, record: LeaseRecord, fields: Mapping[str, Any]) -> None:
        """Write both for the first time.

        Raises:
            PooldeckError: one of them is not on disk, so nothing may be sent.
        """
        self._record = record
        try:
            await asyncio.to_thread(self._store.write, record)
        except OSError as error:
            raise JournalError(
                f"the lease file cannot be written: {error.strerror or error}", where=str(self._store.folder)
            ) from error
        await asyncio.to_thread(self._journal.append, "lease", self._about(fields))

    async def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append to the journal. Never raises, and takes `RECORD_LIMIT_S` at most."""
        target = fields.get("target")
        what = f"{kind} of {target}" if target else kind
        appending = asyncio.create_task(
            asyncio.to_thread(self._journal.append, kind, self._about(fields), last_resort=True)
        )
        done, _ = await asyncio.wait({appending}, timeout=RECORD_LIMIT_S)
        if not done:
            appending.add_done_callback(_swallow)
            self._not_recorded(f"{what}: no answer from the disk within {RECORD_LIMIT_S:g} s")
            return
        error = appending.exception()
        if error is not None:
            self._not_recorded(f"{what}: {error if isinstance(error, PooldeckError) else repr(error)}")

    async def outcome(self, receipt: TargetReceipt, why: str, by: str = "guardian") -> None:
        """Record what was done to a target, by whom and why."""
        await self.record("outcome", {"by": by, "why": why, **receipt.as_dict()})

    def note(self, place: int, phase: LeasePhase, **changes: Any) -> None:
        """Note what became of a target; the lease file follows (`keep`)."""
        self._change(with_target(self._record, place, phase=phase, **changes))

    def change(self, **changes: Any) -> None:
        """Note something about the lease as a whole."""
        self._change(replace(self._record, **changes))

    async def keep(self) -> None:
        """Write the lease file whenever something changed; until cancelled."""
        while True:
            await self._changed.wait()
            await self.flush()

    async def flush(self) -> None:
        """Have the lease file tell what is so now. Never raises."""
        async with self._turn:
            if await self._disk_is_stuck():
                return
            self._changed.clear()
            self._writing = asyncio.create_task(asyncio.to_thread(self._write, self._record))
            await asyncio.wait({self._writing}, timeout=RECORD_LIMIT_S)

    async def forget(self) -> None:
        """Remove the lease file: nothing of this lease is left to do. Never raises."""
        async with self._turn:
            # A write that was given up goes on in its thread, and would put the file back.
            if await self._disk_is_stuck():
                return
            self._changed.clear()
            try:
                await asyncio.to_thread(self._store.forget, self._record.id)
            except OSError as error:
                _log.warning("the lease file cannot be removed: %s", error)

    async def _disk_is_stuck(self) -> bool:
        """Wait until an earlier write is over; True: it still is not."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=RECORD_LIMIT_S)
        if self._writing is None or self._writing.done():
            return False
        _log.warning("the lease file is left as it is: its disk does not answer")
        return True

    def _write(self, record: LeaseRecord) -> None:
        """Write it; in a thread."""
        try:
            self._store.write(record)
        except OSError as error:
            _log.warning("the lease file cannot be written: %s", error)

    def _change(self, record: LeaseRecord) -> None:
        self._record = record
        self._changed.set()

    def _not_recorded(self, text: str) -> None:
        _log.error("not recorded: %s", text)
        self.change(unrecorded=(*self._record.unrecorded, text))

    def _about(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        order = self._record.order
        return {
            "run": order.run_id,
            "lease": order.lease_id,
            "op": order.op,
            "plan": order.plan_hash,
            "fleet": order.fleet,
            **fields,
        }


def _swallow(task: asyncio.Task[str]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a late record failed too: %s", task.exception())
