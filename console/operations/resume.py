"""RESUME: end a pause and read back that it is over.

`lift` is also the undo of `pause`. A global RESUME does not end the pause of a database (pgbouncer-admin.md,
2). Either leaves clients failing for up to `server_login_retry` seconds when a server login was under way or
tried meanwhile (trap T4), so that setting is 0 while it happens and put back afterwards (`shield`).
"""

from __future__ import annotations

import asyncio

from console.errors import AdminError, NodeError
from console.operations.control import insist
from console.operations.observe import Observation, read_paused
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sending import read_back
from console.operations.sessions import WriteSession, close_quietly
from console.operations.shield import RETRY_SETTING, WARM_LIMIT_S, shield_statements
from console.operations.spec import Ask, Standing, state_words
from console.operations.step import REOPEN_PAUSE_S, Step, why
from console.operations.target import Target

RESCUE_LIMIT_S = 10.0
"""How long a RESUME is tried, new logins included, before it is left to the guardian."""


def resume_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RESUME sends when all goes well."""
    main = ask.dialect.resume(ask.target.database)
    shield = shield_statements(ask.seen)
    return (main,) if shield is None else (shield[0], main, shield[1])


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
        elif not already:
            warnings += _of_the_shield(observation)
        return Standing(present, already=already, blocked=blocked, warnings=tuple(warnings))
    if observation.state.paused or observation.state.suspended:
        warnings.append(
            f"the whole pooler is {state_words(Target(target.bouncer), observation)} and keeps holding "
            f"this database: pooldeck resume {target.bouncer}"
        )
    already = observation.paused(target) is False
    if not already:
        warnings += _of_the_shield(observation)
    return Standing(present, already=already, warnings=tuple(warnings))


def _of_the_shield(observation: Observation) -> tuple[str, ...]:
    retry_s = observation.seconds(RETRY_SETTING)
    if not retry_s:
        return ()
    return (
        f"{RETRY_SETTING} is 0 for up to {WARM_LIMIT_S:g} s while servers log in, then put back "
        f"(otherwise clients may fail for {retry_s:g} s after the resume)",
    )


async def lift(step: Step, session: WriteSession, timeout_s: float) -> str:
    """Send what ends the pause and put every setting back; return the RESUME's tag.

    Raises:
        AdminError: the RESUME was refused. NodeError: no answer.
    """
    shield = step.reach.shields.of(step.target.bouncer)
    try:
        with shield.expect():
            await shield.raise_over(step, session, timeout_s)
            return await step.send(session, step.dialect.resume(step.target.database), timeout_s)
    finally:
        await shield.settle(step, session, timeout_s)


async def lift_for_sure(step: Step, session: WriteSession | None) -> str | None:
    """Send what ends the pause until it is answered; return its tag or the refusal, None when nobody answers.

    Args:
        step: whose target is paused, or may be.
        session: an open one, left open; None: there is none. Further ones are opened as need be.
    """
    end = asyncio.get_running_loop().time() + RESCUE_LIMIT_S
    current = session
    rest_s = 0.0
    while True:
        if current is None:
            current = await step.reopen(until_s=end)
            if current is None:
                return None
        try:
            return await lift(step, current, step.query_timeout_s)
        except AdminError as error:
            return error.message
        except NodeError as error:
            step.warn(f"RESUME: {why(error)}; trying again")
        finally:
            if current is not session:
                await close_quietly(current)
        current = None
        # At once the first time; a pooler that takes logins and drops statements is not hammered.
        await asyncio.sleep(rest_s)
        rest_s = REOPEN_PAUSE_S


async def carry_out_resume(step: Step) -> TargetReceipt:
    """Resume the target of `step`."""
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, "it was not paused", step.present)
    shield = step.reach.shields.of(step.target.bouncer)
    session: WriteSession | None = None
    try:
        with shield.expect():
            session = opened = await step.connector.writer(step.target.bouncer)
            await step.check_process(session)
            # From the first statement on it is brought to its end: half a RESUME helps nobody.
            receipt = await insist(lambda: resume_over(step, opened))
        await insist(lambda: shield.settle(step, opened, step.parameters.timeout_s))
        return step.late(receipt)
    except BaseException:
        await insist(lambda: shield.settle(step, None, step.parameters.timeout_s))
        raise
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

    async def ask(current: WriteSession) -> bool | None:
        return await read_paused(
            current, step.dialect, step.before.version, step.target, current, step.query_timeout_s
        )

    return await read_back(step, session, ask)
