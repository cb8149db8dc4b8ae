"""The options of verbs: made from `console.operations.verbs` and what all share, and read into a `Wish`.

It reads and refuses; it plans nothing. What a number means is told by its own flag.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from console.cli.context import bouncers_and_nodes
from console.errors import UsageError
from console.operations.rollout_options import rollout_options
from console.operations.verb import Option, Verb

_REQUIRED = inspect.Parameter.empty
_AGREE = "Plan and agreement"
_MANY = "Several targets"
_OUTPUT = "Output"
_GROUPS = (_AGREE, _MANY, _OUTPUT)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    op: str
    selector: str
    parameters: Mapping[str, Any]
    """Fields of the verb's `Parameters`, `timeout_s` included."""
    rollout: Mapping[str, Any]
    """Fields of `Rollout` that were given, as typed."""
    plan_only: bool
    save: Path | None
    approve: str | None
    yes: bool
    confirm: str | None
    reason: str | None
    as_json: bool
    verbose: bool
    command: str
    """The command without what concerns plan and output: what a plan is the plan of."""


_SHARED = (
    Option("plan", "--plan", "", "Show what would be done, and end.", "switch"),
    Option("save", "--save", "FILE", "Like --plan, and write the plan to FILE.", default=""),
    Option(
        "approve",
        "--approve",
        "HASH|FILE",
        "Run exactly this plan, made by --plan or --save; refused if anything has moved.",
        default="",
    ),
    Option("yes", "--yes/-y", "", "Agree without being asked (see --confirm).", "switch"),
    Option(
        "confirm", "--confirm", "TEXT", "What would have to be typed, e.g. the target's name.", default=""
    ),
    Option("reason", "--reason", "TEXT", "Why; kept in the audit log.", default=""),
)
_SHOW = (
    Option("as_json", "--json", "", "JSON, one object a line.", "switch"),
    Option("verbose", "--verbose/-v", "", "Every target in full.", "switch"),
)
_BESIDE = frozenset({"plan", "save", "approve", "yes", "confirm", "as_json", "verbose"})
"""Not part of what a plan is the plan of."""


class VerbCommand(TyperCommand):
    """A verb's command: its help has the options in groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return `[OPTIONS] SELECTOR PID...`."""
        named = [_argument_name(param) for param in self.get_params(ctx) if _is_argument(param)]
        return [self.options_metavar or "", *named]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, the verb's own first."""
        groups: dict[str, list[tuple[str, str]]] = {}
        params: list[Any] = self.get_params(ctx)
        for param in params:
            if _is_argument(param):
                groups.setdefault("Arguments", []).append((_argument_name(param), param.help or ""))
                continue
            record = param.get_help_record(ctx)
            panel = getattr(param, "rich_help_panel", None) or _OUTPUT
            if record is not None:
                groups.setdefault(panel, []).append(record)
        own = [name for name in groups if name not in _GROUPS]
        for name in (*own, *_GROUPS):
            if groups.get(name):
                with formatter.section(name):
                    formatter.write_dl(groups[name], col_max=26)


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _argument_name(param: Any) -> str:
    return f"{param.metavar}{'' if param.nargs == 1 else '...'}"


def command_of(verb: Verb, run: Callable[[typer.Context, Wish], int]) -> Callable[..., int]:
    """Return the function that typer makes the command of `verb` from; it hands its wish to `run`."""
    # Each verb has other options, so the signature that typer reads is made, not written.
    timeout = Option("timeout_s", "--timeout", "TIME", verb.timeout_help, "duration", f"{verb.timeout_s:g}")
    own = (*verb.options, timeout)
    selector = _parameter("selector", Annotated[str, _selector(verb)], verb.default_selector or _REQUIRED)
    ordered = sorted(own, key=lambda it: it.flag is not None)
    first = (selector, *(_of_option(option, verb.title) for option in ordered))
    parameters = [
        _parameter("context", typer.Context),
        *sorted(first, key=lambda it: it.name == "selector" and verb.selector_flag is not None),
        *(_of_option(_named_for(option, verb), _AGREE) for option in _SHARED),
        *(_of_option(option, _MANY) for option in rollout_options(verb).values()),
        *(_of_option(option, _OUTPUT) for option in _SHOW),
    ]

    def command(**given: Any) -> int:
        context: typer.Context = given.pop("context")
        _refuse_empty(context, verb, given)
        return run(context, _wish(verb, own, given, _globals(context)))

    command.__name__ = verb.name
    command.__doc__ = verb.summary
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameter(name: str, annotation: Any, default: Any = _REQUIRED) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _named_for(option: Option, verb: Verb) -> Option:
    """Return a shared option under the names that it has with `verb`."""
    if option.field != "plan" or verb.plan_flag is None:
        return option
    return replace(option, flag=f"{option.flag}/{verb.plan_flag}")


