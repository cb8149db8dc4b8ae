"""The shape of a verb as words: its name, help and options.

Only the standard library is imported here, so that `pooldeck --help` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BOUNCERS = "Bouncers, @label=value, all."
NODE = "NODE"
"""What `Verb.single` calls a Postgres node."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a verb can be told besides its targets: a flag, and a field of its `Parameters`."""

    field: str
    """Of the verb's `Parameters`, e.g. `hold_s`."""
    flag: str | None
    """`--for`; None: a positional argument behind the selector."""
    metavar: str
    help: str
    kind: Literal["duration", "text", "texts", "pairs", "switch"] = "text"
    """`duration` takes `90`, `90s`, `2m`; `texts` takes one or more, `pairs` likewise, each `KEY=VALUE`;
    `switch` takes none."""
    default: str | None = None
    """As it would be typed; None: must be given (a switch: off)."""
    choices: tuple[str, ...] = ()
    names: Literal["", "target", "node", "role", "setting", "setting="] = ""
    """What it names, so that a driver that knows such names can complete it."""

    live_choice: str = ""
    """One more choice where a person can be asked while it runs, and the default there; "": there is none."""

    @property
    def is_many(self) -> bool:
        """Whether it takes more than one."""
        return self.kind in ("texts", "pairs")


@dataclass(frozen=True, slots=True)
class Verb:
    """How one operation is presented."""

    name: str
    """The command; two words when it belongs to a group of `GROUPS`."""
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
    default_selector: str | None = None
    """What is meant when none is given; None: one must be."""
    single: str | None = None
    """It takes exactly one target, and help calls that so, e.g. `NODE`; None: as many as a selector names."""
    options: tuple[Option, ...] = ()
    selector_flag: str | None = None
    """On the command line: the flag that the selector stands behind; None: it is the first argument."""
    plan_flag: str | None = None
    """On the command line: another name of --plan."""

    @property
    def names_node(self) -> bool:
        """Whether its selector names a Postgres node, whatever it acts on."""
        return self.single == NODE

    @property
    def page(self) -> str:
        """Its page in docs/operations/, without `.md`."""
        return self.name.replace(" ", "-")
