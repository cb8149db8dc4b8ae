"""The `:` command line: what can be typed, how it is completed, and what each command does.

One table, read by the command line, the palette and the help screen alike. Operations are not listed by
hand: each verb of the registry is a command. No command acts: an operation opens its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from console.errors import UsageError
from console.operations.verb import Verb
from console.operations.verbs import GROUPS
from console.tui import wishes
from widgets.command_line import Completion

if TYPE_CHECKING:
    from console.tui.app import PooldeckApp

Complete = Callable[["PooldeckApp"], Sequence[str]]


def _nothing(_app: PooldeckApp) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    name: str
    argument: str
    """How the argument is written, `[SELECTOR]`; "" for none."""
    help: str
    run: Callable[[PooldeckApp, str], None]
    """Raises `UsageError` for an argument that cannot be used."""
    values: Complete = _nothing
    """What the argument may be, for completion."""
    aliases: tuple[str, ...] = ()
    verb: Verb | None = None
    """The operation whose plan it opens; None: it shows something."""

    @property
    def usage(self) -> str:
        """As typed: `:pools [SELECTOR]`."""
        return f":{self.name} {self.argument}".rstrip()


def commands_of(app: PooldeckApp) -> tuple[Command, ...]:
    """Return every command: the views, then the verbs of the registry."""
    return (*VIEW_COMMANDS, *(_operation(verb) for verb in app.verbs))


def _operation(verb: Verb) -> Command:
    def run(app: PooldeckApp, argument: str) -> None:
        app.operating.open_plan(verb.name, argument)

    default = "of the marked rows, or the row under the cursor"
    if verb.default_selector is not None:
        default = f"of {verb.default_selector}"
    return Command(
        verb.name,
        wishes.usage(verb),
        f"{verb.summary} Opens the plan; without a selector: {default}.",
        run,
        _targets,
        verb=verb,
    )


def find(app: PooldeckApp, name: str) -> Command:
    """Find a command by name, alias or unambiguous beginning.

    Raises:
        UsageError: there is none, or several begin so.
    """
    known = commands_of(app)
    for command in known:
        if name == command.name or name in command.aliases:
            return command
    begun = [command for command in known if command.name.startswith(name) and command.verb is None]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise UsageError(f":{name} is short for several: {', '.join(c.name for c in begun)}")
    names = [word for command in known for word in (command.name, *command.aliases)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean :{near[0]}?" if near else ":help lists the commands"
    raise UsageError(f"there is no command :{name}; {hint}")


def run(app: PooldeckApp, line: str) -> None:
    """Carry out what was typed after the colon.

    Raises:
        UsageError: no such command, or its argument cannot be used.
    """
    name, argument = _split(app, line.strip())
    if not name:
        return
    command = find(app, name)
    if argument.strip() and not command.argument:
        raise UsageError(f":{command.name} takes no argument")
    command.run(app, argument.strip())


def _split(app: PooldeckApp, line: str) -> tuple[str, str]:
    """Return a command's name, which may have two words, and what stands behind it."""
    name, _, argument = line.partition(" ")
    if name in GROUPS:
        word, _, rest = argument.lstrip().partition(" ")
        if not word:
            words = [verb.name.partition(" ")[2] for verb in app.verbs if verb.name.startswith(f"{name} ")]
            raise UsageError(f":{name} wants one of {', '.join(words)}")
        return f"{name} {word}", rest
    return name, argument


