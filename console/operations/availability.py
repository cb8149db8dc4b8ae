"""DISABLE and ENABLE: whether a database takes new clients. Both are read back from SHOW DATABASES.

A disabled database keeps its connected clients; new ones are refused after their login
(pgbouncer-admin.md, 2).
"""

from __future__ import annotations

from console.operations.observe import Observation
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sending import Answer, ask, on_writer, read_back
from console.operations.sessions import WriteSession
from console.operations.spec import Ask, Parameters, Standing
from console.operations.step import Step, plural

_WORDS = {True: "disabled", False: "enabled", None: None}


class DisableParameters(Parameters):
    """`allow_last`: also the last healthy member of its group."""

    allow_last: bool = False


def disable_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what DISABLE sends."""
    return (ask.dialect.disable(ask.target.database or ""),)


def enable_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what ENABLE sends."""
    return (ask.dialect.enable(ask.target.database or ""),)


def disable_standing(ask: Ask[Observation]) -> Standing:
    """Return how a database stands before a DISABLE."""
    disabled = _disabled(ask.seen, ask.target.database)
    present = _present(ask.seen, ask.target.database)
    if disabled:
        return Standing(present, already=True)
    warnings = []
    if not ask.seen.pools_of(ask.target):
        # An automatic database without clients is hidden and, after autodb_idle_timeout, forgotten (T30).
        idle_s = ask.seen.seconds("autodb_idle_timeout")
        after = f" after {idle_s:g} s" if idle_s else ""
        warnings.append(
            "nobody uses this database now; if it is an automatic one (*), it vanishes from the list, and "
            f"being disabled is forgotten with it{after}"
        )
    clients = sum(pool.cl_active + pool.cl_waiting for pool in ask.seen.pools_of(ask.target))
    notes = (
        f"{plural(clients, 'client')} stay{'s' if clients == 1 else ''} connected and "
        f"go{'es' if clients == 1 else ''} on; new ones are refused",
        "a restart of the pooler enables it again; RELOAD does not",
    )
    return Standing(present, warnings=tuple(warnings), notes=notes)


def enable_standing(ask: Ask[Observation]) -> Standing:
    """Return how a database stands before an ENABLE."""
    present = _present(ask.seen, ask.target.database)
    warnings = []
    if ask.seen.state.paused or ask.seen.paused(ask.target):
        warnings.append("it is paused as well: new clients are let in, and wait")
    already = _disabled(ask.seen, ask.target.database) is False
    return Standing(present, already=already, warnings=tuple(warnings))


def _disabled(observation: Observation, name: str | None) -> bool | None:
    database = observation.database(name or "")
    return None if database is None else database.disabled


def _present(observation: Observation, name: str | None) -> str:
    words = _WORDS[_disabled(observation, name)] or "not listed"
    database = observation.database(name or "")
    return f"{words}, paused" if database is not None and database.paused else words


async def carry_out_disable(step: Step) -> TargetReceipt:
    """Disable the database of `step`."""
    return await _turn(step, step.statements, disabled=True)


async def carry_out_enable(step: Step) -> TargetReceipt:
    """Enable the database of `step`."""
    return await _turn(step, step.statements, disabled=False)


async def take_back_disable(step: Step) -> TargetReceipt:
    """Enable again what a run that is interrupted has disabled."""
    return await _turn(step, enable_statements(step.ask), disabled=False, interrupted=True)


async def _turn(
    step: Step, statements: tuple[str, ...], *, disabled: bool, interrupted: bool = False
) -> TargetReceipt:
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, f"it was {_WORDS[disabled]} already", step.present)

    async def act(session: WriteSession) -> TargetReceipt:
        answer = await ask(step, session, statements[0])
        reads = await read_back(step, None if answer.lost else session, lambda over: _read(step, over))
        return _judge(step, answer, reads, disabled=disabled, interrupted=interrupted)

    return await on_writer(step, act)


async def _read(step: Step, session: WriteSession) -> str:
    """Return `disabled`, `enabled` or `not listed`."""
    table = await session.show("DATABASES", timeout_s=step.query_timeout_s)
    databases = step.dialect.parse_databases(table)
    found = next((one.disabled for one in databases if one.name == step.target.database), None)
    return _WORDS[found] or "not listed"


def _judge(
    step: Step, answer: Answer, reads: str | None, *, disabled: bool, interrupted: bool
) -> TargetReceipt:
    wanted = _WORDS[disabled]
    verb = "disable" if disabled else "enable"
    if reads == wanted:
        detail = answer.words if answer.lost is None else f"{answer.words}, but it reads back as {wanted}"
        return step.receipt(
            Outcome.OK,
            f"{detail}; the run was interrupted, so it was taken back" if interrupted else detail,
            reads,
            verified=(f"read back: {wanted}",),
            interrupted=interrupted,
        )
    again = (f"pooldeck status {step.target.bouncer}", step.target.command(verb))
    if reads in (None, "not listed"):
        return step.receipt(
            Outcome.UNKNOWN if answer.refused is None else Outcome.FAILED,
            f"{answer.words}; whether it is {wanted} could not be read back",
            None,
            next_steps=again,
            interrupted=interrupted,
        )
    return step.receipt(
        Outcome.FAILED,
        f"{answer.words}; it reads back as {reads}",
        reads,
        next_steps=again,
        interrupted=interrupted,
    )
