"""RESUME of a pooler that lets nobody in: SIGUSR2 to its process, then a login that reads how it is.

The signal is RESUME (pgbouncer(1), "Signals"). It does nothing to a pooler that runs, but it ends a PAUSE of
the whole pooler as well, and up to 1.22 it takes back a shutdown that waits. What is looked at beforehand is
`suspended`'s. No statement could be sent: nobody is let in.
"""

from __future__ import annotations

import asyncio

from console.errors import NodeError, Phase, PooldeckError
from console.hosts.commands import last_line
from console.operations.control import Stopped, insist
from console.operations.observe import Observation, observe
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.sending import READ_BACK_LIMIT_S
from console.operations.sessions import close_quietly
from console.operations.spec import Ask, Standing
from console.operations.step import REOPEN_PAUSE_S, Step, why
from console.operations.suspended import Suspended
from console.operations.target import Target
from console.transport.base import CommandResult

VERIFIED_BY = "its console lets a new login in, and reads as neither suspended nor paused"


def suspended_facts(ask: Ask[Suspended]) -> dict[str, str]:
    """Return what a permit is bound to."""
    return ask.seen.facts


def suspended_standing(ask: Ask[Suspended]) -> Standing:
    """Return how a suspended pooler stands before it is resumed."""
    seen = ask.seen
    process = seen.process
    return Standing(
        f"suspended: process {process.pid} on {seen.where} takes no connection",
        evidence=(
            f"no login: {seen.silence}",
            f"process {process.pid} listens on {seen.address} and does not look for connections there, as "
            f"after SUSPEND: {' '.join(process.argv)}",
        ),
        warnings=(
            "the signal is RESUME: it does nothing to a bouncer that runs, but it ends a PAUSE of the whole "
            "bouncer too, and up to 1.22 a shutdown that waits for its servers",
            "who suspended it cannot be seen: it may be a takeover (-R), or somebody's work; ask before you "
            "end it",
        ),
    )


def suspended_statements(ask: Ask[Suspended]) -> tuple[str, ...]:
    """Return the command that is run on its host."""
    return (ask.seen.command,)


async def carry_out_suspended(step: Step) -> TargetReceipt:
    """Resume the suspended pooler of `step`."""
    if step.control.stopped:
        raise Stopped

    async def acting() -> TargetReceipt:
        return await _resume(step, step.ask.seen)

    # From the signal on it is brought to its end: only reading back tells what it did.
    return await insist(acting)


async def _resume(step: Step, seen: Suspended) -> TargetReceipt:
    """Send the signal to exactly the process that was seen, and read back what came of it."""
    process = seen.process
    if [one.identity for one in await seen.processes.read([process.pid])] != [process.identity]:
        return step.receipt(
            Outcome.FAILED, f"process {process.pid} on {seen.where} is gone; nothing was sent", None
        )
    limit_s = seen.processes.timeout_s
    done: CommandResult | None = None
    lost: NodeError | None = None

    async def run() -> str:
        nonlocal done
        done = await seen.processes.commands.type(seen.words, timeout_s=limit_s)
        return _reply(done)

    try:
        reply = await step.exchange(seen.command, run)
    except NodeError as error:
        lost = error
    if done is not None and done.exit_status != 0:
        return step.receipt(
            Outcome.FAILED,
            f"the signal was not sent: {reply}",
            step.present,
            next_steps=(f"on {seen.where}: sudo kill -USR2 {process.pid}",),
        )
    return _judged(step, seen, lost, await _read_back(step))


def _reply(done: CommandResult) -> str:
    if done.exit_status == 0:
        return "sent"
    how = f"status {done.exit_status}" if done.exit_status is not None else f"signal {done.signal}"
    return last_line(done.stderr) or how


def _judged(
    step: Step, seen: Suspended, lost: NodeError | None, after: Observation | PooldeckError
) -> TargetReceipt:
    told = "the signal was sent" if lost is None else f"whether the signal was sent is not known: {why(lost)}"
    status = f"pooldeck status {step.target.bouncer}"
    if isinstance(after, PooldeckError):
        answered = isinstance(after, NodeError) and after.phase is Phase.AUTH
        what = "it answers again, but how it is could not be read" if answered else "no login is let in yet"
        return step.receipt(
            Outcome.UNKNOWN if answered or lost is not None else Outcome.FAILED,
            f"{told}; {what}: {why(after)}",
            None,
            next_steps=(status, step.target.command("mend")),
        )
    if after.state.paused or after.state.suspended:
        word = "paused" if after.state.paused else "suspended"
        return step.receipt(
            Outcome.FAILED, f"{told}; it reads as {word}", word, next_steps=(step.target.command("resume"),)
        )
    left = tuple(Target(seen.bouncer, name).command("resume") for name in after.paused_databases)
    return step.receipt(
        Outcome.OK,
        f"{told}, and it lets logins in" if lost is None else "the answer was lost, but it lets logins in",
        "running",
        verified=("a new login was let in", "read back: neither suspended nor paused"),
        next_steps=left,
    )


async def _read_back(step: Step) -> Observation | PooldeckError:
    """Return how the pooler reads over a new login; the last error when none is let in for a while."""
    loop = asyncio.get_running_loop()
    end = loop.time() + READ_BACK_LIMIT_S
    while True:
        session = None
        try:
            async with asyncio.timeout_at(end):
                session = await step.connector.writer(step.target.bouncer)
                return await observe(
                    session,
                    step.dialect,
                    step.target.bouncer,
                    timeout_s=step.query_timeout_s,
                    prober=session,
                )
        except (PooldeckError, TimeoutError) as error:
            if loop.time() + REOPEN_PAUSE_S >= end:
                late = NodeError(Phase.CONNECT, f"no answer within {READ_BACK_LIMIT_S:g} s")
                return error if isinstance(error, PooldeckError) else late
            await asyncio.sleep(REOPEN_PAUSE_S)
        finally:
            await close_quietly(session)