def complete(app: PooldeckApp, text: str, cursor: int) -> list[Completion]:
    """Return what the word before the cursor may become, best first; [] when nothing fits."""
    typed = text[:cursor]
    known = commands_of(app)
    name, space, argument = typed.partition(" ")
    if space and name in GROUPS:
        word, space, argument = argument.partition(" ")
        name = f"{name} {word}"
    if not space:
        cannot = app.operating.judge_rows()
        return [
            Completion(command.name, _described(command, cannot), 0)
            for command in known
            if command.name.startswith(name)
        ]
    command = next((c for c in known if name == c.name or name in c.aliases), None)
    if command is None:
        return []
    if command.verb is not None:
        found = wishes.completions(command.verb, argument, app.names.of)
        return [Completion(value, help_, len(name) + 1 + start) for value, help_, start in found]
    # In a list with commas the last part is completed; a `!` before it stays.
    start = max(argument.rfind(","), argument.rfind("!"), argument.rfind(" ")) + 1
    last = argument[start:]
    return [
        Completion(value, "", len(name) + 1 + start)
        for value in command.values(app)
        if value.startswith(last) and value != last
    ]


def _described(command: Command, cannot: Callable[[Verb], str | None]) -> str:
    if command.verb is not None:
        missing = cannot(command.verb)
        return command.verb.summary if missing is None else f"not here: {missing}"
    return f"{command.argument}  {first_sentence(command.help)}".strip()


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop."""
    return text.partition(". ")[0].rstrip(".")


def _targets(app: PooldeckApp) -> Sequence[str]:
    return app.names.targets()


def _themes(app: PooldeckApp) -> Sequence[str]:
    return [name.removeprefix("pooldeck-") for name in app.available_themes if name.startswith("pooldeck-")]


def _columns(app: PooldeckApp) -> Sequence[str]:
    return app.sortable()


def _view(name: str) -> Callable[[PooldeckApp, str], None]:
    def run(app: PooldeckApp, _argument: str) -> None:
        app.open_view(name)

    return run


def _retry(app: PooldeckApp, argument: str) -> None:
    app.operating.retry(argument)


VIEW_COMMANDS: tuple[Command, ...] = (
    Command("fleet", "", "Every bouncer and Postgres node.", _view("fleet"), aliases=("bouncers", "f")),
    Command(
        "pools",
        "[SELECTOR]",
        "Every pool of the chosen bouncers; of the whole fleet without a selector.",
        lambda app, argument: app.open_pools(argument),
        _targets,
        aliases=("p",),
    ),
    Command(
        "filter",
        "[TERMS]",
        "Show only the rows that match: db:app wait>5 !paused @zone=a, or a regular expression. "
        "Without terms: show all again.",
        lambda app, argument: app.set_filter(argument),
    ),
    Command(
        "sort",
        "[COLUMN]",
        "Sort by a column, again for the other way round. Without a column: faults first.",
        lambda app, argument: app.sort(argument),
        _columns,
    ),
    Command("faults", "", "Show only rows that need a look, or all again.", lambda app, _: app.faults_only()),
    Command(
        "freeze", "", "Stop refreshing, or go on.", lambda app, _: app.action_freeze(), aliases=("unfreeze",)
    ),
    Command(
        "retry",
        "[SELECTOR]",
        "Try to log in now to bouncers that do not answer, also to those that shut down. Without a selector: "
        "the marked rows, or the row under the cursor.",
        _retry,
        _targets,
    ),
    Command(
        "process",
        "[SELECTOR]",
        "How bouncers are supervised, and their processes: CPU, memory, open files, version. Asks hosts. "
        "Without a selector: the marked rows, or the row under the cursor.",
        lambda app, argument: app.open_processes(argument),
        _targets,
    ),
    Command("runs", "", "Operations of this session and how they ended.", _view("runs")),
    Command("leases", "", "Pauses that runs of this machine hold: whose, and until when.", _view("leases")),
    Command(
        "log", "", "What the console noticed: errors, reconnects, operations.", _view("log"), aliases=("l",)
    ),
    Command("help", "", "Keys, columns and commands.", lambda app, _: app.action_help(), aliases=("h", "?")),
    Command(
        "theme",
        "[NAME]",
        "Change the colours: dark, light; the other ones without an argument.",
        lambda app, argument: app.set_theme(argument),
        _themes,
    ),
    Command("quit", "", "Leave Pooldeck.", lambda app, _: app.action_leave(), aliases=("q", "exit")),
)
