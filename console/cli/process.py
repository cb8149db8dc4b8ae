"""`pooldeck process`: how bouncers are supervised, and what their hosts tell of their processes.

It asks and prints; reading is `console.operations.process`'s work. Documented in docs/process.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.context import Globals, bouncers_and_nodes, open_stack
from console.cli.diagnostics import ExitCode, printable, run_async

if TYPE_CHECKING:
    from console.operations.process.report import ProcessReport


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("process")(process)


def process(
    context: typer.Context,
    selector: Annotated[
        str,
        typer.Argument(
            metavar="[SELECTOR]",
            help="Bouncers, @label=value, all. Default: all.",
            show_default=False,
            autocompletion=bouncers_and_nodes,
        ),
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a line.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 when the process of a bouncer was not found.")
    ] = False,
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval", metavar="SECONDS", min=0.1, max=60, help="Time over which the CPU is measured."
        ),
    ] = 1.0,
) -> int:
    """Show how bouncers are supervised, and their processes.

    The supervisor, the process with its CPU, memory and open files, and the version that runs against the
    one that the next start would take. It only reads.
    """
    reports = run_async(_read(context.obj, selector, interval_s))
    if as_json:
        for report in reports:
            typer.echo(json.dumps(report.as_dict()))
    else:
        typer.echo(printable("\n\n".join(map(_text, reports))))
    missing = any(report.look.process is None for report in reports)
    return ExitCode.FAILED if strict and missing else ExitCode.OK


async def _read(options: Globals, selector: str, interval_s: float) -> tuple[ProcessReport, ...]:
    from console.config.selector import parse_selector
    from console.operations.process.reader import ProcessReader

    async with open_stack(options) as stack:
        chosen = parse_selector(selector).select(stack.inventory.bouncers)
        reader = ProcessReader(stack.inventory, stack.connector, stack.transport, stack.clock)
        return await reader.read(tuple(dict.fromkeys(one.name for one in chosen)), interval_s=interval_s)


def _text(report: ProcessReport) -> str:
    lines = [f"  {label:<14}{words}" for label, words in report.lines()]
    return "\n".join([report.bouncer, *lines])
