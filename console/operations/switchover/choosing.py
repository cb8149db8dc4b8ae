"""Which bouncers a switchover holds: those whose databases lead to the node, and which of their databases."""

from __future__ import annotations

import contextlib
import ipaddress

from console.config.schema import Inventory, PostgresNode
from console.config.selector import Besides, Selected, parse_selector
from console.errors import NodeError, UsageError
from console.model.rows import Database
from console.operations.observe import Observation
from console.operations.switchover.parameters import Address, SwitchoverParameters, address_of
from console.transport.resolve import addresses

DEFAULT_PORT = 5432


async def choose(
    inventory: Inventory, selector: str, parameters: SwitchoverParameters
) -> tuple[Selected, ...]:
    """Return the bouncers that may lead to the node that `selector` names.

    Raises:
        UsageError: it names no single Postgres node, or addresses are not known.
    """
    besides = Besides(inventory.bouncers, "a bouncer", "switchover moves a Postgres node")
    found = parse_selector(selector).select(inventory.postgres, besides)
    if len(found) != 1 or found[0].database is not None:
        raise UsageError("name one Postgres node", where=selector)
    nodes = {node.name: node for node in inventory.postgres}
    name = found[0].name
    replica = nodes.get(parameters.to)
    if replica is None or replica.name == name:
        others = ", ".join(sorted(nodes.keys() - {name})) or "there is no other"
        raise UsageError(f"{parameters.to!r} is no other Postgres node", where="--to", hint=others)
    old = _address(nodes[name], parameters.from_address, "--from-address")
    new = _address(replica, parameters.to_address, "--to-address")
    known = frozenset({old, *((host, old[1]) for host in await _resolved(old[0]))})
    if new in known:
        raise UsageError("both nodes have the same address", where="--to-address")
    parameters.bind((nodes[name], replica), known, new)
    _check_patroni(parameters)
    named = parse_selector(parameters.bouncers).select(
        inventory.bouncers, Besides(inventory.postgres, "a Postgres node", "--bouncers names bouncers")
    )
    return tuple(Selected(one) for one in dict.fromkeys(part.name for part in named))


def _check_patroni(parameters: SwitchoverParameters) -> None:
    left, follower = parameters.nodes
    if parameters.by_patroni:
        for one, other in ((left, follower), (follower, left)):
            if one.patroni is None:
                text = f"the inventory names a Patroni for {other.name} and none for {one.name}"
                raise UsageError(text, hint=f"patroni in the [[postgres]] entry of {one.name}")
    if parameters.by_patroni and parameters.fence != "patroni":
        text = f"Patroni runs {left.name} and stops it itself before another one is promoted"
        raise UsageError(text, where="--fence", hint="--fence patroni")
    if parameters.fence == "patroni" and not parameters.by_patroni:
        text = f"no Patroni that the inventory names would promote {follower.name}"
        raise UsageError(text, where="--fence", hint="patroni in both [[postgres]] entries")


def spread(observation: Observation, parameters: SwitchoverParameters) -> tuple[str | None, ...]:
    """Return what is paused on a bouncer: all of it when all of it leads to the node, else its databases.

    (): nothing of it leads there.
    """
    leading = [one.name for one in observation.databases if leads_to(one, parameters.old)]
    if len(leading) == len(observation.databases) and leading:
        # The pause of a whole bouncer has no trap T4.
        return (None,)
    return tuple(leading)


def leads_to(database: Database, known: frozenset[Address]) -> bool:
    """Say whether a database leads to one of some addresses."""
    return (database.host or "", database.port or DEFAULT_PORT) in known


def _address(node: PostgresNode, given: str, flag: str) -> Address:
    if given:
        return address_of(given)
    host = node.tcp_host
    if host is None or (node.host is not None and _is_loopback(host)):
        raise UsageError(
            f"how bouncers reach {node.name} is not in the inventory, only how its own host does",
            where=flag,
            hint=f"say it: {flag} HOST:PORT",
        )
    return host, node.listen_port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _resolved(host: str) -> tuple[str, ...]:
    with contextlib.suppress(NodeError):
        return tuple(await addresses(host, where="--from-address"))
    return ()
