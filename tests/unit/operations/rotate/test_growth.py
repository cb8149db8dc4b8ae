"""Two roles side by side: the arithmetic of pooling-facts, on each pooler by itself."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from console.operations.rotate.growth import growth


@dataclass
class Row:
    name: str
    pool_size: int
    reserve_pool_size: int | None = 0
    max_connections: int = 0


def _seen(row: Row, pools: int) -> Any:
    live = tuple(SimpleNamespace(database=row.name) for _ in range(pools))
    found = SimpleNamespace(
        bouncer="edge", pools=live, database=lambda name: row if name == row.name else None
    )
    return cast(Any, found)


@pytest.mark.parametrize(
    ("row", "pools", "poolers", "available", "now", "then", "refused"),
    [
        # 4 pools of 25 on 4 poolers; one more each.
        (Row("app", 25), 4, 4, 500, 400, 500, False),
        (Row("app", 25), 4, 4, 497, 400, 500, True),
        (Row("app", 25, 5), 4, 1, 150, 120, 150, False),
        # max_db_connections caps a pooler's share.
        (Row("app", 200, 0, 450), 2, 1, 497, 400, 450, False),
        (Row("app", 20), 0, 20, 400, 0, 400, False),
    ],
)
def test_every_pooler_adds_its_own(
    row: Row, pools: int, poolers: int, available: int, now: int, then: int, refused: bool
) -> None:
    seen = [(_seen(row, pools), frozenset({row.name}), {row.name: 1})] * poolers
    found = growth("pg", seen, available=available)
    assert (found.now, found.then) == (now, then)
    assert (found.refused is not None) == refused
    assert (found.warning is not None) == (not refused and then == available)


def test_pools_without_a_limit_cannot_be_added_up() -> None:
    found = growth("pg", [(_seen(Row("app", 0), 1), frozenset({"app"}), {"app": 1})], available=100)
    assert found.refused is not None
    assert "edge/app" in found.refused
