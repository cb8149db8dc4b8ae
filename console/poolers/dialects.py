"""Which dialect speaks for which `kind` of the inventory."""

from __future__ import annotations

from console.errors import UsageError
from console.poolers.base import Dialect
from console.poolers.pgbouncer import PgBouncerDialect

_DIALECTS: dict[str, Dialect] = {"pgbouncer": PgBouncerDialect()}


def dialect_for(kind: str) -> Dialect:
    """Return the dialect of an inventory `kind`; one instance a kind.

    Raises:
        UsageError: no such kind.
    """
    dialect = _DIALECTS.get(kind)
    if dialect is None:
        raise UsageError(
            f'no such kind of pooler: "{kind}"', hint=f"known kinds: {', '.join(sorted(_DIALECTS))}"
        )
    return dialect
