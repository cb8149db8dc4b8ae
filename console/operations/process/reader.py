"""Reads what hosts tell of the processes of bouncers, by their names; for every driver. It only asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from console.clock import Clock
from console.config.schema import Inventory
from console.operations.process.report import ProcessReport, read_report
from console.operations.sessions import Connector
from console.transport.base import Transport

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ProcessReader:
    """Processes of one fleet."""

    inventory: Inventory
    connector: Connector
    transport: Transport | None
    clock: Clock

    async def read(
        self,
        names: Sequence[str],
        *,
        interval_s: float = 1.0,
        done: Callable[[ProcessReport], None] = lambda _: None,
    ) -> tuple[ProcessReport, ...]:
        """Return the report of each; what does not answer is in it. Nothing raises.

        Args:
            names: bouncers of the inventory.
            interval_s: over which the CPU is measured.
            done: is told each as it comes.
        """
        bouncers = {bouncer.name: bouncer for bouncer in self.inventory.bouncers}
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> ProcessReport:
            bouncer = bouncers[name]
            limit_s = bouncer.query_timeout_s or self.inventory.defaults.query_timeout_s
            async with slots:
                report = await read_report(
                    bouncer,
                    self.connector,
                    self.transport,
                    self.clock,
                    interval_s=interval_s,
                    timeout_s=limit_s + (bouncer.connect_timeout_s or limit_s),
                )
            done(report)
            return report

        return tuple(await asyncio.gather(*map(one, names)))
