"""What `pooldeck process` tells of one bouncer: read once, as lines and as JSON. It only asks."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from console.clock import Clock
from console.config.schema import Bouncer
from console.errors import AdminError, NodeError
from console.hosts.facts import ProcessFacts
from console.model.rows import Setting
from console.model.version import Version
from console.operations.process.finding import Finder, ProcessLook
from console.operations.sessions import Connector, close_quietly
from console.operations.step import why
from console.poolers.dialects import dialect_for
from console.transport.base import Transport
from console.view import numbers

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in the kernel, not to be interrupted",
    "T": "stopped by a signal",
    "t": "stopped by a tracer",
    "Z": "ended",
}


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One bouncer's process, as read within a moment."""

    bouncer: str
    look: ProcessLook
    now_s: float
    """Wall clock."""
    running_version: Version | None = None
    """As SHOW VERSION says; None: it does not answer."""
    silent: str | None = None
    """Why its console does not answer; None: it does."""
    cpu_share: float | None = None
    """Of one core, over the interval; a PgBouncer cannot use more than one. None: not measured."""

    @property
    def version_waits(self) -> bool:
        """Whether the executable of the next start has another version than the process."""
        now, then = self.running_version, self.look.program_version
        return now is not None and then is not None and now != then

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield (label, words), for people."""
        look, process = self.look, self.look.process
        supervision = look.supervision
        yield "host", look.where
        yield "supervised by", supervision.words if supervision is not None else "not known"
        if supervision is not None and supervision.detected:
            yield "", "the inventory does not say; see docs/process.md"
        yield from self._supervisor_lines()
        if process is None:
            yield "process", look.why or "not found"
        else:
            yield from self._process_lines(process)
        yield "version", self._versions()
        for one in look.earlier:
            yield "restart", one.words
        if self.silent is not None:
            yield "console", self.silent
        if supervision is not None and supervision.start():
            yield "started by", shlex.join(supervision.start())
        if look.may_act is not None:
            yield "warning", look.may_act

    def _supervisor_lines(self) -> Iterator[tuple[str, str]]:
        look, unit = self.look, self.look.unit
        if look.supervisor_says:
            yield "it says", look.supervisor_says
        if not unit:
            return
        yield "unit", f"{unit.get('ActiveState', 'not known')} ({unit.get('SubState', 'not known')})"
        keys = ("Type", "Restart", "KillSignal", "TimeoutStopUSec")
        yield "", ", ".join(f"{key}={unit[key]}" for key in keys if key in unit)

    def _process_lines(self, process: ProcessFacts) -> Iterator[tuple[str, str]]:
        age = ""
        if process.started_at_s is not None:
            since = datetime.fromtimestamp(process.started_at_s, UTC)
            ran_s = max(0.0, self.now_s - process.started_at_s)
            age = f", since {since:%Y-%m-%d %H:%M:%S} UTC ({numbers.duration_s(ran_s)})"
        yield "process", f"{process.pid} {_STATES.get(process.process.state, process.process.state)}{age}"
        used = (
            f"{process.cpu_s:.1f} s used"
            if process.cpu_s is not None
            else "n/a: its host tells no clock ticks"
        )
        share = f"{self.cpu_share:.0%} of a core now, " if self.cpu_share is not None else ""
        yield "cpu", f"{share}{used}"
        memory = f"{(process.rss_bytes or 0) / 1_048_576:.1f} MiB"
        yield "memory", "n/a: its host does not tell" if process.rss_bytes is None else memory
        limit = process.open_files_limit
        most = "no known limit" if limit is None else str(limit)
        if process.open_files is None:
            yield "open files", f"n/a of {most}: only its owner and root may see them (sudo = true)"
        else:
            yield "open files", f"{process.open_files} of {most}"
        if process.executable is not None:
            gone = ", which was replaced since" if process.executable_replaced else ""
            yield "executable", f"{process.executable}{gone}"

    def _versions(self) -> str:
        now, then, program = self.running_version, self.look.program_version, self.look.program
        running = f"{now} runs" if now is not None else "which one runs is not known"
        if then is None:
            return f"{running}; the next start's is not known"
        if self.version_waits:
            return f"{running}; the next start takes {then} ({program})"
        return f"{running}; {program} is {then}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values; null: not known."""
        look, process, supervision = self.look, self.look.process, self.look.supervision
        return {
            "bouncer": self.bouncer,
            "host": look.where,
            "supervision": None
            if supervision is None
            else {
                "kind": supervision.kind.value,
                "name": supervision.name or None,
                "detected": supervision.detected,
                "sudo": supervision.sudo,
                "start": list(supervision.start()),
            },
            "unit": dict(look.unit) or None,
            "supervisor_says": look.supervisor_says,
            "running": process is not None,
            "why_not": look.why,
            "process": None if process is None else _process_dict(process, self.cpu_share),
            "running_version": _text(self.running_version),
            "program": look.program,
            "program_version": _text(look.program_version),
            "console": self.silent,
            "restarts": [
                {"folder": one.folder, "under_way": one.under_way, "progress": one.progress.value}
                for one in look.earlier
            ],
            "may_act": look.may_act is None,
        }


def _process_dict(process: ProcessFacts, share: float | None) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "state": process.process.state,
        "started_at": process.started_at_s,
        "uid": process.uid,
        "cpu_s": process.cpu_s,
        "cpu_share": share,
        "rss_bytes": process.rss_bytes,
        "open_files": process.open_files,
        "open_files_limit": process.open_files_limit,
        "executable": process.executable,
        "executable_replaced": process.executable_replaced,
        "command": list(process.process.argv),
    }


def _text(version: Version | None) -> str | None:
    return str(version) if version is not None else None


async def read_report(
    bouncer: Bouncer,
    connector: Connector,
    transport: Transport | None,
    clock: Clock,
    *,
    interval_s: float,
    timeout_s: float,
) -> ProcessReport:
    """Read one bouncer's process. What does not answer is in the report; nothing raises.

    Args:
        bouncer: the inventory's entry.
        connector: opens admin sessions.
        transport: runs commands on hosts.
        clock: tells the time.
        interval_s: between the two readings that tell the CPU share.
        timeout_s: for each command and each answer.
    """
    version, config, silent = await _console(bouncer, connector, timeout_s=timeout_s)
    finder = Finder(bouncer, transport, timeout_s=timeout_s)
    look = await finder.look(config)
    first, share = look.process, None
    if first is not None and first.cpu_s is not None:
        begun_s = clock.monotonic_s()
        await asyncio.sleep(interval_s)
        try:
            used_s = await finder.cpu_s(first.process)
        except NodeError:
            used_s = None
        if used_s is not None:
            share = (used_s - first.cpu_s) / (clock.monotonic_s() - begun_s)
            look = replace(look, process=replace(first, cpu_s=used_s))
    return ProcessReport(bouncer.name, look, clock.wall_s(), version, silent, share)


async def _console(
    bouncer: Bouncer, connector: Connector, *, timeout_s: float
) -> tuple[Version | None, Mapping[str, Setting] | None, str | None]:
    dialect = dialect_for(bouncer.kind)
    try:
        reader = await connector.reader(bouncer.name)
    except NodeError as error:
        return None, None, why(error)
    try:
        version = dialect.parse_version(await reader.show("VERSION", timeout_s=timeout_s))
        config = dialect.parse_config(await reader.show("CONFIG", timeout_s=timeout_s))
    except (NodeError, AdminError) as error:
        return None, None, why(error)
    finally:
        await close_quietly(reader)
    return version, config, None
