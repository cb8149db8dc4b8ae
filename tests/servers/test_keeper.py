"""A keeper beside a real pooler: it ends its own pause when its console is silent, and nobody else's."""

from __future__ import annotations

import pytest

from console.operations.lease.keepers import KeeperOutcome
from tests.harness.servers import MakePgBouncer
from tests.servers.keeper_kit import Post, carried, paused, post, serving, until_running

__all__ = ["post"]  # a fixture


@pytest.mark.parametrize("database", [None, "app"])
async def test_a_silent_console_s_pause_is_lifted(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, post: Post, database: str | None
) -> None:
    server = make_pgbouncer(pgbouncer_version)
    with serving(server), server.admin() as console:
        keeper = await post.arm(server, database)
        console.execute("PAUSE" if database is None else 'PAUSE "app"')
        await keeper.held(carried(console, database))
        await post.until(keeper, lambda report: report.held)
        await keeper.renew(0.1)
        result = await post.result(keeper)
    assert result.outcome is KeeperOutcome.RESUMED, result
    assert not paused(server, database)
    print(result)
