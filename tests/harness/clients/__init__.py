"""Clients that measure what an operation costs those who work through a bouncer: a process of its own.

`python -m tests.harness.clients` reads groups of clients as JSON from standard input, runs them over libpq
until it is told to stop, and prints one report. `ClientLoad` starts it from a test or a bench; `judge` says
whether a report holds.
"""

from tests.harness.clients.judging import Finding, judge
from tests.harness.clients.load import ClientLoad
from tests.harness.clients.report import Report
from tests.harness.clients.wish import Group

__all__ = ["ClientLoad", "Finding", "Group", "Report", "judge"]
