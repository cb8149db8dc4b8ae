"""How two versions of an ini file differ, for people: unified, with every secret left out.

A password may stand in a comment, in a line that is broken, or without the quotes it needs: when it is not
sure where it ends, the rest of the line is left out. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import unified_diff

from console.config.pgbouncer_ini import decoded
from console.config.pgbouncer_settings import OPTIONS

NOT_SHOWN = "(not shown)"
_CONTEXT_LINES = 2
_OPTION = "|".join(sorted({name for options in OPTIONS.values() for name in options}))
_PASSWORD = re.compile(
    # In quotes to their end; what is not followed by an option or the line's end belongs to it too.
    rf"(\bpassword\s*=\s*)(?:'(?:[^']|'')*+(?:'|$))?.*?(?=\s+(?:{_OPTION})\s*=|\s*$)",
    re.IGNORECASE,
)
_SETTING = re.compile(r"^(\s*[;#]*\s*(?:\[[^]]*\]\s*)?'?([A-Za-z0-9_.*-]+)'?\s*=\s*)(.*\S)\s*$")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def shown_diff(path: str, old: bytes, new: bytes, may_be_secret: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the lines of a unified diff, without the file names.

    Args:
        path: of the file; stands before the first line.
        old: what is there.
        new: what is to be there.
        may_be_secret: says by its name whether a setting's value may be shown.
    """
    lines = unified_diff(_lines(old), _lines(new), n=_CONTEXT_LINES, lineterm="")
    changed = tuple(masked(line, may_be_secret) for line in lines)
    return (f"{path}:", *changed[2:]) if changed else ()


def masked(line: str, may_be_secret: Callable[[str], bool]) -> str:
    """Return a line of a file, or of a diff, without secrets and control characters."""
    mark, rest = (line[:1], line[1:]) if line[:1] in ("+", "-", " ") else ("", line)
    setting = _SETTING.match(rest)
    if setting is not None and may_be_secret(setting[2]):
        rest = f"{setting[1]}{NOT_SHOWN}"
    else:
        rest = _PASSWORD.sub(rf"\g<1>{NOT_SHOWN}", rest)
    return mark + _UNPRINTABLE.sub("\ufffd", rest).rstrip()


def _lines(content: bytes) -> list[str]:
    lines = decoded(content).split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += "  (no line end)"
    return lines
