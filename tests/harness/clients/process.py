"""The process: reads what to do from standard input, prints `running` and, at the end, the report.

Input, one JSON object a line: the groups; `{"begin": NAME, "at_s": T}` and `{"end": NAME, "at_s": T}`, marks
of the monotonic clock; `{"change": GROUP, "fields": {…}}`; `{"stop": true}`. The end of input stops it too:
whoever started it may have died.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.clients.client import Client
from tests.harness.clients.record import Record
from tests.harness.clients.report import Figures, Overhead, Report, Spread
from tests.harness.clients.wish import from_json

GRACE_S = 5.0
"""How long a transaction that is under way at the end may take."""
BEAT_S = 0.005
MAX_EXAMPLES = 20


class Run:
    """The clients of one process."""

    def __init__(self, told: dict[str, Any], commands: asyncio.StreamReader) -> None:
        self._commands = commands
        self._stop = asyncio.Event()
        self._clients: list[Client] = []
        for group in from_json(told):
            for _ in range(group.clients):
                self._clients.append(Client(len(self._clients) + 1, group, self._stop))
        self._windows: dict[str, list[float]] = {}
        self._lag_ms = array("d")
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Report:
        """Run until told to stop and return the report."""
        reading = asyncio.create_task(self._obey())
        beat = asyncio.create_task(self._beat())
        telling = asyncio.create_task(self._tell_running())
        tasks = [asyncio.create_task(client.run()) for client in self._clients]
        began, cpu, waited = self._loop.time(), _cpu_s(), _core_wait_ms()
        try:
            await self._stop.wait()
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in (reading, beat, telling):
                task.cancel()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        seconds = self._loop.time() - began
        return self._report(seconds, _cpu_s() - cpu, _difference(_core_wait_ms(), waited))

    async def _tell_running(self) -> None:
        for client in self._clients:
            await client.first_success.wait()
        _say({"running": len(self._clients)})

    async def _obey(self) -> None:
        while line := await self._commands.readline():
            told = json.loads(line)
            if "begin" in told:
                self._windows[told["begin"]] = [told["at_s"], float("inf")]
            elif "end" in told:
                self._windows[told["end"]][1] = told["at_s"]
            elif "change" in told:
                for client in self._clients:
                    if client.group.name == told["change"]:
                        client.change(**told["fields"])
                _say({"changed": told["change"]})
            elif "stop" in told:
                break
        self._stop.set()

    async def _beat(self) -> None:
        while True:
            due = self._loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._lag_ms.append((self._loop.time() - due) * 1_000)

    def _report(self, seconds: float, cpu_s: float, waited_ms: float | None) -> Report:
        records = [client.record for client in self._clients]
        names = dict.fromkeys(record.group for record in records)
        total = Figures.of("all", records)
        kept = [client.record for client in self._clients if client.group.lifetime_s is None]
        return Report(
            seconds=round(seconds, 3),
            total=total,
            groups=tuple(Figures.of(name, _of(records, name)) for name in names),
            windows=tuple(
                Figures.of(name, records, (edges[0], edges[1])) for name, edges in self._windows.items()
            ),
            overhead=Overhead(
                cpu_share=round(cpu_s / seconds, 4),
                cpu_us_per_transaction=round(cpu_s * 1e6 / max(total.done, 1), 1),
                lag_ms=Spread.of(self._lag_ms),
                core_wait_ms=waited_ms,
            ),
            done_by_client={record.client: len(record.done_s) for record in records},
            unknown_by_client={record.client: record.unknown for record in records if record.unknown},
            examples=tuple(f"{r.group}: {text}" for r in records for text in r.examples)[:MAX_EXAMPLES],
            kept=Figures.of("kept", kept) if kept else None,
        )


def _of(records: Sequence[Record], name: str) -> list[Record]:
    return [record for record in records if record.group == name]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _core_wait_ms() -> float | None:
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e6
    except (OSError, IndexError):
        return None


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else round(later - earlier, 1)


def _say(told: dict[str, Any]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


async def main() -> None:
    """Run as told by standard input."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    report = await Run(json.loads(await reader.readline()), reader).run()
    sys.stdout.write(report.to_json() + "\n")
    sys.stdout.flush()


def start() -> None:
    """Run it, without pauses of the garbage collector."""
    gc.freeze()
    gc.disable()
    asyncio.run(main())
