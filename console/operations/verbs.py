"""The verbs as words: name, title, summary and help of each, for the command line, palette and docs.

Only the standard library is imported here, so that `pooldeck --help` stays quick. What a verb does is
`console.operations.registry`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a verb can be told besides its targets: a flag, and a field of its `Parameters`."""

    field: str
    """Of the verb's `Parameters`, e.g. `hold_s`."""
    flag: str | None
    """`--for`; None: a positional argument behind the selector."""
    metavar: str
    help: str
    kind: Literal["duration", "text", "texts", "switch"] = "text"
    """`duration` takes `90`, `90s`, `2m`; `texts` takes one or more; `switch` takes none."""
    default: str | None = None
    """As it would be typed; None: must be given (a switch: off)."""
    choices: tuple[str, ...] = ()


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
    timeout_s: float = 5.0
    """Its default."""
    targets: str = "Bouncers, NAME/DATABASE, @label=value, all."
    """What the selector may name, for `--help`."""
    options: tuple[Option, ...] = ()


PAUSE = Verb(
    name="pause",
    title="Pause",
    summary="Hold the clients of a bouncer or database.",
    help=(
        "Waits until every server connection of the targets is released, holds their clients for --for, then "
        "resumes them. If the targets are not all drained within --timeout, or anything else goes wrong, all "
        "are resumed at once and the pause is reported as failed.\n\n"
        "A pause always ends: at its time, on Ctrl-C, or when `pooldeck resume` ends it early. Should this "
        "process die, its guardian resumes; should the whole machine be cut off, a keeper on the pooler's "
        "host does."
    ),
    timeout_help="Seconds in which the targets must be drained; then they are resumed again.",
    options=(
        Option(
            "hold_s",
            "--for",
            "TIME",
            "How long clients are held, e.g. 30s or 2m; never as long as they would be cut.",
            "duration",
            "30s",
        ),
        Option(
            "detach",
            "--detach",
            "",
            "Return once it is held and leave the guardian in charge until its time is up.",
            "switch",
        ),
    ),
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
    targets="Bouncers, @label=value, all.",
)
VERBS: tuple[Verb, ...] = (PAUSE, RESUME, RELOAD)
