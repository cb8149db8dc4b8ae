"""`pooldeck reload|pause|resume SELECTOR`: made from the list of verbs; asks, shows and sets exit codes.

It decides nothing: the guard's verdict is shown and answered here, and everything else happens in
`console.operations`. Progress goes to standard error, receipts and plans to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.context import Globals, bouncer_names
from console.cli.diagnostics import ExitCode, note, on_terminal, printable, run_async, silence_output
from console.errors import RefusedError, UsageError
from console.operations.verbs import VERBS, Verb

if TYPE_CHECKING:
    from console.guard.verdict import Confirm
    from console.operations.outcome import RunReceipt
    from console.operations.plan import Plan
    from console.operations.service import OperationService, Run

ANSWER_LIMIT_S = 300.0
"""How long a question waits for its answer; the plan would be stale long before."""

WAITING_EVERY_S = 1.0
"""Lines about an incomplete pause come no faster; a run tells it five times a second."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the command line asked for."""

    op: str
    selector: str
    timeout_s: float
    plan_only: bool
    yes: bool
    confirm: str | None
    as_json: bool


def register(app: typer.Typer) -> None:
    """Add one command for each verb."""
    for verb in VERBS:
        app.command(verb.name, help=f"{verb.summary}\n\n{verb.help}", short_help=verb.summary)(_command(verb))


