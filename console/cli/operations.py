"""`pooldeck VERB SELECTOR`: one command for each verb, from plan to exit code.

It decides nothing: the guard's verdict is shown and answered, and everything else happens in
`console.operations`. Options are read by `operation_options`, printing is `operation_output`'s.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import typer

from console.cli.context import Globals
from console.cli.diagnostics import divert_signals, note, run_async
from console.cli.operation_options import VerbCommand, Wish, command_of
from console.operations.rollout_options import rollout_of
from console.operations.verbs import GROUPS, VERBS

if TYPE_CHECKING:
    from console.cli.operation_output import Telling
    from console.cli.saved_plans import Approval
    from console.clock import Clock
    from console.guard.request import Request
    from console.operations.plan import Plan
    from console.operations.rollout import Rollout
    from console.operations.service import OperationService, Run


def register(app: typer.Typer) -> Mapping[str, typer.Typer]:
    """Add one command for each verb; return the groups of those that have two words."""
    groups = {
        name: typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
        for name, about in GROUPS.items()
    }
    for verb in VERBS:
        group, _, word = verb.name.rpartition(" ")
        (groups[group] if group else app).command(
            word, cls=VerbCommand, help=f"{verb.summary}\n\n{verb.help}", short_help=verb.summary
        )(command_of(verb, _run))
    for name, group_app in groups.items():
        app.add_typer(group_app, name=name)
    return groups


def _run(context: typer.Context, wish: Wish) -> int:
    return run_async(_operate(context.obj, wish))


async def _operate(options: Globals, wish: Wish) -> int:
    from console.cli.operation_stack import open_desk
    from console.cli.saved_plans import read_approval
    from console.operations.registry import REGISTRY

    spec = REGISTRY[wish.op]
    rollout = rollout_of(wish.rollout, spec.serial)
    leased = spec.leased and not wish.plan_only and not options.read_only
    async with open_desk(options, leased=leased) as desk:
        service, clock = desk.service, desk.stack.clock
        try:
            user = service.request().user
            approval = read_approval(wish.approve, user=user) if wish.approve else None
            plan = await _planned(service, wish, rollout)
            if wish.plan_only:
                _show(service, plan, wish)
                return 0
            run = await _agreed_run(service, plan, wish, approval, clock)
        except asyncio.CancelledError:
            note("stopped; nothing was sent")
            raise
        return await _followed(run, plan, wish, clock)


async def _planned(service: OperationService, wish: Wish, rollout: Rollout | None) -> Plan:
    """Make the plan; on a terminal it is told how far that is.

    Raises:
        UsageError: it cannot be planned as asked. NodeError: the only target did not answer.
    """
    from console.cli.outlet import Outlet

    outlet = Outlet(sys.stderr)

    def tell(far: str) -> None:
        if outlet.is_terminal:
            outlet.rewrite(f"planning: {far}")

    try:
        return await service.plan(wish.op, wish.selector, rollout=rollout, progress=tell, **wish.parameters)
    finally:
        outlet.settle()
        await outlet.drained(limit_s=1.0)
        outlet.close()


def _show(service: OperationService, plan: Plan, wish: Wish) -> None:
    """Print the plan, keep it, and write it where that was asked for."""
    from console.cli.operation_output import show_plan
    from console.cli.saved_plans import keep_copy, save_plan
    from console.operations.saved import plan_document

    request = service.request(wish.reason)
    verdict = service.judge(plan, request)
    document = plan_document(plan, verdict, user=request.user, command=wish.command, reason=wish.reason)
    if wish.save is not None:
        save_plan(wish.save, document)
        note(f"the plan is in {wish.save}, readable by everyone who can read its folder")
    keep_copy(document)
    show_plan(plan, verdict, document, wish)


async def _agreed_run(
    service: OperationService, plan: Plan, wish: Wish, approval: Approval | None, clock: Clock
) -> Run:
    """Have the verdict answered and start the run.

    Raises:
        RefusedError: the guard said no, nobody agreed, or the approved plan is not this one.
    """
    from console.cli.answers import answer, refusal, require_approved
    from console.guard.verdict import Confirm, Deny

    request = _request(service, wish, approval)
    how = require_approved(approval, plan, clock.wall_s()) if approval is not None else "not asked"
    verdict = service.judge(plan, request)
    phrase = None
    if isinstance(verdict, Deny):
        raise refusal(verdict, plan)
    if isinstance(verdict, Confirm) and approval is None:
        _show_before(plan, wish)
        phrase, how = await answer(verdict, wish)
    return service.submit(plan, service.permit(plan, verdict, phrase, request=request, answer=how))


def _request(service: OperationService, wish: Wish, approval: Approval | None) -> Request:
    """Return who asks: with the reason of who made the plan when none is given now."""
    if approval is None:
        return service.request(wish.reason)
    saved = approval.saved.reason if approval.saved is not None else None
    return service.request(wish.reason or saved, approval.maker)


def _show_before(plan: Plan, wish: Wish) -> None:
    """Show what is to be agreed to; a program that has agreed already reads JSON instead."""
    from console.cli.operation_output import width_of
    from console.cli.outlet import Outlet
    from console.operations.render import plan_text

    if not (wish.as_json and wish.yes):
        note(plan_text(plan, width=width_of(Outlet(sys.stderr)), verbose=wish.verbose))


async def _followed(run: Run, plan: Plan, wish: Wish, clock: Clock) -> int:
    """Tell a run until it is over, then its receipt; signals stop the run, which undoes what it must."""
    from console.cli.operation_output import Telling, ending, show_receipt
    from console.cli.outlet import Outlet

    objects = Outlet(sys.stdout) if wish.as_json else None
    telling = Telling(Outlet(sys.stderr), objects, many=plan.target_count > 1)
    enough = asyncio.Event()
    divert_signals(_stopper(run, telling, enough))
    follower = asyncio.create_task(telling.follow(run))
    receipt = await run.receipt()
    await asyncio.wait({follower})
    await telling.end()
    await show_receipt(receipt, plan, clock.wall_s(), objects, verbose=wish.verbose, enough=enough)
    return ending(receipt)[0]


def _stopper(run: Run, telling: Telling, enough: asyncio.Event) -> Callable[[signal.Signals], None]:
    """Return what a signal does: the first one stops after the step, a second one at once."""
    told: list[str] = []

    def stop(number: signal.Signals) -> None:
        if run.done:
            enough.set()
            return
        # A terminal that is closed or a machine that goes down leaves no time for a second signal.
        urgent = number is not signal.SIGINT or run.stopping
        run.cancel()
        if urgent:
            run.cancel()
        text = (
            "stopping now; what can be undone is undone"
            if urgent
            else "stopping after the step under way, undoing what can be undone; Ctrl-C again: now"
        )
        if text not in told:
            told.append(text)
            telling.say(text)

    return stop
