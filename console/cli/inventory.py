"""`pooldeck inventory check | import | ping`: is the inventory right, make a first one, does it reach.

Words and exit codes only: reading is `console.config`'s work, trying is `console.cli.inventory_ping`'s.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.context import Globals, read_inventory
from console.cli.diagnostics import ExitCode, note, run_async

if TYPE_CHECKING:
    from console.config.schema import Inventory

app = typer.Typer(
    help="Check the inventory, make a first one from a PgBouncer ini, try every hop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class EnvironmentChoice(StrEnum):
    """Values of `environment`."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


@app.command()
def check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Default: --fleet, $POOLDECK_FLEET, ./fleet.toml.")
    ] = None,
) -> None:
    """Read the inventory and tell every mistake at once, each with its file, line and key.

    Exit code 0: it is right. 2: it is not, or there is none.
    """
    options: Globals = context.obj
    inventory, path = read_inventory(Globals(fleet=file) if file is not None else options)
    typer.echo(f"ok: {_summary(inventory)} ({path})")


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="PGBOUNCER.INI…", help="One file for each bouncer; %include is followed."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; default: standard output."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The bouncer's name; default: the file's.")
    ] = None,
    fleet_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The fleet's name; default: the first bouncer's.")
    ] = None,
    environment: Annotated[
        EnvironmentChoice, typer.Option(help="How careful operations on this fleet must be.")
    ] = EnvironmentChoice.PRODUCTION,
    host: Annotated[
        str | None,
        typer.Option(metavar="[USER@]HOST", help="Reach all of it over SSH through this host or alias."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
) -> None:
    """Make a first inventory from PgBouncer's own configuration. Passwords are never copied.

    What the ini cannot tell is guessed; each guess is told on standard error and at the top of the file.
    """
    from console.config.import_ini import import_ini
    from console.config.pgbouncer_ini import read_ini
    from console.config.write import inventory_toml, write_inventory

    inis = [read_ini(file, beside=True) for file in files]
    if output is not None and output.exists():
        _keep_sources(output, [path for ini in inis for path in ini.files])
    made = import_ini(inis, fleet=fleet_name, name=name, environment=environment.value, host=host)
    sources = ", ".join(str(path) for ini in inis for path in ini.files)
    comments = [
        f"Made by pooldeck inventory import from {sources}.",
        *(f"check: {it}" for it in made.notices),
    ]
    for notice in made.notices:
        note(f"check: {notice}")
    if output is None:
        typer.echo(inventory_toml(made.inventory, comments=comments), nl=False)
        return
    write_inventory(output, made.inventory, force=force, comments=comments)
    note(f"wrote {output}: {_summary(made.inventory)}")
    note(f"  next: read it through, then pooldeck --fleet {output} inventory ping")


def _keep_sources(output: Path, sources: list[Path]) -> None:
    """Refuse to replace a file that is read: with --force that would be the pooler's own configuration."""
    from console.errors import UsageError

    if any(source.samefile(output) for source in sources):
        raise UsageError(
            f"{output} is the PgBouncer configuration that is read here, and nothing was written",
            hint="name another file with -o",
        )


@app.command()
def ping(
    context: typer.Context,
    selector: Annotated[
        str, typer.Argument(metavar="[SELECTOR]", help="Which nodes; default: all of them.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Try every hop to every node and say which phase fails.

    SSH jumps, the SSH host, the tunnel, then the login: as monitor and as admin user on a bouncer's admin
    console, and on each Postgres node. Nothing is changed anywhere. Exit code 0: all answer. 1: one does not.
    """
    from console.cli.inventory_ping import ping_fleet

    if not run_async(ping_fleet(context.obj, selector, as_json=as_json)):
        raise typer.Exit(ExitCode.FAILED)


def _summary(inventory: Inventory) -> str:
    """Return `4 bouncers on 3 hosts, 2 Postgres nodes`."""
    machines = {
        bouncer.host or (bouncer.tcp_host if bouncer.tcp_host else "this machine")
        for bouncer in inventory.bouncers
    }
    bouncers = f"{_counted(len(inventory.bouncers), 'bouncer')} on {_counted(len(machines), 'host')}"
    return f"{bouncers}, {_counted(len(inventory.postgres), 'Postgres node')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