def _command(verb: Verb) -> Callable[..., int]:
    # Typer reads annotations from the module, where `verb` is not; so this help stands in the default.
    limit = typer.Option(5.0, metavar="S", help=verb.timeout_help)

    def command(
        context: typer.Context,
        selector: Annotated[
            str,
            typer.Argument(
                metavar="SELECTOR",
                help="One bouncer, or NAME/DATABASE.",
                show_default=False,
                autocompletion=bouncer_names,
            ),
        ],
        plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and end.")] = False,
        yes: Annotated[
            bool, typer.Option("--yes", "-y", help="Agree without being asked (see --confirm).")
        ] = False,
        confirm: Annotated[
            str | None,
            typer.Option(
                metavar="NAME",
                help="The target's name, as it would be typed; production wants it besides --yes.",
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a line.")] = False,
        timeout: float = limit,
    ) -> int:
        wish = _Wish(verb.name, selector, timeout, plan, yes, confirm, as_json)
        return run_async(_operate(context.obj, wish))

    command.__name__ = verb.name
    command.__doc__ = verb.summary
    return command


async def _operate(options: Globals, wish: _Wish) -> int:
    from console.cli.context import open_stack
    from console.cli.operation_stack import operation_service

    async with open_stack(options) as stack, operation_service(stack, options) as service:
        try:
            plan = await service.plan(wish.op, wish.selector, timeout_s=wish.timeout_s)
            if wish.plan_only:
                _show_plan(service, plan, wish)
                return ExitCode.OK
            run = await _confirmed_run(service, plan, wish)
        except asyncio.CancelledError:
            note("stopped; nothing was sent")
            raise
        receipt = await _follow(run)
        _show_receipt(receipt, stack.clock.wall_s(), wish)
        return _exit_code(receipt)


def _show_plan(service: OperationService, plan: Plan, wish: _Wish) -> None:
    from console.operations.render import plan_text

    if wish.as_json:
        from dataclasses import asdict

        verdict = service.judge(plan)
        answer = {"kind": type(verdict).__name__.lower(), **asdict(verdict)}
        answer["tier"] = verdict.tier.name.lower()
        typer.echo(json.dumps({**plan.as_dict(), "verdict": answer}))
    else:
        typer.echo(printable(plan_text(plan)))


async def _confirmed_run(service: OperationService, plan: Plan, wish: _Wish) -> Run:
    from console.guard.verdict import Confirm, Deny

    verdict = service.judge(plan)
    phrase, answer = None, "not asked"
    if isinstance(verdict, Deny):
        raise RefusedError(verdict.reason, where=verdict.rule)
    if isinstance(verdict, Confirm):
        from console.operations.render import plan_text

        note(plan_text(plan))
        phrase, answer = await _answer(verdict, plan, wish)
    return service.submit(plan, service.permit(plan, verdict, phrase, answer=answer))


async def _answer(verdict: Confirm, plan: Plan, wish: _Wish) -> tuple[str | None, str]:
    """Return the phrase and how it was given.

    Raises:
        RefusedError: nobody agreed.
    """
    if wish.confirm is not None and wish.confirm != plan.phrase:
        raise RefusedError(f"--confirm {wish.confirm} is not {plan.phrase}", where="guard.confirm")
    if wish.yes and wish.confirm is not None:
        return verdict.phrase, "--yes --confirm"
    if wish.yes and verdict.yes_suffices:
        return verdict.phrase, "--yes"
    if not on_terminal(sys.stdin, sys.stderr):
        needed = "--yes" if verdict.yes_suffices else f"--yes --confirm {shlex.quote(plan.phrase)}"
        raise RefusedError(
            f"{verdict.question}: nobody is here to agree", where="guard.confirm", hint=f"pass {needed}"
        )
    asked = "Enter to go on, anything else to stop" if verdict.phrase is None else f"type {verdict.phrase}"
    # What was typed before the question was shown is no answer to it.
    termios.tcflush(0, termios.TCIFLUSH)
    sys.stderr.write(printable(f"{verdict.question}. {asked}: "))
    sys.stderr.flush()
    typed = await _read_line()
    if typed != (verdict.phrase or ""):
        raise RefusedError("not confirmed; nothing was sent", where="guard.confirm")
    return verdict.phrase, "name typed" if verdict.phrase else "reviewed"


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


async def _follow(run: Run) -> RunReceipt:
    """Tell the run's events until it is over; a signal stops the run, which undoes, and is then told too."""
    from console.operations.control import insist

    teller = asyncio.create_task(_tell(run))
    try:
        return await run.receipt()
    except asyncio.CancelledError:
        note("stopping; what was begun is undone first")
        run.cancel()
        return await run.receipt()
    finally:
        # A signal now is too late to stop anything, and must not cost the receipt.
        await insist(lambda: _hush(teller))


async def _hush(teller: asyncio.Task[None]) -> None:
    await asyncio.wait({teller}, timeout=1.0)
    teller.cancel()


async def _tell(run: Run) -> None:
    from console.operations.outcome import EventKind

    told_at_s = float("-inf")
    async for event in run.events():
        if event.kind is EventKind.WAITING:
            if event.at_s - told_at_s < WAITING_EVERY_S:
                continue
            told_at_s = event.at_s
        if event.kind is not EventKind.FINISHED:
            note(f"{event.target}: {event.text}")


def _show_receipt(receipt: RunReceipt, now_s: float, wish: _Wish) -> None:
    from console.operations.render import cut_text, receipt_text

    for target in receipt.targets:
        if wish.as_json:
            line = {"run": receipt.run_id, "op": receipt.op, "plan": receipt.plan_hash, **target.as_dict()}
            _put(json.dumps(line))
        else:
            _put(printable(receipt_text(target)))
        if target.after == "paused":
            note(f"*** {target.target} STAYS PAUSED until somebody runs: {target.target.command('resume')}")
            cut = cut_text(target, now_s)
            if cut is not None:
                note(f"*** {cut}")


def _put(text: str) -> None:
    """Write a receipt to standard output; failing at it must hide neither the outcome nor the warnings."""
    try:
        typer.echo(text)
    except OSError as error:
        silence_output()
        note(f"the receipt could not be written ({error.strerror}); the journal has it")


def _exit_code(receipt: RunReceipt) -> int:
    from console.operations.outcome import Outcome

    if receipt.interrupted:
        return ExitCode.UNKNOWN if receipt.outcome is Outcome.UNKNOWN else ExitCode.INTERRUPTED
    if receipt.refused:
        return ExitCode.REFUSED
    return {
        Outcome.OK: ExitCode.OK,
        Outcome.NO_CHANGE: ExitCode.OK,
        Outcome.SKIPPED: ExitCode.REFUSED,
        Outcome.FAILED: ExitCode.FAILED,
        Outcome.UNKNOWN: ExitCode.UNKNOWN,
    }[receipt.outcome]
