"""The statements that have one role stand in for another, and that take it back. Pure.

The second role becomes a member of the first: what the first may do, owns or is given later is there through
that, as long as it inherits. Attributes (CREATEDB …), the connection limit and settings do not come by
membership, so a role that is made here gets copies; one that exists keeps its own. Where the first role is
itself a member of the second (the way back of an earlier rotation) a grant would go round in a circle; there
the second one joins the groups of the first. Source: PostgreSQL manual, "Role Membership", "ALTER ROLE".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from console.model.role_pair import PairReading, RoleSetting

_LISTS = frozenset(
    {
        *("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"),
        *("shared_preload_libraries", "unix_socket_directories"),
    }
)
"""Settings whose stored text is a list with its own quotes (`GUC_LIST_QUOTE`): as one literal it would be one
name. Stored by way of the session instead, as it is."""


def identifier(name: str) -> str:
    """Return a name as SQL holds it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL holds it, whatever standard_conforming_strings is."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"


def stand_in_statements(reading: PairReading, role: str, to: str, verifier: str) -> tuple[str, ...]:
    """Return what gives `to` the rights of `role`, LOGIN and a verifier, for one transaction."""
    name = identifier(to)
    grants = [f"GRANT {identifier(group)} TO {name}" for group in reading.grants(role)]
    if reading.exists:
        return (f"ALTER ROLE {name} LOGIN PASSWORD {literal(verifier)}", *grants)
    words = " ".join(("LOGIN INHERIT", *reading.attributes))
    made = (
        f"CREATE ROLE {name} {words} CONNECTION LIMIT {reading.connection_limit} PASSWORD {literal(verifier)}"
    )
    return (made, *grants, *_settings(reading.settings, name))


def stand_down_statements(
    to: str, *, existed: bool, could_log_in: bool, stored: str | None, granted: Sequence[str]
) -> tuple[str, ...]:
    """Return what brings the second role back to what it was, for one transaction.

    Args:
        to: its name.
        existed: it was there before.
        could_log_in: it had LOGIN.
        stored: its verifier; "": it had none; None: not known, so the new one stays.
        granted: what it was made a member of.
    """
    name = identifier(to)
    if not existed:
        return (f"DROP ROLE IF EXISTS {name}",)
    password = "" if stored is None else f" PASSWORD {literal(stored) if stored else 'NULL'}"
    revoked = (f"REVOKE {identifier(group)} FROM {name}" for group in granted)
    return (f"ALTER ROLE {name} {'LOGIN' if could_log_in else 'NOLOGIN'}{password}", *revoked)


def _settings(settings: Sequence[RoleSetting], name: str) -> Iterator[str]:
    for one in settings:
        where = f" IN DATABASE {identifier(one.database)}" if one.database is not None else ""
        key = ".".join(identifier(part) for part in one.name.split("."))
        if one.name.lower() in _LISTS:
            yield f"SELECT pg_catalog.set_config({literal(one.name)}, {literal(one.value)}, true)"
            yield f"ALTER ROLE {name}{where} SET {key} FROM CURRENT"
        else:
            yield f"ALTER ROLE {name}{where} SET {key} TO {literal(one.value)}"
