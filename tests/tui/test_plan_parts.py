"""How a plan shows files that change and steps in order: coloured, aligned, nothing cut off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from console.tui.plan_text import ascii_section
from tests.tui.apps.parts import PartApp
from widgets.plan_view import PlannedStep, PlanView, Section

sizes = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
DIFF = Section(
    "Files of edge-1a",
    diff=(
        "/etc/pgbouncer/pgbouncer.ini:",
        "@@ -1,4 +1,4 @@",
        " [databases]",
        "-app = host=10.0.0.5 port=5432 dbname=app pool_mode=transaction password=(not shown)",
        "+app = host=10.0.0.5 port=5432 dbname=app pool_mode=transaction pool_size=40 password=(not shown)",
        "  indented = yes",
        "+",
        "/etc/pgbouncer/more.ini:",
        "@@ -0,0 +1,1 @@",
        "+query_timeout = 30",
    ),
)
STEPS = Section(
    "In this order: 3 steps",
    steps=(
        PlannedStep("here", "compute the new verifier", "the secret is strong and not the old one"),
        PlannedStep(
            "edge-1a, edge-1b, edge-2a, edge-2b, edge-3a",
            "PAUSE, under a lease; for 20 s at the most after that",
            "all drained within 5 s, or RESUME everywhere and nothing has changed",
        ),
        PlannedStep("pg-1", "ALTER ROLE \"webshop\" PASSWORD 'SCRAM-SHA-256$4096:…'", "pg_authid has it"),
    ),
)


@sizes
def test_diff_and_steps(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    assert snap_compare(PartApp(PlanView([STEPS, DIFF])), terminal_size=size)


def test_both_have_an_ascii_form() -> None:
    for section in (ascii_section(STEPS), ascii_section(DIFF)):
        assert all(line.isascii() for line in section.diff)
        assert all(f"{one.where}{one.what}{one.then}".isascii() for one in section.steps)
