"""What is typed behind a verb: `:pause all for=60s serial=1,100% reason="change 4711"`.

Made from `console.operations.verbs` alone: no verb is known here. It reads, completes and refuses; it plans
nothing. A part in double quotes is kept together; in a selector the quotes stay, as its grammar wants them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from console.errors import UsageError
from console.operations.duration import parse_duration
from console.operations.rollout import Rollout
from console.operations.rollout_options import rollout_of, rollout_options
from console.operations.verb import Option, Verb

_PART = re.compile(r'(?:[^\s"]|"(?:[^"]|"")*"?)+')
_KEYED = re.compile(r"(?:--)?(?P<key>[a-z][a-z-]*)=(?P<value>.*)", re.DOTALL)
_REASON = Option("reason", "--reason", "TEXT", "Why; kept in the audit log.")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    op: str
    selector: str
    """"" where none was written."""
    parameters: Mapping[str, Any]
    """Fields of the verb's `Parameters`."""
    rollout: Rollout | None = None
    """None: the verb's own waves."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One word as typed, quotes included, and where it begins."""

    text: str
    start: int


def parts_of(text: str) -> list[Part]:
    """Split at blanks outside quotes; what follows a comma belongs to what is before it."""
    found: list[Part] = []
    for match in _PART.finditer(text):
        part = Part(match[0], match.start())
        if found and (found[-1].text.endswith(",") or part.text.startswith(",")):
            part = Part(text[found[-1].start : match.end()], found.pop().start)
        found.append(part)
    return found


def flags_of(verb: Verb) -> dict[str, Option]:
    """Return what can be written as `key=value` or as a switch, by key."""
    timeout = Option("timeout_s", "--timeout", "TIME", verb.timeout_help, "duration", f"{verb.timeout_s:g}")
    own = [option for option in verb.options if option.flag]
    flags = [*own, timeout, _REASON, *rollout_options(verb).values()]
    return {_key(option): option for option in flags}


def positionals_of(verb: Verb) -> list[Option]:
    """Return what stands behind the selector, in order."""
    return [option for option in verb.options if option.flag is None]


def wants_more(verb: Verb) -> bool:
    """Say whether something must be given besides the targets."""
    return any(
        (option.default is None and option.kind != "switch") or option.kind == "pairs"
        for option in verb.options
    )


def usage(verb: Verb) -> str:
    """Return how it is written: `[SELECTOR] KEY VALUE [timeout=TIME]`."""
    words = [verb.single or ("SELECTOR" if positionals_of(verb) else "[SELECTOR]")]
    words += [option.metavar + ("..." if option.is_many else "") for option in positionals_of(verb)]
    for option in verb.options:
        if option.flag is None:
            continue
        word = _key(option) if option.kind == "switch" else f"{_key(option)}={option.metavar}"
        words.append(word if option.default is None and option.kind != "switch" else f"[{word}]")
    return " ".join(words)


def parse(verb: Verb, text: str, *, serial: str) -> Wish:
    """Read what was typed behind a verb.

    Args:
        verb: the verb.
        text: what stands behind its name.
        serial: its own waves.

    Raises:
        UsageError: it cannot be read; the text says what is expected.
    """
    flags = flags_of(verb)
    given: dict[str, Any] = {}
    bare: list[str] = []
    for part in parts_of(text):
        keyed = _flag(verb, flags, part.text)
        if keyed is None:
            bare.append(part.text)
            continue
        option, value = keyed
        if option.field in given:
            raise UsageError(f"{verb.name}: {_key(option)} is given twice")
        given[option.field] = value
    selector, rest = (bare[0], bare[1:]) if bare else ("", [])
    given |= _positionals(verb, [_unquoted(word) for word in rest])
    for option in verb.options:
        if option.flag and option.default is None and option.kind != "switch" and option.field not in given:
            raise UsageError(f"{verb.name} wants {_key(option)}={_expected(option)}")
    reason = given.pop("reason", None)
    rollout = rollout_of({field: given.pop(field, "") for field in rollout_options(verb)}, serial)
    return Wish(verb.name, selector, _defaults(verb) | given, rollout, reason or None)


def plain(verb: Verb, selector: str) -> Wish:
    """Return the wish of a verb on some targets, all else as it is by default."""
    return Wish(verb.name, selector, _defaults(verb))


def _defaults(verb: Verb) -> dict[str, Any]:
    given = {
        option.field: option.live_choice or _value(option, option.default)
        for option in verb.options
        if option.default
    }
    return {"timeout_s": verb.timeout_s} | given


def _flag(verb: Verb, flags: Mapping[str, Option], word: str) -> tuple[Option, Any] | None:
    name = word.removeprefix("--")
    option = flags.get(name)
    if option is not None and option.kind == "switch":
        return option, True
    keyed = _KEYED.fullmatch(word)
    if keyed is None:
        if word.startswith("--"):
            raise UsageError(f"{verb.name}: {_unknown(name, flags)}")
        return None
    option = flags.get(keyed["key"])
    if option is None and _takes_pairs(verb) and not word.startswith("--"):
        return None
    if option is None:
        raise UsageError(f"{verb.name}: {_unknown(keyed['key'], flags)}")
    value = _unquoted(keyed["value"])
    if option.kind == "switch":
        raise UsageError(f"{verb.name}: {_key(option)} takes no value; write {_key(option)} alone")
    if not value:
        raise UsageError(f"{verb.name}: {_key(option)}= wants {_expected(option)}")
    return option, _value(option, value)


