"""SET: one setting of a running pooler, until the next RELOAD or restart.

PgBouncer answers success for a setting that needs a restart and does nothing (trap T9): so only settings that
SHOW CONFIG calls changeable are sent, and the value is read back. It prints values its own way
(`0x10` → `16`, `Session` → `session`), so a value counts as taken when it reads alike or has become another
one than before. A setting that may hold a secret is not taken at all: it would stand in process lists, shell
histories and the journal.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field, field_validator

from console.guard.verdict import Tier
from console.model.rows import Setting
from console.operations.observe import Observation
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sending import Answer, ask, on_writer, read_back
from console.operations.sessions import WriteSession
from console.operations.spec import Ask, Parameters, Standing
from console.operations.step import Step, plural
from console.operations.target import Target
from console.poolers.base import Capability
from console.poolers.dialects import dialect_for

UNFELT = frozenset(
    {
        *("log_connections", "log_disconnections", "log_pooler_errors", "log_stats", "verbose"),
        *("syslog", "syslog_facility", "syslog_ident", "logfile", "stats_period", "stats_users"),
    }
)
"""No client feels these, whatever their value."""


class SetParameters(Parameters):
    """One setting and its new value, as PgBouncer's configuration file would have them."""

    key: str
    value: Annotated[str, Field(max_length=253)]

    @field_validator("key")
    @classmethod
    def _no_secret(cls, key: str) -> str:
        if dialect_for("pgbouncer").may_be_secret(key):
            raise ValueError(
                "may hold a secret, which would show in process lists and in the journal: "
                "set it in the file and reload"
            )
        return key


