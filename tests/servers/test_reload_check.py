"""What the lint says of a file is what a real PgBouncer does with it: each mistake is made and reloaded.

Two things have to hold for every row on every version: RELOAD fails exactly when the table says so, and then
the lint told an error; and when it does not fail, settings, databases and peers read exactly as expected.
"""

from __future__ import annotations

import pytest

from console.config.pgbouncer_lint_files import Lint
from console.model.version import Version
from console.operations.reload_check import mismatches
from tests.harness.servers import MakePgBouncer
from tests.servers.reload_kit import Bench
from tests.servers.reload_rows import FAILS, GRAMMAR, LOCKS, OPTIONS, OTHER_FILES, SETTINGS, Row

REPORTS_FAILURE = Version(1, 25)
PEERS = Version(1, 19)
TABLES = {"settings": SETTINGS, "grammar": GRAMMAR, "options": OPTIONS, "other files": OTHER_FILES}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_what_is_told_of_a_mistake_is_what_pgbouncer_does_with_it(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, rows: tuple[Row, ...]
) -> None:
    with Bench(make_pgbouncer(pgbouncer_version)) as bench:
        wrong = {row.name: found for row in rows if (found := _wrong(bench, row)) is not None}
    assert not wrong


def _wrong(bench: Bench, row: Row) -> str | None:
    """Make the mistake and return how lint, table and pooler disagree; None when they do not."""
    console = bench.console
    before = console.observe()
    does, rule = row.expected(before.version)
    with bench.mended():
        row.edit(bench)
        told = bench.lint(before)
        reloaded = console.reload()
        rules = [finding.rule for finding in told.findings]
        if (rule is not None and rule not in rules) or (rule is None and rules):
            return f"expected {rule}, told {rules}"
        if reloaded.failed is not (does == FAILS):
            return f"the table says {does}: {reloaded}"
        if reloaded.failed and before.version >= REPORTS_FAILURE and "F0000" not in reloaded.answer:
            return f"it reports {reloaded.answer}"
        if reloaded.failed:
            return None if told.errors else "RELOAD fails, and no error was told"
        if console.lets_in() is not (does != LOCKS):
            return f"the table says {does}, a new login says otherwise"
        return _not_as_expected(bench, told)


def _not_as_expected(bench: Bench, told: Lint) -> str | None:
    after = bench.console.observe()
    peers = bench.console.peers() if after.version >= PEERS else None
    found = mismatches(told.expected, after, after, peers)
    return f"not as expected: {found}" if found else None
