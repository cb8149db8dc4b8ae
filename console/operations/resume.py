"""RESUME: end a pause and read back that it is over.

`lift` is also the undo of `pause`. A global RESUME does not end the pause of a database (pgbouncer-admin.md,
2), and a database's RESUME leaves clients failing for up to `server_login_retry` seconds when connections
were tried meanwhile (trap T4), so that setting is 0 while it happens and put back afterwards.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from console.errors import AdminError, NodeError, PooldeckError
from console.operations.control import insist
from console.operations.observe import Observation, read_paused, read_pools
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sessions import WriteSession, close_quietly
from console.operations.spec import Ask, Standing, state_words
from console.operations.step import REOPEN_PAUSE_S, Step, why
from console.operations.target import Target
from console.poolers.base import Dialect

RETRY_SETTING = "server_login_retry"
WARM_LIMIT_S = 2.0
"""How long `server_login_retry` may stay 0 while the first server logs in; 0.8 s was measured."""
READ_BACK_LIMIT_S = 5.0
_WARM_POLL_S = 0.1
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Lift:
    """The statements that end a pause: `main` does it, the others shield clients from trap T4."""

    before: str | None
    main: str
    after: str | None


def lift_of(dialect: Dialect, target: Target, observation: Observation) -> Lift:
    """Return the statements that end the pause of `target`."""
    main = dialect.resume(target.database)
    setting = observation.config.get(RETRY_SETTING)
    value = setting.value if setting is not None and setting.changeable else None
    if target.database is None or value is None or not _NUMBER.fullmatch(value) or float(value) == 0:
        return Lift(None, main, None)
    return Lift(f"SET {RETRY_SETTING} = 0", main, f"SET {RETRY_SETTING} = {value}")


def resume_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RESUME sends when all goes well."""
    lift = lift_of(ask.dialect, ask.target, ask.seen)
    return tuple(statement for statement in (lift.before, lift.main, lift.after) if statement is not None)


def resume_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a RESUME."""
    target, observation = ask.target, ask.seen
    present = state_words(target, observation)
    warnings: list[str] = []
    if target.database is None:
        already = observation.state.paused is False and not observation.state.suspended
        for name in observation.paused_databases:
            warnings.append(
                f"database {name} has a pause of its own and stays paused: "
                f"{Target(target.bouncer, name).command('resume')}"
            )
        blocked = None
        if observation.state.paused is None:
            blocked = "whether it is paused could not be read: this version needs an admin login for that"
        return Standing(present, already=already, blocked=blocked, warnings=tuple(warnings))
    if observation.state.paused or observation.state.suspended:
        warnings.append(
            f"the whole pooler is {state_words(Target(target.bouncer), observation)} and keeps holding "
            f"this database: pooldeck resume {target.bouncer}"
        )
    already = observation.paused(target) is False
    if not already and lift_needed(observation):
        warnings.append(
            f"{RETRY_SETTING} is 0 for up to {WARM_LIMIT_S:g} s while servers log in, then put back "
            "(otherwise clients may fail for that long after a database's resume)"
        )
    return Standing(present, already=already, warnings=tuple(warnings))


def lift_needed(observation: Observation) -> bool:
    """Say whether `server_login_retry` would be changed for a moment."""
    return bool(observation.seconds(RETRY_SETTING))


async def lift(step: Step, session: WriteSession, timeout_s: float) -> str:
    """Send what ends the pause and put every setting back; return the RESUME's tag.

    Raises:
        AdminError: the RESUME was refused. NodeError: no answer.
    """
    plan = lift_of(step.dialect, step.target, step.before)
    changed = False
    try:
        if plan.before is not None:
            try:
                changed = True
                await step.send(session, plan.before, timeout_s)
            except AdminError as error:
                changed = False
                step.warn(f"{plan.before} was refused ({error.message}); clients may fail for a moment")
        tag = await step.send(session, plan.main, timeout_s)
        if changed:
            await _warm(step, session)
    finally:
        if changed and plan.after is not None:
            await _put_back(step, session, plan.after, timeout_s)
    return tag


async def _warm(step: Step, session: WriteSession) -> None:
    """Wait until no pool of the target still waits for its first server."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WARM_LIMIT_S
    database = step.before.database(step.target.database or "")
    minimum = (database.min_pool_size if database else None) or step.before.seconds("min_pool_size") or 0
    while loop.time() < end:
        pools = await read_pools(session, step.dialect, timeout_s=step.query_timeout_s)
        lists = step.dialect.parse_lists(await session.show("LISTS", timeout_s=step.query_timeout_s))
        cold = [
            pool
            for pool in pools
            if pool.database == step.target.database
            and not pool.sv_active + pool.sv_idle + pool.sv_used
            and (pool.cl_waiting or pool.sv_login or (minimum and pool.cl_active))
        ]
        if not cold and not lists.get("login_clients"):
            return
        await asyncio.sleep(_WARM_POLL_S)


