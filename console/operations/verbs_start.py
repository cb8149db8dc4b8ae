"""The words of `start`."""

from __future__ import annotations

from console.operations.verb import BOUNCERS, Option, Verb

START = Verb(
    name="start",
    title="Start",
    summary="Start a bouncer that is down, and see that it serves.",
    help=(
        "Its host is asked whether a process of it still runs: one that shuts down, hangs or is suspended is "
        "told and not touched. Its configuration files are read and checked for the version that is to be "
        "started; files with an error are refused, with their place. Then it is started as "
        "[bouncers.process] of the inventory says; the plan shows the command.\n\n"
        "It has gone well when a new process answers, of the expected version and as its files say, and lets "
        "a client in. One that does not come up fails, with the last lines of its log. A bouncer that "
        "answers is left alone. `pooldeck shutdown` stops one."
    ),
    timeout_help="How long it may take from the start until it serves.",
    timeout_s=20.0,
    targets=BOUNCERS,
    options=(
        Option("expect_version", "--expect-version", "VERSION", "What it must be, e.g. 1.26.", default=""),
    ),
)
