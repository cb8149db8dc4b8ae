"""A switchover of nodes that Patroni runs: what Patroni says of them, and its REST API asked to do it.

Patroni stops the old primary itself before it lets the replica take over, so nothing is fenced here; a plain
promotion would be taken back by it. What it is asked for takes effect on its own from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.errors import NodeError, PooldeckError
from console.model.switching import Asked, AskedFor, PatroniView
from console.operations.step import why

if TYPE_CHECKING:
    from console.operations.reach import Reach
    from console.operations.switchover.nodes import PatroniNodes
    from console.operations.switchover.parameters import SwitchoverParameters

POLL_S = 0.1
_READY = frozenset({"running", "streaming"})


@dataclass(frozen=True, slots=True)
class Patronis:
    """Both nodes as their Patronis tell."""

    old: PatroniView
    new: PatroniView

    @property
    def fact(self) -> str:
        """What a permit is bound to."""
        return (
            f"{self.old.scope or 'a cluster'}: {self.old.leader or 'nobody'} leads, {self.new.name} follows"
        )

    @property
    def names(self) -> tuple[str, str]:
        """What Patroni calls the node that is left, and the other one; only once `why_not` is None."""
        assert self.old.name is not None, "refused before"
        assert self.new.name is not None, "refused before"
        return self.old.name, self.new.name

    def why_not(self, parameters: SwitchoverParameters) -> str | None:
        """Say why Patroni would not do it; None: nothing is known against it."""
        left, follower = parameters.nodes
        for node, view in ((left, self.old), (follower, self.new)):
            if view.name is None:
                return f"Patroni does not tell what it calls {node.name}: is {node.patroni} its api_url?"
        if self.old.scope != self.new.scope:
            return f"{left.name} and {follower.name} are of two clusters: {self.old.scope}, {self.new.scope}"
        if self.old.leader != self.old.name:
            return f"in Patroni {self.old.leader or 'nobody'} leads, not {self.old.name} ({left.name})"
        member = self.old.member(self.names[1])
        if member is None:
            return f"{self.new.name} ({follower.name}) is no member of Patroni's cluster {self.old.scope}"
        if member.state not in _READY:
            return f"in Patroni {member.name} ({follower.name}) is {member.state}"
        if self.old.is_scheduled:
            return "a switchover is scheduled in Patroni: take it back first (patronictl flush)"
        return None


async def read_patronis(
    reach: Reach, parameters: SwitchoverParameters, *, timeout_s: float
) -> Patronis | str | None:
    """Ask both nodes' Patronis; why not when one does not answer, None when Patroni is not to do it."""
    if not parameters.by_patroni:
        return None
    if reach.patronis is None:
        return "Patroni cannot be asked from here"
    try:
        old, new = await asyncio.gather(
            *(reach.patronis.view(node.name, timeout_s=timeout_s) for node in parameters.nodes)
        )
    except PooldeckError as error:
        return f"{error.where or 'Patroni'}: {why(error)}"
    return Patronis(old, new)


class Order:
    """A switchover that Patroni was asked for; its answer takes as long as the switchover."""

    def __init__(self, nodes: PatroniNodes, node: str, names: tuple[str, str], *, timeout_s: float) -> None:
        self._task = asyncio.create_task(nodes.switch_over(node, *names, timeout_s=timeout_s))

    @property
    def answer(self) -> Asked | None:
        """Return what Patroni answered; None: nothing yet."""
        if not self._task.done():
            return None
        error = self._task.exception()
        if error is None:
            return self._task.result()
        if isinstance(error, NodeError):
            return Asked(AskedFor.NOT_KNOWN, why(error))
        if isinstance(error, PooldeckError):
            # The password could not be had: nothing was sent.
            return Asked(AskedFor.REFUSED, error.message)
        raise error

    async def close(self) -> None:
        """Wait for it no longer; Patroni goes on."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def settled(
    nodes: PatroniNodes,
    parameters: SwitchoverParameters,
    names: tuple[str, str],
    *,
    timeout_s: float,
    limit_s: float,
    is_stopped: Callable[[], bool],
) -> tuple[bool, str]:
    """Wait until the new leader leads and the old one follows; return whether it does, and how it is.

    Args:
        nodes: Patroni's API.
        parameters: which nodes.
        names: what Patroni calls them.
        timeout_s: for one answer.
        limit_s: how long it is waited for.
        is_stopped: whether it is not waited for any longer.
    """
    old, new = names
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while True:
        try:
            view = await nodes.view(parameters.nodes[1].name, timeout_s=timeout_s)
            member = view.member(old)
            there = f"{member.role}, {member.state}" if member is not None else "not there"
            how = f"{view.leader or 'nobody'} leads, {old} is {there}"
            follows = member is not None and not member.leads and member.state in _READY
            if view.leader == new and follows:
                return True, how
        except PooldeckError as error:
            how = why(error)
        if loop.time() >= end or is_stopped():
            return False, how
        await asyncio.sleep(POLL_S)
