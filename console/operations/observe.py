"""What a pooler is like right now: read fresh for a plan, and again just before acting.

It sends SHOW, and below 1.19 one probe that can change nothing. The facts it distils are what a permit is
bound to: they leave out numbers that move all the time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from console.errors import AdminError, NodeError, Phase
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Database, PauseState, Pool, Setting
from console.model.version import Version
from console.operations.sessions import ReadSession, WriteSession
from console.operations.target import Target
from console.poolers.base import Capability, Dialect

SECRET_SETTINGS = frozenset({"auth_ldap_options"})
"""May hold a bind password; SHOW CONFIG shows it to every stats user."""
_UNKNOWN = PauseState(paused=None, suspended=None)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One pooler as read within a moment."""

    bouncer: str
    version: Version
    state: PauseState
    databases: tuple[Database, ...]
    pools: tuple[Pool, ...]
    """Of applications; the admin console's own is left out."""
    config: Mapping[str, Setting]
    logging_in: int | None = None
    """Clients of the whole pooler that are still logging in; None: not known."""

    def database(self, name: str) -> Database | None:
        """Return the database called `name`, None when SHOW DATABASES does not list it."""
        return next((database for database in self.databases if database.name == name), None)

    def pools_of(self, target: Target) -> tuple[Pool, ...]:
        """Return the pools that an operation on `target` touches."""
        if target.database is None:
            return self.pools
        return tuple(pool for pool in self.pools if pool.database == target.database)

    def paused(self, target: Target) -> bool | None:
        """Say whether exactly `target` is paused; None when this version cannot tell."""
        if target.database is None:
            return self.state.paused
        database = self.database(target.database)
        return None if database is None else database.paused

    def servers(self, target: Target) -> int:
        """Return the server connections of `target` in any state; 0 means drained."""
        return sum(pool.servers for pool in self.pools_of(target))

    @property
    def paused_databases(self) -> tuple[str, ...]:
        """Names of the databases with a pause of their own."""
        return tuple(database.name for database in self.databases if database.paused)

    def seconds(self, key: str) -> float | None:
        """Return a setting as a number; None when it is absent or no number."""
        setting = self.config.get(key)
        try:
            return float(setting.value) if setting is not None and setting.value else None
        except ValueError:
            return None


async def observe(
    session: ReadSession, dialect: Dialect, bouncer: str, *, timeout_s: float, prober: WriteSession | None
) -> Observation:
    """Read a pooler.

    Args:
        session: where to ask.
        dialect: of its kind.
        bouncer: the inventory's name.
        timeout_s: for each answer.
        prober: an admin session for the probe that versions below 1.19 need; None: their global state
            stays unknown.

    Raises:
        NodeError: it did not answer, or not as a pooler does.
    """
    version = dialect.parse_version(await session.show("VERSION", timeout_s=timeout_s))
    databases = dialect.parse_databases(await session.show("DATABASES", timeout_s=timeout_s))
    return Observation(
        bouncer=bouncer,
        version=version,
        state=await read_state(session, dialect, version, timeout_s=timeout_s, prober=prober),
        databases=tuple(database for database in databases if database.name != ADMIN_DATABASE),
        pools=await read_pools(session, dialect, timeout_s=timeout_s),
        config=dialect.parse_config(await session.show("CONFIG", timeout_s=timeout_s)),
        logging_in=dialect.parse_lists(await session.show("LISTS", timeout_s=timeout_s)).get("login_clients"),
    )


async def read_pools(session: ReadSession, dialect: Dialect, *, timeout_s: float) -> tuple[Pool, ...]:
    """Return the pools of applications."""
    pools = dialect.parse_pools(await session.show("POOLS", timeout_s=timeout_s))
    return tuple(pool for pool in pools if pool.database != ADMIN_DATABASE)


