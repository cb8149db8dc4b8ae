"""How a verdict is answered on the command line: --approve, --yes, --confirm, or a person at the terminal.

It answers what the guard asks and decides nothing: a Deny ends the command.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import termios
from typing import TYPE_CHECKING

from console.cli.diagnostics import note, on_terminal, printable
from console.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from console.cli.operation_options import Wish
    from console.cli.saved_plans import Approval
    from console.guard.verdict import Confirm, Deny
    from console.operations.plan import Plan

ANSWER_LIMIT_S = 300.0
"""How long a question waits for its answer; the plan would be stale long before."""
MOVED_SHOWN = 20
STUCK_NAMED = 3


def refusal(verdict: Deny, plan: Plan) -> RefusedError:
    """Return a Deny as the error that ends a command, with the way on where a few targets are in the way."""
    hint = verdict.hint
    if hint is None and verdict.rule == "plan.blocked":
        hint = _without_the_stuck(plan)
    return RefusedError(verdict.reason, where=verdict.rule, hint=hint)


def _without_the_stuck(plan: Plan) -> str | None:
    """Say how to go on without the targets that cannot be worked on; None when that is no way on."""
    stuck = [item.target.bouncer for item in plan.targets if item.blocked]
    stuck += [out.name.partition("/")[0] for out in plan.unreachable]
    names = list(dict.fromkeys(stuck))
    rest = {item.target.bouncer for item in plan.targets} - set(names)
    if plan.group_blocked is not None or plan.spec.on_node or not rest or len(names) > STUCK_NAMED:
        return None
    selector = shlex.quote(",".join([plan.selector, *(f"!{name}" for name in names)]))
    return f"leave out what is in the way: {selector}, or let it fail: --max-failed {len(stuck)}"


async def answer(verdict: Confirm, wish: Wish) -> tuple[str | None, str]:
    """Return the phrase and how it was given, without an approval.

    Raises:
        RefusedError: nobody agreed. UsageError: nobody answered.
    """
    if wish.confirm is not None and not verdict.accepts(wish.confirm):
        raise RefusedError(f"--confirm {wish.confirm!r} is not {verdict.phrase!r}", where="guard.confirm")
    if wish.yes and wish.confirm is not None:
        return wish.confirm, "--yes --confirm"
    if wish.yes and verdict.yes_suffices:
        return verdict.phrase, "--yes"
    if not on_terminal(sys.stdin, sys.stderr):
        more = "" if verdict.yes_suffices else f" --confirm {shlex.quote(verdict.phrase or '')}"
        raise RefusedError(
            f"{verdict.question}: nobody is here to agree",
            where="guard.confirm",
            hint=f"pass --yes{more}, or approve a plan with --approve",
        )
    return await _asked(verdict)


def require_approved(approval: Approval, plan: Plan, now_s: float) -> str:
    """Return how an approved plan was answered, for the journal.

    Raises:
        UsageError: it is the plan of another command. RefusedError: something has moved since it was made.
    """
    from console.operations.saved import asked_otherwise, what_moved
    from console.view.numbers import duration_s

    saved = approval.saved
    if saved is not None:
        other = asked_otherwise(saved, plan)
        if other:
            raise UsageError(
                f"the plan is of another command ({'; '.join(other)})",
                where="--approve",
                hint="give the selector and the options that it was made with",
            )
    if plan.hash.startswith(approval.hash):
        age = f" {duration_s(max(0.0, now_s - saved.made_at_s))} ago" if saved is not None else ""
        note(f"approved: plan {plan.hash[:12]}, made by {approval.maker}{age}")
        return f"--approve {plan.hash[:12]} of {approval.maker}"
    if saved is not None:
        lines = what_moved(saved, plan)
        for line in lines[:MOVED_SHOWN]:
            note(f"moved: {line}")
        if len(lines) > MOVED_SHOWN:
            note(f"moved: and {len(lines) - MOVED_SHOWN} more")
    else:
        note("no copy of that plan is kept here, so what has moved cannot be told")
    raise RefusedError(
        f"plan {approval.hash[:12]} is not what would be done now ({plan.hash[:12]}); nothing was sent",
        where="guard.approve",
        hint="read it again with --plan, and approve that",
    )


async def _asked(verdict: Confirm) -> tuple[str | None, str]:
    asked = "Enter to go on, anything else to stop" if verdict.phrase is None else f"type {verdict.phrase}"
    # Nobody has read it before that; and what was typed before the question was shown is no answer to it.
    await asyncio.sleep(verdict.arm_after_s)
    termios.tcflush(0, termios.TCIFLUSH)
    sys.stderr.write(printable(f"{verdict.question}. {asked}: "))
    sys.stderr.flush()
    typed = await _read_line()
    agreed = not typed if verdict.phrase is None else verdict.accepts(typed)
    if typed is None or not agreed:
        raise RefusedError("not confirmed; nothing was sent", where="guard.confirm")
    return typed or None, "name typed" if verdict.phrase else "reviewed"


async def _read_line() -> str | None:
    """Read a line from the terminal without holding the loop or a thread; None at its end.

    Raises:
        UsageError: no answer within `ANSWER_LIMIT_S`.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(0, ready.set)
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await ready.wait()
    except TimeoutError:
        raise UsageError(f"no answer for {ANSWER_LIMIT_S:g} s; nothing was sent") from None
    except asyncio.CancelledError:
        note("")
        raise
    finally:
        loop.remove_reader(0)
    line = os.read(0, 4096).decode(errors="replace")
    if not line:
        note("")
        return None
    return line.rstrip("\n")
