"""`pooldeck status`: the fleet once, for scripts and for a quick look. Documented in docs/status.md.

It asks and prints; reading is `console.fleet.oneshot`'s work and the shape of the output `status_output`'s.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.context import Globals, open_stack
from console.cli.diagnostics import ExitCode, note, run_async

if TYPE_CHECKING:
    from console.cli.status_output import Choice
    from console.config.schema import Inventory
    from console.model.fleet import FleetSnapshot


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("status")(status)


def status(
    context: typer.Context,
    selector: Annotated[
        str | None,
        typer.Argument(metavar="[SELECTOR]", help="Which nodes; default: all. E.g. edge-*,!edge-1b."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line for each bouncer, with a header.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="One fact a line, no columns: for screen readers and grep.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 when a chosen node does not answer.")
    ] = False,
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval",
            metavar="SECONDS",
            min=0.1,
            max=600,
            help="Time between the two samples of the rates.",
        ),
    ] = 1.0,
) -> None:
    """Show what every node does now, once.

    Exit code 0: it was read; a node that is down is data in it. 1: with --strict, a chosen node does not
    answer.
    """
    from console.errors import UsageError

    if as_json + as_csv + plain > 1:
        raise UsageError("--json, --csv and --plain exclude one another", hint="choose one of them")
    snapshot, choice = run_async(_read(context.obj, selector, interval_s))

    from console.cli import status_output as output
    from console.cli.outlet import Outlet

    for line in choice.complaints(snapshot):
        note(f"pooldeck: {line}")
    if as_json:
        typer.echo(output.as_json(snapshot, choice))
    elif as_csv:
        typer.echo(output.as_csv(snapshot, choice), nl=False)
    elif plain:
        typer.echo(output.as_plain(snapshot, choice))
    else:
        typer.echo(output.as_table(snapshot, choice, width=Outlet(sys.stdout).width))
    if strict and not output.all_answer(snapshot):
        raise typer.Exit(ExitCode.FAILED)


async def _read(options: Globals, selector: str | None, interval_s: float) -> tuple[FleetSnapshot, Choice]:
    from console.fleet.oneshot import DEADLINE_S, read_once
    from console.postgres.connect import PostgresConnector

    async with open_stack(options) as stack:
        choice = _choice(stack.inventory, selector)
        snapshot = await read_once(
            stack.inventory,
            stack.connector,
            PostgresConnector(stack.inventory, stack.transport, stack.credentials),
            stack.clock,
            interval_s=interval_s,
            deadline_s=DEADLINE_S + interval_s,
            poolers=choice.nodes,
            postgres=choice.nodes,
        )
    return snapshot, choice


def _choice(inventory: Inventory, selector: str | None) -> Choice:
    from console.cli.status_output import Choice
    from console.config.selector import Selectable, parse_selector
    from console.errors import SelectorError

    if selector is None:
        return Choice(None, ())
    nodes: list[Selectable] = [*inventory.bouncers, *inventory.postgres]
    poolers = {bouncer.name for bouncer in inventory.bouncers}
    # `all/app` means the poolers' databases: a Postgres node is read as a whole or not at all.
    selected = tuple(
        one for one in parse_selector(selector).select(nodes) if one.name in poolers or one.database is None
    )
    if not selected:
        raise SelectorError(
            f"{selector!r} chooses databases of Postgres nodes only", hint="name the nodes themselves"
        )
    return Choice(frozenset(one.name for one in selected), selected)
