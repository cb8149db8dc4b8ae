"""How a key of PgBouncer's ini is named on a command line: `pool_mode`, `databases.app.pool_size=20`.

    KEY                      a setting, of `[pgbouncer]`
    SECTION.NAME             a whole line of `[databases]`, `[users]` or `[peers]`
    SECTION.NAME.OPTION      one `option=value` of that line

A name with odd characters, or one that ends like an option, stands in double quotes: `databases."x.port"`.
Pure. No message holds a value: it may be a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from console.config.pgbouncer_ini import MAIN_SECTION, SECTIONS
from console.config.pgbouncer_settings import OPTIONS
from console.errors import UsageError

_SETTING = re.compile(r"[A-Za-z0-9_]+")
_BARE = re.compile(r"[A-Za-z0-9_.\-*]+")
_QUOTED_NAME = re.compile(r'"((?:[^"]|"")*+)"(?:\.(\w+))?')
_ASSIGNMENT = re.compile(r'((?:"(?:[^"]|"")*+"|[^="])+)=(.*)', re.DOTALL)
_BLANKS = " \t\n\v\f\r"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class EditError(UsageError):
    """A change that cannot be made; `where` is the key or the file."""


@dataclass(frozen=True, slots=True)
class Key:
    """A line of an ini file, or one option of its connection string."""

    section: str
    name: str
    pair: str | None = None
    is_quoted: bool = field(default=False, compare=False)
    """Its name was written in quotes, so it means itself."""

    def __str__(self) -> str:
        if self.section == MAIN_SECTION:
            return self.name
        plain = _BARE.fullmatch(self.name) and self.name.rpartition(".")[2] not in OPTIONS[self.section]
        name = self.name if plain else '"' + self.name.replace('"', '""') + '"'
        return f"{self.section}.{name}" + (f".{self.pair}" if self.pair else "")


@dataclass(frozen=True, slots=True)
class Change:
    """What a key is to be."""

    key: Key
    value: str | None = field(repr=False)
    """None: it goes."""


def parse_key(text: str) -> Key:
    """Read a key.

    Raises:
        EditError: it is none.
    """
    section, dot, rest = text.partition(".")
    if not dot or section not in SECTIONS or section == MAIN_SECTION:
        name = rest if dot and section == MAIN_SECTION else text
        if not _SETTING.fullmatch(name):
            raise EditError(
                f"{text!r} is no key",
                hint="write a setting, databases.NAME, databases.NAME.OPTION, users.NAME.OPTION",
            )
        return Key(MAIN_SECTION, name)
    found = _QUOTED_NAME.fullmatch(rest)
    if found is not None:
        name, pair = found[1].replace('""', '"'), found[2]
        if pair is not None and pair not in OPTIONS[section]:
            raise EditError(f"[{section}] has no option {pair}", where=text)
    else:
        name, _, pair = rest.rpartition(".")
        if not name or pair not in OPTIONS[section]:
            name, pair = rest, None
    written_key(section, name)
    return Key(section, name, pair, found is not None)


def parse_change(text: str) -> Change:
    """Read `KEY=VALUE`.

    Raises:
        EditError: it is none, or the value cannot stand in a file.
    """
    found = _ASSIGNMENT.fullmatch(text)
    if found is None:
        raise EditError(f"{text.partition('=')[0]!r} has no value", hint="write KEY=VALUE")
    key, value = parse_key(found[1]), found[2]
    if _CONTROL.search(value):
        raise EditError("its value has a line end or another control character", where=str(key))
    if value != value.strip(_BLANKS):
        raise EditError(
            "its value begins or ends with a blank, which PgBouncer would cut off", where=str(key)
        )
    if key.pair is not None and not value:
        raise EditError("an option cannot be empty", where=str(key), hint=f"take it out: --remove {key}")
    return Change(key, value)


def written_key(section: str, name: str) -> str:
    """Return a name as a line of the file begins with it; in quotes only 1.25 and later know it.

    Raises:
        EditError: no line can begin so.
    """
    if _BARE.fullmatch(name):
        return name
    if not name or "'" in name or _CONTROL.search(name) or "\t" in name:
        raise EditError(f"no line of [{section}] can be called {name!r}")
    return f"'{name}'"