def _takes_pairs(verb: Verb) -> bool:
    return any(option.kind == "pairs" for option in verb.options)


def _unknown(key: str, flags: Mapping[str, Option]) -> str:
    option = flags.get(key)
    if option is not None:
        return f"write {key}={_expected(option)}"
    near = get_close_matches(key, flags, n=1)
    return f"there is no {key}=; " + (f"did you mean {near[0]}?" if near else f"it takes {', '.join(flags)}")


def _positionals(verb: Verb, words: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for option in positionals_of(verb):
        if not words and option.default is not None:
            continue
        if not words:
            raise UsageError(
                f"{verb.name} wants {option.metavar} behind the target; :{verb.name} {usage(verb)}"
            )
        if option.kind == "pairs":
            given[option.field] = tuple(map(_pair, words))
            words = []
        elif option.kind == "texts":
            given[option.field] = tuple(word for text in words for word in text.split(",") if word)
            words = []
        else:
            given[option.field] = _value(option, words.pop(0))
    if words:
        raise UsageError(f"{verb.name} takes no {words[0]!r}; :{verb.name} {usage(verb)}")
    return given


def _value(option: Option, text: str) -> Any:
    where = _key(option)
    if option.kind == "duration":
        return parse_duration(text, where=where)
    if option.choices and text not in choices_of(option):
        raise UsageError(f"{text!r} is none of {', '.join(choices_of(option))}", where=where)
    return tuple(word for word in text.split(",") if word) if option.is_many else text


def choices_of(option: Option) -> tuple[str, ...]:
    """Return what an option may be here, where a person watches."""
    return (*option.choices, option.live_choice) if option.live_choice else option.choices


def _key(option: Option) -> str:
    return option.flag.removeprefix("--") if option.flag else option.metavar


def _expected(option: Option) -> str:
    if option.choices:
        return f"one of {', '.join(choices_of(option))}"
    return "a time such as 30s or 2m" if option.kind == "duration" else option.metavar


def _pair(text: str) -> str:
    """Return `KEY=VALUE` without the quotes around its value."""
    key, equals, value = text.partition("=")
    return f"{key}{equals}{_unquoted(value)}"


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('""', '"')
    return text


# -- completion -------------------------------------------------------------------------------


Names = Callable[[str, str, str], Sequence[tuple[str, str]]]
"""(what is named, the selector, what was typed of it) to (name, description); see `console.tui.names`."""


def completions(verb: Verb, argument: str, names: Names) -> Iterator[tuple[str, str, int]]:
    """Yield (text, description, where it begins) for the word at the end of `argument`."""
    parts = parts_of(argument)
    open_part = parts[-1] if parts and not argument[-1:].isspace() else None
    before = parts[:-1] if open_part is not None else parts
    flags = flags_of(verb)
    word = open_part.text if open_part is not None else ""
    start = open_part.start if open_part is not None else len(argument)
    bare = [part.text for part in before if not _is_flag(part.text, flags)]
    selector = bare[0] if bare else ""
    key, equals, value = word.partition("=")
    if equals and key in flags:
        yield from _named(flags[key], value, start + len(key) + 1, selector, names)
        return
    if not bare:
        what = "node" if verb.names_node else "target"
        yield from _parts_named(word, start, names(what, "", word))
    elif option := _positional(verb, len(bare) - 1):
        yield from _named(option, word, start, selector, names)
    used = {part.text.partition("=")[0] for part in before}
    if bare or (word and not word.startswith(("@", "!"))):
        for name, option in flags.items():
            text = name if option.kind == "switch" else f"{name}="
            if name not in used and text.startswith(word) and text != word:
                yield text, option.help, start


def _positional(verb: Verb, place: int) -> Option | None:
    """Return what stands there behind the selector; the last one may take all that is left."""
    options = positionals_of(verb)
    if place >= len(options):
        return options[-1] if options and options[-1].is_many else None
    return options[place]


def _named(
    option: Option, word: str, start: int, selector: str, names: Names
) -> Iterator[tuple[str, str, int]]:
    yield from ((choice, option.help, start) for choice in choices_of(option) if choice.startswith(word))
    if not option.names:
        return
    if option.is_many or option.names == "target":
        yield from _parts_named(word, start, names(option.names, selector, word.rpartition(",")[2]))
        return
    for name, help_ in names(option.names, selector, word):
        if name.startswith(word) and name != word:
            yield _quoted(name), help_, start


def _parts_named(word: str, start: int, known: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, int]]:
    """In a list with commas the last name is completed; a `!` before it stays."""
    at = max(word.rfind(","), word.rfind("!"), word.rfind(" ")) + 1
    last = word[at:]
    yield from ((name, help_, start + at) for name, help_ in known if name.startswith(last) and name != last)


def _quoted(name: str) -> str:
    """Return a name as it must be typed to be one word."""
    return name if not re.search(r'[\s",]', name) else '"' + name.replace('"', '""') + '"'


def _is_flag(word: str, flags: Mapping[str, Option]) -> bool:
    option = flags.get(word)
    return (option is not None and option.kind == "switch") or word.partition("=")[0] in flags