def set_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what SET sends."""
    return (ask.dialect.set(ask.parameters.key, ask.parameters.value),)


def set_standing(ask: Ask[Observation]) -> Standing:
    """Return how a setting stands before a SET."""
    key, value = ask.parameters.key, ask.parameters.value
    setting = ask.seen.config.get(key)
    present = f"{key} = {_shown(setting)}"
    blocked = _blocked(ask, setting)
    if blocked is not None:
        return Standing(present, blocked=blocked)
    assert setting is not None, "blocked otherwise"
    if same(setting.value or "", value):
        return Standing(present, already=True)
    lint = _LINTS.get(key)
    found = lint(ask, value) if lint is not None else None
    warnings = [found] if found else []
    warnings.append("RELOAD and a restart put the value of the file back: change it there too")
    return Standing(
        present,
        warnings=tuple(warnings),
        notes=(
            f"{key}: {_shown(setting)} → {value or 'empty'}",
            f"taken back by: {set_command(ask.target, key, setting.value or '')}",
        ),
        tier=None if key in UNFELT else Tier.FELT,
    )


def set_command(target: Target, key: str, value: str) -> str:
    """Return the shell command that sets `key` to `value`."""
    return f"{target.command('set')} {key} {shlex.quote(value)}"


def _blocked(ask: Ask[Observation], setting: Setting | None) -> str | None:
    key = ask.parameters.key
    if setting is None:
        near = get_close_matches(key.lower(), ask.seen.config, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "SHOW CONFIG lists those it has"
        return f"{ask.target.bouncer} has no setting {key} (version {ask.seen.version}): {hint}"
    if not setting.changeable:
        return (
            f"{key} cannot be changed while PgBouncer runs: SET would answer success and do nothing; change "
            "the file and restart it"
        )
    try:
        ask.dialect.set(key, ask.parameters.value)
    except ValueError as error:
        return str(error)
    return None


def _shown(setting: Setting | None) -> str:
    return "not there" if setting is None else setting.value or "empty"


def same(left: str, right: str) -> bool:
    """Say whether two texts are one value: letter for letter, or the same number."""
    number = _number(left)
    return left == right or (number is not None and number == _number(right))


def alike(left: str, right: str) -> bool:
    """Say whether PgBouncer may print `left` for `right`: modes and the like are lower-cased."""
    return same(left, right) or left.strip().lower() == right.strip().lower()


def _number(text: str) -> float | None:
    try:
        return float(int(text, 0))
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


# -- what some settings do that one does not expect (T20, T24, T25) -----------------------------------

_ROOM = "so may those of each peer: is there room in max_connections of Postgres?"


def _default_pool_size(ask: Ask[Observation], value: str) -> str | None:
    wanted, current = _number(value), ask.seen.seconds("default_pool_size")
    if wanted != 0:
        if wanted is None or current is None or wanted <= current:
            return None
        # SHOW DATABASES has the size in force: a database with one of its own may have the same.
        following = {one.name for one in ask.seen.databases if one.pool_size == current}
        count = sum(pool.database in following for pool in ask.seen.pools)
        pools = plural(count, "pool") if count else "pools"
        return f"{pools} may hold {wanted:g} server connections instead of {current:g}, and {_ROOM}"
    if ask.dialect.has(ask.seen.version, Capability.DEFAULT_POOL_SIZE_UNLIMITED):
        return f"0 is unlimited on {ask.seen.version}: Postgres alone limits the number of connections"
    return f"with 0 no pool of {ask.seen.version} opens another connection: clients wait once they are gone"


def _ceiling(key: str, *, nothing_is_unlimited: bool) -> Callable[[Ask[Observation], str], str | None]:
    """Return what is told when `key`, a limit of server connections, is raised."""

    def told(ask: Ask[Observation], value: str) -> str | None:
        wanted, current = _number(value), ask.seen.seconds(key)
        if wanted is None or current is None or wanted == current:
            return None
        unlimited = nothing_is_unlimited and wanted == 0
        if not unlimited and (wanted < current or (nothing_is_unlimited and current == 0)):
            return None
        return (
            f"pools may hold {'any number of' if unlimited else 'more'} server connections then, and {_ROOM}"
        )

    return told


def _max_client_conn(ask: Ask[Observation], value: str) -> str | None:
    wanted, current = _number(value), ask.seen.seconds("max_client_conn")
    connected = sum(pool.cl_active + pool.cl_waiting for pool in ask.seen.pools)
    if wanted is not None and current is not None and wanted > current:
        return (
            "the limit of open files was set at its start and does not grow with this: above it accepting "
            "stops for 5 s at a time"
        )
    if wanted is not None and wanted < connected:
        return f"{plural(connected, 'client')} are connected: they stay, and new ones are refused"
    return None


def _admin_users(ask: Ask[Observation], value: str) -> str | None:
    before = {name.strip() for name in (ask.seen.config["admin_users"].value or "").split(",")}
    gone = sorted(before - {name.strip() for name in value.split(",")} - {""})
    if not gone:
        return None
    return f"{', '.join(gone)} can no longer log in as admin; should that be Pooldeck's, it cannot undo this"


def _always(text: str) -> Callable[[Ask[Observation], str], str | None]:
    return lambda _ask, _value: text


_LINTS: Mapping[str, Callable[[Ask[Observation], str], str | None]] = {
    "default_pool_size": _default_pool_size,
    "min_pool_size": _ceiling("min_pool_size", nothing_is_unlimited=False),
    "reserve_pool_size": _ceiling("reserve_pool_size", nothing_is_unlimited=False),
    "max_db_connections": _ceiling("max_db_connections", nothing_is_unlimited=True),
    "max_user_connections": _ceiling("max_user_connections", nothing_is_unlimited=True),
    "max_client_conn": _max_client_conn,
    "admin_users": _admin_users,
    "stats_period": _always("its timer was set at the start: averages keep the old period until a restart"),
    "peer_id": _always("its peers still know it by the old number: cancel requests in flight are lost"),
    "conffile": _always(
        "the next RELOAD reads that file instead: should it not be complete, settings fall to their defaults"
    ),
    "query_wait_timeout": lambda _ask, value: (
        "0: a client waits for ever when no server can be had" if _number(value) == 0 else None
    ),
    "pool_mode": _always(
        "databases and users with a mode of their own keep it; clients that count on their session lose it "
        "when this becomes transaction or statement"
    ),
}


# -- carrying it out ----------------------------------------------------------------------------------


async def carry_out_set(step: Step) -> TargetReceipt:
    """Change the setting."""
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, "it had this value already", step.present)
    return await _set(step, step.statements[0], step.parameters.value)


async def take_back_set(step: Step) -> TargetReceipt:
    """Put the old value back, when a run is interrupted."""
    before = step.before.config[step.parameters.key].value or ""
    return await _set(step, step.dialect.set(step.parameters.key, before), before, interrupted=True)


async def _set(step: Step, statement: str, value: str, *, interrupted: bool = False) -> TargetReceipt:
    key = step.parameters.key

    async def read(session: WriteSession) -> str:
        table = await session.show("CONFIG", timeout_s=step.query_timeout_s)
        found = step.dialect.parse_config(table).get(key)
        return "" if found is None else found.value or ""

    async def act(session: WriteSession) -> TargetReceipt:
        answer = await ask(step, session, statement)
        reads = await read_back(step, None if answer.lost else session, read)
        return _judge(step, answer, value, reads, interrupted=interrupted)

    return await on_writer(step, act)


def _judge(step: Step, answer: Answer, value: str, reads: str | None, *, interrupted: bool) -> TargetReceipt:
    key = step.parameters.key
    before = step.before.config[key].value or ""
    after = None if reads is None else f"{key} = {reads or 'empty'}"
    undo = (set_command(step.target, key, before),)
    if reads is None:
        return step.receipt(
            Outcome.UNKNOWN if answer.refused is None else Outcome.FAILED,
            f"{answer.words}; its value could not be read back",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}",),
            interrupted=interrupted,
        )
    if answer.refused is not None:
        words = f"{answer.words}: {value or 'the empty value'} is no value that {key} takes"
        return step.receipt(Outcome.FAILED, words, after, interrupted=interrupted)
    taken = alike(reads, value)
    if not taken and alike(reads, before):
        return step.receipt(
            Outcome.FAILED if answer.lost is None else Outcome.UNKNOWN,
            f"{answer.words}, but it still reads as {reads or 'empty'}",
            after,
            interrupted=interrupted,
        )
    if not taken:
        step.warn(f"{key} reads back as {reads or 'empty'}, not as {value or 'empty'}: PgBouncer took it so")
    detail = answer.words if answer.lost is None else f"{answer.words}, but it took effect"
    return step.receipt(
        Outcome.OK,
        f"{detail}; the run was interrupted, so the old value was put back" if interrupted else detail,
        after,
        verified=(f"read back: {key} = {reads or 'empty'}",),
        next_steps=() if interrupted else undo,
        interrupted=interrupted,
    )
