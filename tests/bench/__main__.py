"""`make bench`: every figure of one run in one table; exit 1 when one is missed."""

from __future__ import annotations

import importlib
import sys

from tests.bench.table import print_table

BENCHES = (
    *("bench_round", "bench_idle", "bench_keys", "bench_grid", "bench_help", "bench_pause"),
    *("bench_load", "bench_switchover", "bench_restart", "bench_rotate", "bench_config"),
)


def main() -> int:
    """Run all benches, or those named on the command line."""
    rows = []
    for name in sys.argv[1:] or BENCHES:
        sys.stderr.write(f"running {name} …\n")
        rows += importlib.import_module(f"tests.bench.{name}").run()
    print_table(rows)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
