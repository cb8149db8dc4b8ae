"""The import contracts, proved at run time: static analysis cannot see a deferred import."""

from __future__ import annotations

import subprocess
import sys

import pytest

DRAWING = {"textual", "rich", "widgets"}


def _top_levels_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "console.model.fleet",
        "console.config.load",
        "console.transport.ssh",
        "console.poolers.connect",
        "console.fleet.collector",
        "console.operations.service",
        "console.audit.journal",
        "console.lab.fleet",
        "console.view.fleet",
    ],
)
def test_below_the_screens_nothing_draws(module: str) -> None:
    assert not DRAWING & _top_levels_after(f"import {module}")


def test_view_needs_no_driver() -> None:
    loaded = _top_levels_after("import console.view.fleet, console.view.pools")
    assert not {"psycopg", "asyncpg", "paramiko", "pydantic"} & loaded


def test_widgets_know_nothing_of_poolers() -> None:
    loaded = _top_levels_after("import widgets.grid, widgets.sparkline, widgets.confirm")
    assert not {name for name in loaded if name == "console" or name.startswith("console.")}


def test_the_command_line_starts_without_what_help_does_not_need() -> None:
    loaded = _top_levels_after("import console.cli.main")
    assert not {"textual", "psycopg", "asyncpg", "paramiko", "pydantic"} & loaded