def _selector(verb: Verb) -> Any:
    given = verb.default_selector
    if verb.selector_flag is not None:
        return typer.Option(
            verb.selector_flag,
            metavar="SELECTOR",
            help=f"{verb.targets} Default: {given}.",
            show_default=False,
            rich_help_panel=verb.title,
            autocompletion=bouncers_and_nodes,
        )
    name = verb.single or "SELECTOR"
    return typer.Argument(
        metavar=name if given is None else f"[{name}]",
        help=verb.targets if given is None else f"{verb.targets} Default: {given}.",
        show_default=False,
        autocompletion=bouncers_and_nodes,
    )


def _of_option(option: Option, panel: str) -> inspect.Parameter:
    """Return the parameter that typer makes `option` from."""
    complete = (lambda: list(option.choices)) if option.choices else None
    metavar = option.metavar or None
    if option.flag is None:
        kind: Any = list[str] if option.is_many else str
        annotation = Annotated[
            kind, typer.Argument(metavar=metavar, help=option.help, autocompletion=complete)
        ]
        return _parameter(option.field, annotation, _default(option))
    flags = option.flag.split("/")
    if option.kind == "switch":
        return _parameter(
            option.field,
            Annotated[bool, typer.Option(*flags, help=option.help, rich_help_panel=panel)],
            False,
        )
    kind = list[str] if option.is_many else str
    made = typer.Option(
        *flags,
        metavar=metavar,
        help=option.help,
        rich_help_panel=panel,
        show_default=bool(option.default),
        autocompletion=complete,
    )
    return _parameter(option.field, Annotated[kind, made], _default(option))


def _default(option: Option) -> Any:
    """Return what typer takes for the default: none at all makes it required."""
    if option.default is None:
        return _REQUIRED
    return [] if option.is_many else option.default


def _refuse_empty(context: typer.Context, verb: Verb, given: Mapping[str, Any]) -> None:
    """Refuse an option that is there without a value.

    A variable that a script has not set must not make `--save "$FILE"` a real run, or lift a limit.

    Raises:
        UsageError: one is empty.
    """
    for option in (*_SHARED, *rollout_options(verb).values()):
        source = context.get_parameter_source(option.field)
        if given[option.field] == "" and source is not None and source.name == "COMMANDLINE":
            raise UsageError("it is empty", where=option.flag or "", hint="give it a value, or leave it out")


def _wish(verb: Verb, own: Iterable[Option], given: Mapping[str, Any], before: str) -> Wish:
    """Read what typer found.

    Raises:
        UsageError: a value makes no sense, or two options exclude one another.
    """
    save = Path(given["save"]) if given["save"] else None
    approve = given["approve"] or None
    if approve and (given["plan"] or save):
        raise UsageError("--plan and --save show a plan, --approve runs one", hint="choose one of them")
    return Wish(
        op=verb.name,
        selector=given["selector"],
        parameters={option.field: _value(option, given[option.field]) for option in own},
        rollout={field: given[field] for field in rollout_options(verb) if given[field]},
        plan_only=given["plan"] or save is not None,
        save=save,
        approve=approve,
        yes=given["yes"],
        confirm=given["confirm"] or None,
        reason=given["reason"] or None,
        as_json=given["as_json"],
        verbose=given["verbose"],
        command=_command_text(verb, own, given, before),
    )


def _value(option: Option, value: Any) -> Any:
    """Return a value as the verb's `Parameters` takes it."""
    where = option.flag or option.metavar
    if option.kind == "duration":
        from console.operations.duration import parse_duration

        return parse_duration(value, where=where)
    texts = value if isinstance(value, list) else [value]
    if option.choices and option.kind != "switch":
        for text in texts:
            if text not in option.choices and text != option.default:
                raise UsageError(f"{text!r} is none of {', '.join(option.choices)}", where=where)
    return tuple(value) if option.is_many else value


def _globals(context: typer.Context) -> str:
    """Return the options before the verb that a command to be pasted needs."""
    fleet = context.find_root().params.get("fleet")
    return f"pooldeck --fleet {shlex.quote(str(fleet))}" if fleet else "pooldeck"


def _command_text(verb: Verb, own: Iterable[Option], given: Mapping[str, Any], before: str) -> str:
    words = [before, verb.name]
    selector = shlex.quote(given["selector"])
    if verb.selector_flag is None:
        words.append(selector)
    for option in (*own, *_SHARED, *rollout_options(verb).values()):
        value = given[option.field]
        given_empty = option.flag is None and value == ""
        if option.field in _BESIDE or value == _default(option) or not (value or given_empty):
            continue
        flag = option.flag.split("/")[0] if option.flag else ""
        if value is True:
            words.append(flag)
        elif option.flag is None:
            words += [shlex.quote(text) for text in (value if isinstance(value, list) else [value])]
        else:
            words += [
                f"{flag} {shlex.quote(text)}" for text in (value if isinstance(value, list) else [value])
            ]
    if verb.selector_flag is not None:
        words += [verb.selector_flag, selector]
    return " ".join(words)
