"""`pooldeck`: the command line's root. Without a verb it opens the console.

Verbs live in their own modules; this one only joins them and holds the options they share.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from console import __version__
from console.cli import audit, config_diff, inventory, lab, leases, operations, process, status
from console.cli.context import Globals
from console.cli.diagnostics import ExitCode, end, note

app = typer.Typer(
    name="pooldeck",
    help="An operations console for fleets of PostgreSQL poolers. Without a verb it opens the console.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
status.register(app)
config_diff.register(operations.register(app)["config"])
leases.register(app)
process.register(app)
app.add_typer(audit.app, name="audit")
app.add_typer(inventory.app, name="inventory")
app.add_typer(lab.app, name="lab")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pooldeck {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    fleet: Annotated[
        Path | None,
        typer.Option(
            "--fleet", "-f", metavar="FILE", help="The inventory. Default: $POOLDECK_FLEET, ./fleet.toml."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every operation.")] = False,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", metavar="FILE", help="Write a log (mode 0600).")
    ] = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    """Hold the options that every verb shares."""
    context.obj = Globals(fleet=fleet, read_only=read_only, log_file=log_file, ascii_only=ascii_only)
    if log_file is not None:
        _log_to(log_file)
    if context.invoked_subcommand is None:
        from console.cli.launch import launch_console

        launch_console(context.obj)


def _log_to(file: Path) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        note(f"pooldeck: {file}: the log file cannot be written: {error.strerror}")
        raise typer.Exit(ExitCode.USAGE) from error
    handler = logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("console")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


_SESSION_VARIABLES = ("PGOPTIONS", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGSERVICE", "PGCLIENTENCODING")
"""libpq would send these with every login; an admin console refuses such startup parameters."""


def main() -> None:
    """Run the command line; every error ends in words and an exit code, never in a traceback."""
    for variable in _SESSION_VARIABLES:
        os.environ.pop(variable, None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 shows `\u2192` for an arrow; it must never end the program.
            stream.reconfigure(errors="backslashreplace")
    code = _run()
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        # Where Python would end with 120 because its own last flush failed, the outcome counts.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        note("pooldeck: interrupted")
        return ExitCode.INTERRUPTED
    except SystemExit:
        raise
    except BaseException as error:
        usage = getattr(error, "show", None)
        if not callable(usage):
            return end(error)
        with contextlib.suppress(OSError):
            usage()
        return ExitCode.USAGE
    if code == ExitCode.INTERRUPTED:
        # Typer turns a KeyboardInterrupt into this number without a word.
        note("pooldeck: interrupted")
    return code if isinstance(code, int) else ExitCode.OK


if __name__ == "__main__":
    main()
