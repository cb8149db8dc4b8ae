"""What a switchover is told, and what of it is wrong whatever the fleet is like."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, field_validator, model_validator

from console.config.schema import PostgresNode
from console.operations.spec import Parameters

T = TypeVar("T")
TOGETHER_S = 0.5
"""Bouncers are looked at side by side; so long one look at the nodes does for all of them."""
Address = tuple[str, int]
"""Host and port as bouncers write them."""
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+|/[^\s]+):(?P<port>\d{1,5})")


class SwitchoverParameters(Parameters):
    """`timeout_s` is for draining; everything else happens within `hold_s` from then on."""

    to: Annotated[str, Field(min_length=1)]
    fence: Literal["read-only", "stop", "patroni", "none"]
    hold_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    catch_up_s: Annotated[float, Field(gt=0, le=600)] = 3.0
    bouncers: str = "all"
    from_address: str = ""
    to_address: str = ""
    retarget: Literal["config", "command", "none"] = "config"
    retarget_command: str = ""
    promote_command: str = ""
    stop_command: str = ""
    no_probe: bool = False
    _nodes: tuple[PostgresNode, PostgresNode] | None = PrivateAttr(None)
    _old: frozenset[Address] = PrivateAttr(frozenset())
    _new: Address = PrivateAttr(("", 0))
    _reading: tuple[float, asyncio.Task[Any]] | None = PrivateAttr(None)

    @field_validator("from_address", "to_address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value:
            address_of(value)
        return value

    @field_validator("promote_command", "stop_command", "retarget_command")
    @classmethod
    def _is_a_command(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"is no command line: {error}") from None
        return value

    @model_validator(mode="after")
    def _commands_are_where_they_are_wanted(self) -> Self:
        if (self.fence == "stop") != bool(self.stop_command.strip()):
            raise ValueError("--fence stop and --stop-command go together")
        if (self.retarget == "command") != bool(self.retarget_command.strip()):
            raise ValueError("--retarget command and --retarget-command go together")
        if self.catch_up_s > self.hold_s:
            raise ValueError("--catch-up is longer than --within")
        return self

    @property
    def nodes(self) -> tuple[PostgresNode, PostgresNode]:
        """The node that is left, and the one that takes its place."""
        assert self._nodes is not None, "bound when bouncers were chosen"
        return self._nodes

    @property
    def by_patroni(self) -> bool:
        """Whether Patroni is asked to do it: it runs the nodes, and no other way was given."""
        return not self.promote_command and any(node.patroni is not None for node in self.nodes)

    @property
    def old(self) -> frozenset[Address]:
        """Under which addresses bouncers lead to the node that is left."""
        return self._old

    @property
    def new(self) -> Address:
        """Under which address bouncers are to reach the other one."""
        return self._new

    async def together(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read once for all who ask at about the same time."""
        loop = asyncio.get_running_loop()
        if self._reading is None or loop.time() >= self._reading[0]:
            self._reading = loop.time() + TOGETHER_S, loop.create_task(read())
        found: T = await asyncio.shield(self._reading[1])
        return found

    def bind(self, nodes: tuple[PostgresNode, PostgresNode], old: frozenset[Address], new: Address) -> None:
        """Take what the selector and the inventory say."""
        self._nodes, self._old, self._new = nodes, old, new


def address_of(text: str) -> Address:
    """Read `host:port`, `[v6]:port` or `/folder:port`.

    Raises:
        ValueError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f"{text!r} is no address: write host:port")
    return found["host"].strip("[]"), int(found["port"])
