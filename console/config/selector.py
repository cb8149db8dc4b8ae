"""The selector language, the same on the command line, in the console and in playbooks.

    edge-*              nodes by name: `*` any characters, `?` one, `[ab]` one of these
    edge-1a/app         one database of a node; globs work in it too: `edge-*/app_*`
    @zone=a             nodes by label; globs in the value; `@zone` is any that has the label
    @zone=a/app         a database of those
    all                 every node
    edge-*,@zone=b      union
    !edge-1b            without

Terms are read from left to right: each adds to what is chosen so far, each `!` takes away from it. A selector
that begins with `!` begins from `all`. So `edge-*,!edge-1b` and `!edge-2a` read as they sound, and
`!edge-1b,edge-1b` ends with edge-1b chosen. Case counts. Spaces around a term do not. A part in double quotes
is taken as it is: `edge-1a/"a,b*c"`; a doubled quote in it is one quote.

Every term must match a node, the `!` ones too: a typo in what to leave out would otherwise act on more than
was meant. Databases are not known here: `Selected.choose` picks them from a pooler's own list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

from console.errors import SelectorError

EVERYTHING = "all"
_GRAMMAR_HINT = (
    "write names or globs (edge-*), edge-1a/app, @label=value or all; commas between, ! for without"
)
_GLOB = re.compile(r"[*?\[]")


class Selectable(Protocol):
    """What can be selected: a bouncer or a Postgres node of the inventory, or a row of a snapshot."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Word:
    """One part of a term: a glob, or an exact text when it was quoted or has no glob character."""

    text: str
    exact: bool

    def matches(self, value: str) -> bool:
        """Say whether `value` is meant."""
        return value == self.text if self.exact else fnmatchcase(value, self.text)


_ANY = Word("*", exact=False)


@dataclass(frozen=True, slots=True)
class Besides:
    """Nodes that exist and cannot be chosen here; only the words of an error come from them."""

    nodes: Sequence[Selectable]
    kind: str
    """What each of them is, e.g. `a bouncer`."""
    wanted: str
    """What is chosen from, as a clause, e.g. `cancel acts on Postgres nodes`."""


@dataclass(frozen=True, slots=True)
class Selected:
    """One node, or some databases of it."""

    name: str
    database: str | None = None
    """None: the node as a whole. Else a database's name when `is_exact`, or a glob for `choose`."""
    is_exact: bool = True
    """False: `database` is a glob."""
    without: tuple[Word, ...] = ()
    """Databases taken away from what the glob matches; () for an exact one."""

    def matches(self, database: str) -> bool:
        """Say whether `database` of this node is chosen."""
        if self.database is None:
            return True
        word = Word(self.database, self.is_exact)
        return word.matches(database) and not any(other.matches(database) for other in self.without)

    def choose(self, databases: Iterable[str]) -> tuple[str, ...]:
        """Return those of a pooler's `databases` that are chosen, in their order; () when none is."""
        return tuple(database for database in databases if self.matches(database))

    def __str__(self) -> str:
        return self.name if self.database is None else f"{self.name}/{self.database}"


