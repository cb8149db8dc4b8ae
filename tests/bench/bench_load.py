"""Bench (f): what clients feel of the verbs that there are, on every supported PgBouncer."""

from __future__ import annotations

import json
import sys

from tests.bench.load_case import Limits
from tests.bench.load_scene import Case, Scene, run_cases
from tests.bench.table import BenchRow, print_table


def pause(scene: Scene) -> None:
    """Hold everybody for a second."""
    scene.pooldeck("pause", "edge", "--for", "1s", "--yes")


def reload(scene: Scene) -> None:
    """Read the same files again; without SSH they cannot be checked first."""
    scene.pooldeck("reload", "edge", "--unchecked", "--yes")


def reconnect(scene: Scene) -> None:
    """Replace every server connection."""
    scene.pooldeck("reconnect", "edge", "--timeout", "20s", "--yes")


def kill(scene: Scene) -> None:
    """Cut every client of a database: failures are what it is for."""
    plan = json.loads(scene.shell("kill", "edge/app", "--plan", "--json").stdout)
    scene.pooldeck("kill", "edge/app", "--approve", plan["hash"])


CASES = (
    Case("pause --for 1s", pause, pgbench_s=9),
    Case("reload", reload, pgbench_s=7),
    Case("reconnect", reconnect, pgbench_s=9),
    Case("kill", kill, Limits(failed=None, closed_idle=None)),
)


def run() -> list[BenchRow]:
    """Measure them all."""
    return run_cases(CASES, letter="f", page="verbs", title="Verbs under load")


if __name__ == "__main__":
    rows = run()
    print_table(rows)
    sys.exit(0 if all(row.ok for row in rows) else 1)
