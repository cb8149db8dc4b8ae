"""What earlier runs of this machine left, from lease files and the journal: the real `Past`.

It resumes nothing; it closes the books of a dead run once somebody saw its target running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.audit.reading import Record, unfinished
from console.clock import Clock
from console.config.paths import XdgPaths
from console.errors import JournalError
from console.model.claims import Claim
from console.model.unended import Unended
from console.operations.lease.store import (
    OPEN_PHASES,
    LeasePhase,
    LeaseRecord,
    LeaseStore,
    LeaseTarget,
    with_target,
)
from console.operations.outcome import Outcome
from console.operations.target import Target

_PUT_BACK = re.compile(r"SET (?P<key>\w+) = (?P<value>\d+(?:\.\d+)?)")
_ENDS_RUNNING = frozenset({"pause", "resume", "kill", "mend"})
"""Verbs that are over once their target runs; of others that it runs tells nothing."""
_log = logging.getLogger(__name__)


class LeaseLegacy:
    """The books of one state folder."""

    def __init__(self, state_dir: Path, journal: Journal) -> None:
        self._store = LeaseStore(state_dir)
        self._journal = journal

    async def claims(self) -> tuple[Claim, ...]:
        """See `Past.claims`."""
        records = await asyncio.to_thread(self._living)
        return tuple(_claim(record, one) for record in records for one in _may_be_held(record))

    async def leftover_settings(self, bouncer: str) -> Mapping[str, str]:
        """See `Past.leftover_settings`."""
        return await asyncio.to_thread(self._leftover, bouncer)

    async def unfinished(self, bouncer: str) -> tuple[str | None, ...]:
        """See `Past.unfinished`."""
        return await asyncio.to_thread(self._unfinished, bouncer)

    async def unended(self) -> tuple[Unended, ...]:
        """See `Past.unended`."""
        return await asyncio.to_thread(self._unended)

    async def settled(self, bouncer: str, database: str | None) -> None:
        """See `Past.settled`; what cannot be written is logged: the target runs, and that is what counts."""
        await asyncio.to_thread(self._settle, Target(bouncer, database))

    def _living(self) -> tuple[LeaseRecord, ...]:
        """Return the leases, and forget those that dead guardians left behind with nothing in them."""
        kept = []
        for record in self._store.list_leases(_log.warning):
            if not record.orphan or _may_be_held(record) or record.unrecorded:
                kept.append(record)
                continue
            try:
                self._store.forget(record.id)
            except OSError as error:
                _log.info("the lease file %s cannot be removed: %s", record.id, error)
        return tuple(kept)

    def _leftover(self, bouncer: str) -> dict[str, str]:
        found: dict[str, str] = {}
        statements = [text for record in self._open_intents(bouncer) for text in _texts(record)]
        for record in self._store.orphans():
            covers = [cover for cover in record.order.covers if cover.target.bouncer == bouncer]
            statements += [text for cover in covers for text in cover.lift]
        for text in statements:
            match = _PUT_BACK.fullmatch(text)
            if match is not None and float(match["value"]):
                found[match["key"]] = match["value"]
        return found

    def _unfinished(self, bouncer: str) -> tuple[str | None, ...]:
        found = {(record.target or "").partition("/")[2] or None for record in self._open_intents(bouncer)}
        for lease in self._store.orphans():
            if lease.unrecorded:
                found |= {one.target.database for one in lease.targets if one.target.bouncer == bouncer}
        return tuple(sorted(found, key=lambda name: name or ""))

    def _unended(self) -> tuple[Unended, ...]:
        held = {lease.order.run_id for lease in self._living() if not lease.orphan}
        return tuple(_unended(record) for record in self._all_open_intents() if record.run not in held)

    def _open_intents(self, bouncer: str) -> list[Record]:
        found = self._all_open_intents()
        return [record for record in found if (record.target or "").partition("/")[0] == bouncer]

    def _all_open_intents(self) -> tuple[Record, ...]:
        try:
            return unfinished(self._journal.path)
        except JournalError as error:
            _log.warning("%s", error)
            return ()

    def _settle(self, target: Target) -> None:
        try:
            for record in self._store.orphans():
                self._close(record, target)
            for intent in self._open_intents(target.bouncer):
                if intent.target == str(target):
                    self._journal.append("outcome", _ended(intent.run, intent.op, target), last_resort=True)
        except (OSError, JournalError) as error:
            _log.warning("the books of a dead run on %s could not be closed: %s", target, error)

    def _close(self, record: LeaseRecord, target: Target) -> None:
        changed = record
        for place, one in enumerate(record.targets):
            if one.target == target:
                changed = with_target(changed, place, phase=LeasePhase.ENDED, detail="mended")
        if not _may_be_held(changed):
            if record.unrecorded:
                told = {"event": "not recorded then", "lease": record.id, "what": list(record.unrecorded)}
                self._journal.append("lease", {"run": record.order.run_id, **told}, last_resort=True)
            self._store.forget(record.id)
        elif changed != record:
            self._store.write(changed)


def _may_be_held(record: LeaseRecord) -> tuple[LeaseTarget, ...]:
    """Return the targets that may be paused.

    A guardian that was killed may not have come to write down that its run had begun: then what it had armed
    may be paused as well.
    """
    if record.guardian_alive is not False:
        return record.open_targets
    return tuple(one for one in record.targets if one.phase in OPEN_PHASES or one.phase is LeasePhase.ARMED)


def _claim(record: LeaseRecord, one: LeaseTarget) -> Claim:
    order = record.order
    return Claim(
        bouncer=one.target.bouncer,
        database=one.target.database,
        fleet=order.fleet,
        who=f"{record.owner.user}@{record.owner.host}",
        run_id=order.run_id,
        lease_id=order.lease_id,
        title=order.title,
        since_wall_s=record.since_s,
        until_wall_s=one.ends_at_s or record.since_s + order.longest_s,
        # A run whose guardian died lets go at once; another machine's guardian cannot be looked at.
        alive=record.guardian_alive is not False and one.phase is not LeasePhase.FAILED,
    )


def _unended(record: Record) -> Unended:
    bouncer, _, database = (record.target or "?").partition("/")
    fleet = record.fields.get("fleet")
    who = record.who
    return Unended(
        op=record.op or "?",
        bouncer=bouncer,
        database=database or None,
        fleet=fleet if isinstance(fleet, str) else "",
        who=f"{who.get('user', '?')}@{who.get('host', '?')}",
        run_id=record.run or "?",
        since_wall_s=record.at_s,
    )


def _texts(record: Record) -> list[str]:
    fields: Mapping[str, Any] = record.fields
    return [
        text for key in ("statements", "rescue") for text in fields.get(key) or () if isinstance(text, str)
    ]


def _ended(run: str | None, op: str | None, target: Target) -> dict[str, Any]:
    """Return the outcome of a dead run's verb on a target that was seen running since."""
    told = {"run": run, "op": op, "target": str(target), "by": "mend"}
    if op in _ENDS_RUNNING:
        detail = "its run died; a later one saw it running again"
        return {**told, "outcome": Outcome.OK.value, "after": "running", "detail": detail}
    detail = "its run died; what came of it is not known"
    return {**told, "outcome": Outcome.UNKNOWN.value, "after": None, "detail": detail}


def lease_legacy(clock: Clock) -> LeaseLegacy:
    """Return the books of this user's own state folder.

    Raises:
        UsageError: the folder cannot be made.
    """
    state = XdgPaths().state
    return LeaseLegacy(state, Journal(state / "journal.jsonl", clock, Actor.current(os.environ)))
