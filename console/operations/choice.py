"""From what a selector chose on a bouncer to targets, by what the bouncer lists. Pure (traps T2, T23)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from console.config.selector import Selected
from console.errors import UsageError
from console.model.derive import ADMIN_DATABASE
from console.operations.observe import Observation
from console.operations.spec import OpSpec, Parameters, Scope
from console.operations.target import Target


def databases_of(
    spec: OpSpec[Any], chosen: Selected, observation: Observation, parameters: Parameters
) -> Sequence[Target]:
    """Return the targets that are meant; () when a pattern fits no database of this bouncer.

    Raises:
        UsageError: the verb cannot act on what was named, or a database named in full is not there.
    """
    if chosen.database is None:
        if Scope.POOLER not in spec.scopes:
            listed = ", ".join(database.name for database in observation.databases)
            raise UsageError(
                f"{spec.name} acts on databases, and {chosen.name} names a whole bouncer",
                hint=f"name one of {listed or 'its databases'}: pooldeck {spec.name} {chosen.name}/NAME",
            )
        if spec.spread is None:
            return [Target(chosen.name)]
        return [Target(chosen.name, database) for database in spec.spread(observation, parameters)]
    if Scope.DATABASE not in spec.scopes:
        raise UsageError(
            f"{spec.name} acts on a whole bouncer, not on one of its databases",
            hint=f"pooldeck {spec.name} {chosen.name}",
        )
    if chosen.database == ADMIN_DATABASE:
        raise UsageError(f"{ADMIN_DATABASE} is the admin console itself; no operation acts on it")
    names = [database.name for database in observation.databases]
    found = chosen.choose(names)
    if not found and chosen.is_exact:
        near = get_close_matches(chosen.database, names, n=3)
        raise UsageError(
            f"{chosen.name} lists no database {chosen.database}",
            hint=f"did you mean {' or '.join(near)}?" if near else f"it lists {', '.join(names) or 'none'}",
        )
    return [Target(chosen.name, name) for name in found]
