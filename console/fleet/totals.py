"""A pooler's pools added up. Pure; the admin console's own pool is never counted: its client is us."""

from __future__ import annotations

from dataclasses import dataclass

from console.model.derive import ADMIN_DATABASE
from console.model.sample import Sample


@dataclass(frozen=True, slots=True)
class PoolTotals:
    """Sums over the pools of applications of one pooler, each of the like-named column of SHOW POOLS."""

    clients_active: int
    """Clients linked to a server **or idle**."""
    clients_waiting: int
    servers_active: int
    servers_idle: int
    maxwait_us: int
    """The longest of the pools' oldest waits; 0 when nobody waits."""


def pool_totals(sample: Sample) -> PoolTotals:
    """Add up the pools of one sample."""
    clients_active = clients_waiting = servers_active = servers_idle = maxwait_us = 0
    for pool in sample.pools:
        if pool.database == ADMIN_DATABASE:
            continue
        clients_active += pool.cl_active
        clients_waiting += pool.cl_waiting
        servers_active += pool.sv_active
        servers_idle += pool.sv_idle
        maxwait_us = max(maxwait_us, pool.maxwait_us)
    return PoolTotals(clients_active, clients_waiting, servers_active, servers_idle, maxwait_us)