async def read_state(
    session: ReadSession,
    dialect: Dialect,
    version: Version,
    *,
    timeout_s: float,
    prober: WriteSession | None,
) -> PauseState:
    """Return the pooler's own pause state, by SHOW STATE or by the probe."""
    if dialect.has(version, Capability.SHOW_STATE):
        return dialect.parse_state(await session.show("STATE", timeout_s=timeout_s))
    if prober is None:
        return _UNKNOWN
    return PauseState(paused=await probe_paused(prober, timeout_s=timeout_s), suspended=None)


async def read_paused(
    session: ReadSession,
    dialect: Dialect,
    version: Version,
    target: Target,
    prober: WriteSession,
    limit_s: float,
) -> bool | None:
    """Say whether exactly `target` is paused now; None when a paused database is no longer listed."""
    if target.database is None:
        state = await read_state(session, dialect, version, timeout_s=limit_s, prober=prober)
        return bool(state.paused or state.suspended)
    databases = dialect.parse_databases(await session.show("DATABASES", timeout_s=limit_s))
    found = next((database for database in databases if database.name == target.database), None)
    return None if found is None else found.paused


async def probe_paused(session: WriteSession, *, timeout_s: float) -> bool:
    """Find out whether PgBouncer is paused as a whole, for versions without SHOW STATE.

    Its own database can never be paused, so the statement is always refused; the refusal differs
    (pgbouncer-admin.md, 2). It costs two lines in the pooler's log.

    Raises:
        NodeError: the answer was neither refusal.
    """
    try:
        tag = await session.execute(f"PAUSE {ADMIN_DATABASE}", timeout_s)
    except AdminError as error:
        if "cannot pause admin db" in error.message:
            return False
        if "already" in error.message:
            return True
        if "admin access needed" in error.message:
            raise NodeError(
                Phase.AUTH,
                "the inventory's admin_user may log in but is no admin there, so nothing can be changed",
                hint="list it in admin_users of the pooler, then RELOAD it",
            ) from error
        raise NodeError(Phase.PROTOCOL, f"the probe for a pause was answered: {error.message}") from error
    raise NodeError(Phase.PROTOCOL, f"the probe for a pause was answered {tag}")


def facts_of(observation: Observation, target: Target) -> dict[str, str]:
    """Return what a plan for `target` rests on, as names and words that can be compared and shown."""
    state = observation.state
    facts = {
        "version": str(observation.version),
        "pooler paused": _word(state.paused),
        "pooler suspended": _word(state.suspended),
    }
    if target.database is None:
        facts["databases paused"] = ", ".join(observation.paused_databases) or "none"
        facts["databases disabled"] = ", ".join(d.name for d in observation.databases if d.disabled) or "none"
    else:
        # Not the others: one run may work on several databases of a bouncer, one after another.
        database = observation.database(target.database)
        if database is not None:
            plain = replace(database, current_connections=None, current_client_connections=None)
            facts[f"database {target.database}"] = definition(plain)
            facts["database paused"] = _word(database.paused)
            facts["database disabled"] = _word(database.disabled)
    for key, setting in sorted(observation.config.items()):
        if key not in SECRET_SETTINGS:
            facts[f"setting {key}"] = setting.value or ""
    return facts


def definition(database: Database) -> str:
    """Return where a database entry leads and how it pools, as one line."""
    parts = [
        f"{database.host or 'unix'}:{database.port}/{database.database}",
        f"pool_mode={database.pool_mode}",
        f"pool_size={database.pool_size}",
    ]
    optional = {
        "user": database.force_user,
        "min_pool_size": database.min_pool_size,
        "reserve_pool_size": database.reserve_pool_size,
        "max_connections": database.max_connections,
    }
    parts += [f"{key}={value}" for key, value in optional.items() if value]
    return " ".join(parts)


def fingerprint(facts: Mapping[str, str]) -> str:
    """Return the SHA-256 of facts, as 64 hex digits."""
    text = json.dumps(dict(facts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Say what is no longer as it was, e.g. `pooler paused: no → yes`."""
    return tuple(
        f"{key}: {before.get(key, 'absent')} → {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


def _word(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"
