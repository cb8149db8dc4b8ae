"""`pooldeck config diff SELECTOR`: what the files of poolers say against what runs. It changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.context import Globals, bouncers_and_nodes
from console.cli.diagnostics import ExitCode, printable, run_async

if TYPE_CHECKING:
    from console.operations.config_diff import ConfigDiff, TargetDiff


def register(group: typer.Typer) -> None:
    """Add it to the commands of `config`."""
    group.command("diff", short_help="Compare the files of bouncers with what runs.")(diff)


def diff(
    context: typer.Context,
    selector: Annotated[
        str,
        typer.Argument(
            metavar="SELECTOR",
            help="Bouncers, @label=value, all.",
            show_default=False,
            autocompletion=bouncers_and_nodes,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a line.")] = False,
) -> int:
    """Compare the files of bouncers with what runs, and with one another.

    Shows what a RELOAD would change, what somebody SET, what needs a restart, and where the files of several
    bouncers say something else. Nothing is touched. It ends with 1 when one of them could not be compared.
    """
    return run_async(_compare(context.obj, selector, as_json=as_json))


async def _compare(options: Globals, selector: str, *, as_json: bool) -> int:
    from console.cli.operation_output import width_of
    from console.cli.operation_stack import open_desk
    from console.cli.outlet import Outlet
    from console.operations.config_diff import config_diff

    async with open_desk(options, leased=False) as desk:
        found = await config_diff(desk.service, selector)
    lines = _objects(found) if as_json else _lines(found, width_of(Outlet(sys.stdout)))
    for line in lines:
        typer.echo(line if as_json else printable(line))
    return ExitCode.OK if found.is_whole else ExitCode.FAILED


def _objects(found: ConfigDiff) -> Iterator[str]:
    yield from (json.dumps(one.as_dict()) for one in found.targets)
    yield from (json.dumps(one.as_dict()) for one in found.between)
    for out in found.unreachable:
        yield json.dumps({"type": "unreachable", "target": out.name, "reason": out.reason})


def _lines(found: ConfigDiff, width: int | None) -> Iterator[str]:
    from console.operations.config_diff import by_value
    from console.operations.render_layout import labelled, some, wrapped

    for one in found.targets:
        yield from wrapped(_head(one), width, rest="  ")
        yield from labelled("file", one.changes, width)
        yield from labelled("SET", one.undone, width)
        yield from labelled("restart", one.restart, width)
        yield from labelled("warning", one.warnings, width)
        if one.backups:
            newest, *older = one.backups
            more = f", and of {len(older)} older" if older else ""
            yield from labelled("backup", (f"of run {newest}{more} (pooldeck config rollback)",), width)
    for out in found.unreachable:
        yield from wrapped(f"{out.name}: could not be compared: {out.reason}", width, rest="  ")
    if found.between:
        yield "between them:"
        for item in found.between:
            values = [f"{value} ({some(names)})" for value, names in by_value(item.values)]
            yield from wrapped(f"  {item.key}: {'; '.join(values)}", width, rest="    ")


def _head(one: TargetDiff) -> str:
    if one.unread is not None:
        return f"{one.name} (PgBouncer {one.version}): could not be compared: {one.unread}"
    if not one.count:
        return f"{one.name} (PgBouncer {one.version}): runs as its files say"
    count = f"{one.count} difference{'' if one.count == 1 else 's'}"
    return f"{one.name} (PgBouncer {one.version}): {count}, running → file"
