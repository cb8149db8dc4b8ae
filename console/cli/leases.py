"""`pooldeck leases`: what is held, by whom, until when. It reads this machine's lease files only."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.diagnostics import ExitCode, note, printable, run_async

if TYPE_CHECKING:
    from console.model.claims import Claim


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "leases",
        short_help="List the pauses that runs of this machine hold.",
        help=(
            "List the pauses that runs of this machine hold: the target, who, and how long still. One whose "
            "run and guardian are dead is told as left behind: `pooldeck mend` ends it. Then come operations "
            "of dead runs that have no end on record, e.g. a restart, and what shows how they stand.\n\n"
            "No pooler is asked."
        ),
    )(leases)


def leases(
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a line.")] = False,
) -> int:
    """List what is held."""
    return run_async(_leases(as_json=as_json))


async def _leases(*, as_json: bool) -> int:
    from console.clock import SystemClock
    from console.operations.lease.legacy import lease_legacy
    from console.operations.unended import told

    clock = SystemClock()
    legacy = lease_legacy(clock)
    claims = await legacy.claims()
    now_s = clock.wall_s()
    if as_json:
        for claim in claims:
            typer.echo(json.dumps({**asdict(claim), "remaining_s": round(claim.until_wall_s - now_s, 1)}))
    elif not claims:
        note("nothing is held by a run of this machine")
    else:
        for line in _table(claims, now_s):
            typer.echo(printable(line))
    dead = [claim for claim in claims if not claim.alive]
    if dead and not as_json:
        note(f"{len(dead)} left behind by dead runs; next: pooldeck mend --plan")
    if not as_json:
        for one in await legacy.unended():
            note(printable(told(one)))
    return ExitCode.OK


def _table(claims: tuple[Claim, ...], now_s: float) -> list[str]:
    rows = [("TARGET", "FLEET", "BY", "SINCE", "ENDS")]
    for claim in claims:
        target = claim.bouncer if claim.database is None else f"{claim.bouncer}/{claim.database}"
        left_s = claim.until_wall_s - now_s
        ends = f"in {max(0, left_s):.0f} s" if claim.alive else "never: left behind"
        rows.append((target, claim.fleet, claim.who, f"{max(0, now_s - claim.since_wall_s):.0f} s", ends))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