@dataclass(frozen=True, slots=True)
class Term:
    """One term between commas."""

    text: str
    """As it was typed, without spaces around it."""
    is_without: bool
    node: Word
    """For a label: its value."""
    label: str | None
    """The label's name; None: `node` is a node's name."""
    database: Word | None

    def matches(self, node: Selectable) -> bool:
        """Say whether `node` is meant, whatever the database."""
        if self.label is None:
            return self.node.matches(node.name)
        value = node.labels.get(self.label)
        return value is not None and self.node.matches(value)


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that has been read; make one with `parse_selector`."""

    text: str
    terms: tuple[Term, ...]

    def select(self, nodes: Sequence[Selectable], besides: Besides | None = None) -> tuple[Selected, ...]:
        """Return what is chosen, in the order of `nodes`; a node's databases in the order they were named.

        Args:
            nodes: what can be chosen.
            besides: what a term may name by mistake; None: nothing else exists.

        Raises:
            SelectorError: a term matches no node, or nothing is left in the end.
        """
        chosen: dict[str, tuple[Selected, ...]] = {}
        if self.terms[0].is_without:
            chosen = {node.name: (Selected(node.name),) for node in nodes}
        for term in self.terms:
            matched = [node for node in nodes if term.matches(node)]
            if not matched:
                raise _no_match(term, nodes, besides)
            for node in matched:
                change = _taken_away if term.is_without else _added
                chosen[node.name] = change(chosen.get(node.name, ()), node.name, term.database)
        result = tuple(part for node in nodes for part in chosen.get(node.name, ()))
        if not result:
            raise SelectorError(f"the selector {self.text!r} chooses nothing: all was taken away again")
        return result

    def __str__(self) -> str:
        return self.text


def parse_selector(text: str) -> Selector:
    """Read a selector.

    Raises:
        SelectorError: it is empty or a term cannot be read; the term is named.
    """
    if not text.strip():
        raise SelectorError("the selector is empty", hint="write all for the whole fleet")
    return Selector(text.strip(), tuple(_term(part, text) for part in _split(text, ",")))


def _added(parts: tuple[Selected, ...], name: str, database: Word | None) -> tuple[Selected, ...]:
    if database is None:
        return (Selected(name),)
    part = Selected(name, database.text, database.exact)
    if part in parts or any(known.database is None for known in parts):
        return parts
    if database.exact and any(known.matches(database.text) for known in parts):
        return parts
    return (*parts, part)


def _taken_away(parts: tuple[Selected, ...], name: str, database: Word | None) -> tuple[Selected, ...]:
    if database is None or database == _ANY:
        return ()
    left = []
    for part in parts:
        if part.database is None:
            left.append(Selected(name, _ANY.text, False, (database,)))
        elif part.is_exact:
            if not database.matches(part.database):
                left.append(part)
        elif database.exact or database.text != part.database:
            left.append(Selected(name, part.database, False, (*part.without, database)))
    return tuple(left)


def _term(part: str, whole: str) -> Term:
    text = part.strip()
    is_without = text.startswith("!")
    body = text[1:].strip() if is_without else text
    where, *database = _split(body, "/", at_most=1)
    label, value = _label(where, text)
    if not (label is not None or value) or (database and not database[0]):
        what = f"the term {text!r} of {whole.strip()!r}" if text else f"a term of {whole.strip()!r}"
        raise SelectorError(f"{what} is not complete", hint=_GRAMMAR_HINT)
    word = _word(value, text)
    if label is None and value == EVERYTHING:
        word = _ANY
    return Term(text, is_without, word, label, _word(database[0], text) if database else None)


def _label(where: str, term: str) -> tuple[str | None, str]:
    """Return the label's name and the glob of its value; (None, `where`) when it is no label."""
    if not where.startswith("@"):
        return None, where
    label, equals, value = where[1:].partition("=")
    if not label or (equals and not value):
        raise SelectorError(f"the term {term!r} is not complete", hint="write @label=value, as in @zone=a")
    return label, value if equals else _ANY.text


def _word(text: str, term: str) -> Word:
    if text.startswith('"'):
        inner = text[1:-1]
        if len(text) < 3 or not text.endswith('"') or '"' in inner.replace('""', ""):
            raise SelectorError(f'in the term {term!r} the quotes do not match: write "name"')
        return Word(inner.replace('""', '"'), exact=True)
    return Word(text, exact=_GLOB.search(text) is None)


def _split(text: str, separator: str, at_most: int = -1) -> list[str]:
    """Split at separators outside double quotes."""
    parts = [""]
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character == separator and not quoted and (at_most < 0 or len(parts) <= at_most):
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _no_match(term: Term, nodes: Sequence[Selectable], besides: Besides | None) -> SelectorError:
    other = (
        next((node for node in besides.nodes if term.matches(node)), None) if besides is not None else None
    )
    if besides is not None and other is not None:
        before = "" if term.text == other.name else f"{term.text!r}: "
        return SelectorError(
            f"{before}{other.name} is {besides.kind}, and {besides.wanted}",
            hint=_near(term.node.text, [node.name for node in nodes], "name"),
        )
    if term.label is None:
        names = [node.name for node in nodes]
        message = f"{term.text!r} matches no node"
        wanted, kind = term.node.text, "node"
    else:
        with_label = [node for node in nodes if term.label in node.labels]
        if with_label:
            names = sorted({node.labels[term.label] for node in with_label})
            message = f"{term.text!r} matches no node: none has that value of the label {term.label}"
            wanted, kind = term.node.text, "value"
        else:
            names = sorted({label for node in nodes for label in node.labels})
            message = f"{term.text!r} matches no node: none has the label {term.label}"
            wanted, kind = term.label, "label"
    return SelectorError(message, hint=_near(wanted, names, kind))


def _near(wanted: str, names: list[str], kind: str) -> str:
    """Return the names most like `wanted`, or all of them when they are few."""
    plain = _GLOB.sub("", wanted).lower()
    lowered = {name.lower(): name for name in reversed(names)}
    close = [lowered[name] for name in get_close_matches(plain, lowered, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return f"this fleet has no {kind}"
    shown = ", ".join(names[:8])
    return f"{kind}s here: {shown}{', …' if len(names) > 8 else ''}"
