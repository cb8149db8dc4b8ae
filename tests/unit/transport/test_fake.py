"""The fake transport says only what a test put in, and keeps to the same contract as the real one."""

from __future__ import annotations

import pytest

from console.errors import DeadlineError, NodeError, Phase
from console.transport.base import CommandResult, Endpoint, Route, TcpAddress, Transport
from console.transport.fake import FakeTransport

ROUTE = Route("a", TcpAddress("db", 6432), tls=False)
ENDPOINT = Endpoint("/run/x", 6432)


async def test_it_gives_what_was_put_in_and_refuses_the_rest() -> None:
    failure = NodeError(Phase.TUNNEL, "gone")
    fake: Transport = FakeTransport(
        endpoints={ROUTE: ENDPOINT},
        failures={ENDPOINT: failure},
        results={("a", ("ls",)): CommandResult(0, b"12345", b"", truncated=False)},
    )
    assert await fake.endpoint(ROUTE, timeout_s=1.0) == ENDPOINT
    assert fake.failure_of(ENDPOINT) is failure
    result = await fake.run("a", ["ls"], timeout_s=1.0, max_output_bytes=3)
    assert (result.stdout, result.truncated) == (b"123", True)
    with pytest.raises(NodeError, match="no such command"):
        await fake.run("a", ["rm"], timeout_s=1.0)
    with pytest.raises(NodeError, match="no such route"):
        await fake.endpoint(Route("b", TcpAddress("db", 1), tls=False), timeout_s=1.0)


async def test_a_hanging_host_costs_its_limit() -> None:
    fake = FakeTransport(endpoints={ROUTE: ENDPOINT}, hang=frozenset({"a"}))
    with pytest.raises(DeadlineError) as caught:
        await fake.endpoint(ROUTE, timeout_s=0.05)
    assert (caught.value.phase, caught.value.limit_s) == (Phase.SSH, 0.05)
