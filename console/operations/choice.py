"""From what a selector chose on a bouncer to targets, by what the bouncer lists (traps T2, T23).

Pure, but for what a verb looks up itself where the bouncer lists nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from console.config.selector import Selected
from console.errors import UsageError
from console.model.derive import ADMIN_DATABASE
from console.operations.observe import Observation
from console.operations.spec import Look, OpSpec, Parameters, Scope
from console.operations.target import Target


class NothingThere(Exception):
    """A bouncer has nothing of what is meant; the text says so, without its name."""


async def targets_of(spec: OpSpec[Any], chosen: Selected, look: Look) -> Sequence[Target]:
    """Return the targets that are meant on the bouncer of `look`.

    Raises:
        NothingThere: none is. UsageError: as `databases_of`. NodeError: it did not answer.
    """
    targets = databases_of(spec, chosen, look.observation, look.parameters)
    if targets:
        return targets
    words = f"lists {f'no database {chosen.database}' if chosen.database else 'nothing of the kind'}"
    found = await spec.find(look) if spec.find is not None and chosen.database is None else ()
    if not found or isinstance(found, str):
        raise NothingThere(f"{words}{f'; {found}' if found else ''}")
    return [Target(chosen.name, database) for database in found]


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
