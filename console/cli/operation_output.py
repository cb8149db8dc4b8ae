"""What commands of operations print: plans, progress, receipts, and the exit code with its reason.

Data goes to standard output, telling to standard error. With --json standard output has one object a line,
each with a `type`: `plan`, or `event`s, `receipt`s and at the end the `run` (docs/running-on-many.md).
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from console.cli.diagnostics import ExitCode, note, printable, silence_output
from console.cli.outlet import Outlet
from console.operations.outcome import Event, EventKind, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from console.cli.operation_options import Wish
    from console.guard.verdict import Verdict
    from console.operations.outcome import RunReceipt, TargetReceipt
    from console.operations.plan import Plan
    from console.operations.service import Run

WAITING_EVERY_S = 1.0
"""Lines about incomplete pauses come no faster; a run tells it five times a second and target."""
PROGRESS_LIMIT_S = 1.0
"""So long a reader of standard error that has stopped is waited for at the end."""
_WAITING_NAMED = 3


def width_of(outlet: Outlet) -> int | None:
    """Return how wide text may be: the terminal, but no wider than is good to read; None when it is none."""
    return None if outlet.width is None else min(outlet.width, 100)


def show_plan(plan: Plan, verdict: Verdict, document: Mapping[str, Any], wish: Wish) -> None:
    """Print a plan, how the guard answers it, and the command that runs it."""
    if wish.as_json:
        typer.echo(json.dumps(document))
        return
    from console.operations.render import plan_text
    from console.operations.render_layout import labelled

    width = width_of(Outlet(sys.stdout))
    lines = [plan_text(plan, width=width, verbose=wish.verbose)]
    lines += labelled("guard", (_verdict_text(verdict, plan),), width)
    lines += labelled("to run it", _commands(plan, verdict, document["command"], wish.save), width)
    typer.echo(printable("\n".join(lines)))


def _commands(plan: Plan, verdict: Verdict, command: str, save: Path | None) -> tuple[str, ...]:
    """Return the command that runs a plan; () when there is none, or the guard would refuse it."""
    from console.guard.verdict import Deny

    if not plan.changes:
        return ()
    if not isinstance(verdict, Deny):
        return (f"{command} --approve {plan.hash[:12]}",)
    if verdict.rule == "policy.two_person" and save is not None:
        return (f"another user: {command} --approve {shlex.quote(str(save.absolute()))}",)
    return ()


def _verdict_text(verdict: Verdict, plan: Plan) -> str:
    from console.cli.answers import refusal
    from console.guard.verdict import Confirm, Deny

    if isinstance(verdict, Deny):
        told = refusal(verdict, plan).hint
        hint = f"; {told}" if told else ""
        return f"REFUSES it: {verdict.reason} ({verdict.rule}){hint}"
    if not isinstance(verdict, Confirm):
        return "lets it pass unasked"
    if verdict.phrase is None:
        return "asks for Enter; --yes answers"
    words = shlex.quote(verdict.phrase)
    answers = "--yes" if verdict.yes_suffices else f"--yes --confirm {words}"
    return f"asks to type {verdict.phrase}; {answers} answers"


class Telling:
    """Tells a run while it goes: lines for people, or objects for programs."""

    def __init__(self, lines: Outlet, objects: Outlet | None, *, many: bool) -> None:
        """Take the streams.

        Args:
            lines: for people: events when there are no `objects`, and what we say ourselves.
            objects: for JSON; None: nobody asked for it.
            many: it is a run on many targets.
        """
        self._many = many
        self._json = objects
        self._lines = lines
        self._waiting: dict[str, Event] = {}
        self._told_at_s: dict[str, float] = {}
        self._told_servers: dict[str, Any] = {}

    async def follow(self, run: Run) -> None:
        """Tell every event until the run is over."""
        async for event in run.events():
            self.event(event)
        self._lines.settle()

    def event(self, event: Event) -> None:
        """Tell one event."""
        if event.kind is EventKind.WAITING:
            self._waiting[event.target] = event
        elif event.target in self._waiting:
            del self._waiting[event.target]
        if self._json is not None:
            if event.kind is not EventKind.WAITING or self._is_due(event.target, event.at_s):
                self._json.line(json.dumps({"type": "event", **event.as_dict()}))
        elif event.kind is EventKind.WAITING:
            self._tell_waiting(event)
        elif event.kind is EventKind.PREPARING:
            self._tell_passing(event)
        elif event.kind is EventKind.HOLDING and self._lines.is_terminal:
            self._lines.rewrite(f"{event.target}: {event.text}")
        elif event.kind is not EventKind.FINISHED or self._many:
            self._lines.line(f"{event.target}: {event.text}")

    def say(self, text: str) -> None:
        """Tell a line of our own."""
        self._lines.line(text)

    async def end(self) -> None:
        """Wait a moment for what was told; one who does not read it does not keep us."""
        self._lines.settle()
        await self._lines.drained(limit_s=PROGRESS_LIMIT_S)
        self._lines.close()

    def _tell_passing(self, event: Event) -> None:
        """Tell what is soon overtaken: in place on a terminal, else a line now and then."""
        if self._lines.is_terminal:
            self._lines.rewrite(event.text)
        elif self._is_due("", event.at_s):
            self._lines.line(event.text)

    def _is_due(self, key: str, at_s: float) -> bool:
        if at_s - self._told_at_s.get(key, float("-inf")) < WAITING_EVERY_S:
            return False
        self._told_at_s[key] = at_s
        return True

    def _tell_waiting(self, event: Event) -> None:
        """Tell what is waited for: on a terminal in full when it changes, and a countdown in between."""
        if not self._lines.is_terminal:
            if self._is_due("", event.at_s):
                alone = len(self._waiting) == 1
                self._lines.line(f"{event.target}: {event.text}" if alone else self._waiting_text())
            return
        servers = event.data.get("servers")
        if self._told_servers.get(event.target, -1) != servers:
            self._told_servers[event.target] = servers
            self._lines.line(f"{event.target}: {event.text}")
        self._lines.rewrite(self._waiting_text())

    def _waiting_text(self) -> str:
        named = [f"{name} ({one.data.get('servers')})" for name, one in self._waiting.items()]
        more = f" and {len(named) - _WAITING_NAMED} more" if len(named) > _WAITING_NAMED else ""
        left_s = min(float(one.data.get("remaining_s", 0.0)) for one in self._waiting.values())
        return f"waiting for servers of {', '.join(named[:_WAITING_NAMED])}{more}; {left_s:.1f} s left"


async def show_receipt(
    receipt: RunReceipt,
    plan: Plan,
    now_s: float,
    objects: Outlet | None,
    *,
    verbose: bool,
    enough: asyncio.Event,
) -> None:
    """Print what came of a run; failing at it must hide neither the outcome nor the warnings.

    Args:
        receipt: of the run.
        plan: what it ran.
        now_s: the wall clock.
        objects: where its JSON goes, behind the events; None: text to standard output.
        verbose: every target in full.
        enough: set when whoever waits for us has had enough of a reader that does not read.
    """
    out = objects or Outlet(sys.stdout)
    for text in _json_lines(receipt) if objects else _text_blocks(receipt, width_of(out), verbose=verbose):
        out.line(text)
    await out.drained(limit_s=None, enough=enough)
    out.close()
    if out.error is not None:
        silence_output()
        note(f"the receipt could not be written ({out.error.strerror}); the journal has it")
    for text in standing(receipt, now_s, holds=plan.spec.holds):
        note(text)


def _json_lines(receipt: RunReceipt) -> list[str]:
    common = {"run": receipt.run_id, "op": receipt.op, "plan": receipt.plan_hash}
    documents = [{"type": "receipt", **common, **one.as_dict()} for one in receipt.targets]
    code, reason = ending(receipt)
    run: dict[str, Any] = {
        "type": "run",
        **common,
        "outcome": receipt.outcome.value,
        "interrupted": receipt.interrupted,
        "exit_code": int(code),
        "reason": reason,
        "targets": len(receipt.targets) + len(receipt.unreachable),
        "unreachable": [{"name": out.name, "reason": out.reason} for out in receipt.unreachable],
    }
    return [json.dumps(document) for document in (*documents, run)]


def _text_blocks(receipt: RunReceipt, width: int | None, *, verbose: bool) -> list[str]:
    from console.operations.render_receipt import receipt_text, run_text

    if len(receipt.targets) == 1 and not receipt.unreachable:
        return [receipt_text(receipt.targets[0], width=width)]
    blocks = [receipt_text(one, width=width) for one in receipt.targets] if verbose else []
    code, reason = ending(receipt)
    why = f"; exit {int(code)}: {reason}" if reason else ""
    return [*blocks, run_text(receipt, width=width, brief=verbose), f"\n{receipt.counts}{why}"]


def standing(receipt: RunReceipt, now_s: float, *, holds: bool) -> list[str]:
    """Return what is still paused, until when, and who is in charge of it."""
    from console.operations.render_layout import some
    from console.operations.render_receipt import cut_text, moment_text

    lines = []
    left = [one for one in receipt.targets if one.held_until_s is not None]
    if left:
        until_s = max(one.held_until_s or 0.0 for one in left)
        names = some([str(one.target) for one in left])
        verb = "are" if len(left) > 1 else "is"
        lines.append(f"{names} {verb} held until {moment_text(until_s, now_s)}; the guardian resumes then")
        ends = left[0].target.command("resume") if len(left) == 1 else "pooldeck resume SELECTOR"
        lines.append(f"  sooner: {ends}; what is held: pooldeck leases")
    for one in receipt.targets:
        lines += _stuck(one, cut_text(one, now_s), holds=holds)
    return lines


def _stuck(one: TargetReceipt, cut: str | None, *, holds: bool) -> list[str]:
    if not holds or one.held_until_s is not None or one.outcome not in (Outcome.FAILED, Outcome.UNKNOWN):
        return []
    by_hand = f"its guardian goes on trying; by hand: {one.target.command('resume')}"
    if one.after == "paused":
        return [f"*** {one.target} STILL IS PAUSED; {by_hand}", *([f"*** {cut}"] if cut else [])]
    if one.after is None and one.exchanges:
        return [f"*** whether {one.target} still is paused is not known; {by_hand}"]
    return []


def ending(receipt: RunReceipt) -> tuple[ExitCode, str | None]:
    """Return the exit code of a run (design.md, 4), and why it is not 0."""
    outcome = receipt.outcome
    counts = {one: sum(target.outcome is one for target in receipt.targets) for one in Outcome}
    if outcome is Outcome.UNKNOWN:
        return ExitCode.UNKNOWN, f"what became of {_targets(counts[Outcome.UNKNOWN])} is not known"
    if receipt.interrupted:
        return ExitCode.INTERRUPTED, "interrupted"
    if outcome is Outcome.SKIPPED:
        return _unfinished(receipt, counts[Outcome.SKIPPED])
    if outcome is Outcome.FAILED:
        parts = [f"{_targets(counts[Outcome.FAILED])} failed"] if counts[Outcome.FAILED] else []
        if receipt.unreachable:
            parts.append(f"{_targets(len(receipt.unreachable))} could not be reached")
        return ExitCode.FAILED, " and ".join(parts)
    return ExitCode.OK, None


def _unfinished(receipt: RunReceipt, skipped: int) -> tuple[ExitCode, str]:
    if receipt.refused:
        return ExitCode.REFUSED, "what the plan rests on has changed"
    if skipped == len(receipt.targets):
        return ExitCode.REFUSED, "nothing was begun"
    return ExitCode.FAILED, f"{_targets(skipped)} {'was' if skipped == 1 else 'were'} not begun"


def _targets(count: int) -> str:
    return f"{count} target{'' if count == 1 else 's'}"
