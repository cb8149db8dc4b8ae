"""`pooldeck lab up|status|down|demo`: a real fleet on this machine, to try Pooldeck on and to test it with.

It words what `console.lab` does; it starts and ends nothing itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.diagnostics import note

if TYPE_CHECKING:
    import subprocess

    from console.lab.census import LabStatus

DEMO_LOAD_S = 3600
STATUS_LIMIT_S = 60
app = typer.Typer(
    help="A real fleet on this machine: Postgres, PgBouncers, SSH hosts and load, all on loopback.",
    no_args_is_help=True,
)
Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The lab's folder. Default: `lab` in Pooldeck's cache folder."),
]
Bouncers = Annotated[
    int | None, typer.Option("--bouncers", metavar="N", help="How many PgBouncers. Default: 4.")
]
Load = Annotated[
    int | None, typer.Option("--load", metavar="SECONDS", help="Also start load that ends by itself.")
]
Executables = Annotated[
    list[Path] | None,
    typer.Option("--pgbouncer", metavar="PATH", help="An executable to use; given again, used in turn."),
]


@app.command()
def up(
    directory: Directory = None,
    bouncers: Bouncers = None,
    load: Load = None,
    pgbouncer: Executables = None,
) -> None:
    """Start the lab; on a running one, start only what is missing."""
    from console.lab.fleet import Lab

    place = _place(directory)
    lab = Lab.up(place, bouncers, load, pgbouncer or (), progress=_progress)
    count = len(lab.started)
    done = f"{count} process{'' if count == 1 else 'es'} started" if count else "nothing to start"
    _progress(f"{done}; the fleet is up")
    typer.echo(str(lab.inventory_path))


@app.command()
def status(
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every process of the lab. Ends with 1 when a server does not run."""
    from console.lab.fleet import Lab

    found = Lab.status(_place(directory))
    typer.echo(_as_json(found) if as_json else _as_table(found))
    if not found.healthy:
        raise typer.Exit(1)


@app.command()
def down(directory: Directory = None) -> None:
    """End every process the lab started. Its folder stays, so that the next `up` is quick."""
    from console.lab.fleet import Lab

    ended = Lab.down(_place(directory))
    _progress(f"ended {', '.join(ended)}" if ended else "nothing runs")


@app.command()
def demo(directory: Directory = None, bouncers: Bouncers = None) -> None:
    """Start the lab with load, open the console on it, and take it down when the console is left.

    Without a terminal the fleet's status is printed instead.
    """
    import signal

    from console.lab.fleet import Lab

    console = _Console()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: console.interrupt(got))
    place = _place(directory)
    code = 1
    try:
        lab = Lab.up(place, bouncers, DEMO_LOAD_S, progress=_progress)
        code = console.run(lab.inventory_path)
    finally:
        console.leaving = True
        _progress("taking the lab down")
        Lab.down(place)
    raise typer.Exit(code)


class _Console:
    """The console on the lab, as a child: whatever becomes of it, the lab is taken down.

    Attributes:
        leaving: True once nothing may interrupt any more.
    """

    def __init__(self) -> None:
        self.leaving = False
        self._child: subprocess.Popen[bytes] | None = None

    def interrupt(self, number: int) -> None:
        """Hand a signal to the console; before there is one, give the start up."""
        if self.leaving:
            return
        if self._child is None:
            raise KeyboardInterrupt
        self._child.send_signal(number)

    def run(self, inventory: Path) -> int:
        """Open the console, or without a terminal print the fleet's status; return the exit code."""
        import subprocess

        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        command = [sys.executable, "-m", "console.cli.main", "--fleet", str(inventory)]
        self._child = subprocess.Popen(command if on_terminal else [*command, "status"])
        return self._child.wait(timeout=None if on_terminal else STATUS_LIMIT_S)


def _place(directory: Path | None) -> Path:
    from console.lab.place import default_directory

    return default_directory() if directory is None else directory


def _progress(text: str) -> None:
    # A terminal that is gone must not keep the lab up.
    note(f"lab: {text}")


def _as_json(found: LabStatus) -> str:
    import json
    from dataclasses import asdict

    value = {
        "directory": str(found.directory),
        "inventory": str(found.inventory),
        "running": found.running,
        "healthy": found.healthy,
        "load_ends_at_s": found.load_ends_at_s,
        "processes": [asdict(process) for process in found.processes],
    }
    return json.dumps(value, indent=2)


def _as_table(found: LabStatus) -> str:
    if not found.processes:
        return f"there is no lab in {found.directory}"
    head = ("NAME", "KIND", "PID", "STATE", "PORT", "VERSION")
    rows = [
        (
            process.name,
            process.kind,
            "-" if process.pid is None else str(process.pid),
            process.state,
            "-" if process.port is None else str(process.port),
            process.version or "-",
        )
        for process in found.processes
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    right = {2, 4}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )
