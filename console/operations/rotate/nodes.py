"""Which Postgres node, or which other pooler, a database of a pooler leads to. Pure.

The pooler has an address as its own machine sees it, the inventory one as seen from here or from a host.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from console.config.schema import Bouncer, Inventory, PostgresNode

_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Behind:
    """What a database leads to."""

    node: PostgresNode | None = None
    pooler: Bouncer | None = None
    """Another pooler of the inventory: they stand in layers."""
    by_port: bool = False
    """Only the port told it: no other entry of the inventory has that one."""


def behind(host: str | None, port: int | None, bouncer: Bouncer, inventory: Inventory) -> Behind:
    """Return what the inventory calls the server that a pooler reaches at an address.

    Empty when it does not know it. `host` None: the Unix socket of the pooler's machine.
    """
    port = port or _POSTGRES_PORT
    hosts = [name.strip() for name in (host or "").split(",")]
    nodes = [node for node in inventory.postgres if node.listen_port == port]
    poolers = [one for one in inventory.bouncers if one.listen_port == port and one.name != bouncer.name]
    for node in nodes:
        if any(_is_same(name, bouncer, node, inventory) for name in hosts):
            return Behind(node=node)
    for other in poolers:
        if any(_is_same(name, bouncer, other, inventory) for name in hosts):
            return Behind(pooler=other)
    if len(nodes) == 1 and not poolers:
        return Behind(node=nodes[0], by_port=True)
    return Behind()


def _is_same(host: str, bouncer: Bouncer, entry: Bouncer | PostgresNode, inventory: Inventory) -> bool:
    same_machine = bouncer.host == entry.host
    if not host or host.startswith("/"):
        here = entry.unix is not None or _is_loopback(entry.tcp_host or "")
        if host and entry.unix is not None and str(entry.unix) != host:
            return False
        return same_machine and here
    if _is_loopback(host):
        return same_machine and (entry.unix is not None or _is_loopback(entry.tcp_host or ""))
    names = {entry.tcp_host, entry.host}
    if entry.host is not None and entry.host in inventory.hosts:
        names.add(inventory.hosts[entry.host].hostname)
    return host in names


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
