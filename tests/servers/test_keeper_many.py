"""Several keepers on one host: what is asked of them at once is one command; none is another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.errors import NodeError, Phase
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN
from console.operations.lease.keepers import Keeper, KeeperOutcome, Keepers
from console.transport.base import CommandResult
from tests.harness.servers import MakePgBouncer
from tests.servers.keeper_kit import LIMIT_S, ThisMachine, order_for_server


class Counting(ThisMachine):
    """Keeps what each command was called."""

    def __init__(self, runtime: Path | None = None) -> None:
        super().__init__(runtime)
        self.commands: list[str] = []

    async def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        max_output_bytes: int = 1_048_576,
    ) -> CommandResult:
        self.commands.append(argv[-1])
        return await super().run(
            host, argv, timeout_s=timeout_s, stdin=stdin, max_output_bytes=max_output_bytes
        )


@pytest.fixture
def machine(tmp_path: Path) -> Counting:
    tmp_path.chmod(0o700)
    return Counting(tmp_path)


async def _arm(keepers: Keepers, server: PgBouncerServer, password: str | None = None) -> Keeper:
    word = SecretStr(password or server.secrets.password(ADMIN))
    order = order_for_server(server, bouncer=server.name)
    return await keepers.arm("here", order, word, timeout_s=LIMIT_S)


async def _living(keepers: Keepers, *servers: PgBouncerServer) -> set[str | None]:
    reports = await keepers.collect("here", timeout_s=LIMIT_S)
    names = {server.name for server in servers}
    return {report.bouncer for report in reports if report.alive and report.bouncer in names}


async def test_all_of_a_host_are_armed_renewed_and_released_by_one_command_each(
    make_pgbouncer: MakePgBouncer, machine: Counting
) -> None:
    servers = [make_pgbouncer("1.26") for _ in range(3)]
    keepers = Keepers(machine)
    armed = await asyncio.gather(*(_arm(keepers, server) for server in servers))
    assert machine.commands == ["3 keepers", "3 keepers"], "armed, then confirmed"
    await asyncio.gather(*(keeper.renew(60) for keeper in armed))
    assert machine.commands == ["3 keepers"] * 3
    assert await _living(keepers, *servers) == {server.name for server in servers}
    results = await asyncio.gather(*(keeper.release(timeout_s=LIMIT_S) for keeper in armed))
    assert [result and result.outcome for result in results] == [KeeperOutcome.RELEASED] * 3
    assert await _living(keepers, *servers) == set()


async def test_one_that_cannot_be_armed_is_told_and_the_others_stand_by(
    make_pgbouncer: MakePgBouncer, machine: Counting
) -> None:
    good, bad = make_pgbouncer("1.26"), make_pgbouncer("1.26")
    keepers = Keepers(machine)
    keeper, failure = await asyncio.gather(
        _arm(keepers, good), _arm(keepers, bad, "not the password"), return_exceptions=True
    )
    assert isinstance(failure, NodeError)
    assert failure.phase is Phase.AUTH
    assert isinstance(keeper, Keeper)
    assert await _living(keepers, good, bad) == {good.name}
    await keeper.release(timeout_s=LIMIT_S)


async def test_who_waits_no_longer_takes_the_others_answers_not_away(machine: Counting) -> None:
    keepers = Keepers(machine)
    first = asyncio.create_task(keepers.collect("here", timeout_s=LIMIT_S))
    second = asyncio.create_task(keepers.collect("here", timeout_s=LIMIT_S))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert machine.commands == ["collect"]
    with pytest.raises(asyncio.CancelledError):
        await first
