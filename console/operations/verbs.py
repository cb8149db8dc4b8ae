"""The verbs as words: name, title, summary and help of each, for the command line, palette and docs.

Only the standard library is imported here, so that `pooldeck --help` stays quick. What a verb does is
`console.operations.registry`'s.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """How one operation is presented."""

    name: str
    """The command, and the name of its page in docs/operations/."""
    title: str
    """For the palette, e.g. `Pause`."""
    summary: str
    """One line."""
    help: str
    """Paragraphs for `--help` and the help panel."""
    timeout_help: str
    """What `--timeout` bounds."""


PAUSE = Verb(
    name="pause",
    title="Pause",
    summary="Hold the clients of a bouncer or database.",
    help=(
        "Waits until every server connection of the target is released, then holds its clients. If that "
        "is not reached within --timeout, or anything else goes wrong, the target is resumed at once and "
        "the pause is reported as failed.\n\n"
        "A pause that was reached STAYS until `pooldeck resume` ends it. Clients wait meanwhile; the first "
        "are cut after query_wait_timeout."
    ),
    timeout_help="Seconds in which the target must be drained; then it is resumed again.",
)
RESUME = Verb(
    name="resume",
    title="Resume",
    summary="Let the clients of a paused bouncer or database go on.",
    help=(
        "Ends a pause and reads back that it is over. Resuming a bouncer does not lift the pause of a "
        "single database: that needs `pooldeck resume NAME/DATABASE`; the plan names those that stay."
    ),
    timeout_help="Seconds for the pooler's answer.",
)
RELOAD = Verb(
    name="reload",
    title="Reload",
    summary="Make a bouncer read its configuration again.",
    help=(
        "Settings and databases are read before and after, over sessions opened before. The differences are "
        "reported, and a reload that made the pooler fall back to its compiled defaults (what an unreadable "
        "file does) is reported as failed, also by versions that answer success."
    ),
    timeout_help="Seconds for the pooler's answer.",
)
VERBS: tuple[Verb, ...] = (PAUSE, RESUME, RELOAD)