async def _put_back(step: Step, session: WriteSession, statement: str, timeout_s: float) -> None:
    """Restore the setting, on a new session if this one broke; say so when it cannot be done."""
    try:
        await step.send(session, statement, timeout_s)
    except PooldeckError as error:
        fresh = await step.reopen(until_s=asyncio.get_running_loop().time() + READ_BACK_LIMIT_S)
        try:
            if fresh is None:
                raise
            await step.send(fresh, statement, timeout_s)
        except PooldeckError:
            step.warn(
                f"{RETRY_SETTING} may still be 0 ({why(error)}): put it back by hand with {statement}, "
                "or reload the pooler"
            )
        finally:
            await close_quietly(fresh)


async def carry_out_resume(step: Step) -> TargetReceipt:
    """Resume the target of `step`."""
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, "it was not paused", step.present)
    session = await step.connector.writer(step.target.bouncer)
    try:
        await step.check_process(session)
        # From the first statement on it is brought to its end: half a RESUME helps nobody.
        return await insist(lambda: resume_over(step, session))
    finally:
        await close_quietly(session)


async def resume_over(step: Step, session: WriteSession) -> TargetReceipt:
    """Resume the target of `step` over a session that is open, and read back what came of it."""
    lost: NodeError | None = None
    refused: AdminError | None = None
    tag = ""
    try:
        tag = await lift(step, session, step.parameters.timeout_s)
    except AdminError as error:
        refused = error
    except NodeError as error:
        lost = error
    paused = await read_back_paused(step, None if lost else session)
    name = str(step.target)
    if paused is None:
        what = why(lost) if lost else "the state could not be read back"
        return step.receipt(
            Outcome.UNKNOWN,
            f"{what}; whether {name} still is paused is not known",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}", step.target.command("resume")),
        )
    if paused:
        return step.receipt(
            Outcome.FAILED, _still_paused(refused, lost), "paused", next_steps=_next(step, refused)
        )
    verified = ("read back: not paused",)
    if refused is not None:
        return step.receipt(
            Outcome.NO_CHANGE, f"somebody resumed it first ({refused.message})", "running", verified=verified
        )
    told = "the connection was lost, but it reads back as running" if lost else f"answered {tag}"
    return step.receipt(Outcome.OK, told, "running", verified=verified)


def _still_paused(refused: AdminError | None, lost: NodeError | None) -> str:
    if refused is not None:
        return f"RESUME was refused: {refused.message}"
    return f"{why(lost)}; it still is paused" if lost else "RESUME was answered, but it still is paused"


def _next(step: Step, refused: AdminError | None) -> tuple[str, ...]:
    if refused is not None and "shutting down" in refused.message:
        return ("a pooler that shuts down cannot be resumed any more; move its clients to another",)
    return (step.target.command("resume"),)


async def read_back_paused(step: Step, session: WriteSession | None) -> bool | None:
    """Say whether the target is paused, over `session` or new ones for a while.

    None when none answers, or when a database that was paused is no longer listed: an automatic database
    without clients is hidden, still paused (pgbouncer-admin.md, 1).
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + READ_BACK_LIMIT_S
    current = session
    while True:
        if current is None:
            current = await step.reopen(until_s=end)
            if current is None:
                return None
        try:
            return await read_paused(
                current, step.dialect, step.before.version, step.target, current, step.query_timeout_s
            )
        except AdminError:
            return None
        except NodeError:
            if loop.time() + REOPEN_PAUSE_S >= end:
                return None
            await asyncio.sleep(REOPEN_PAUSE_S)
        finally:
            if current is not session:
                await close_quietly(current)
        current = None
