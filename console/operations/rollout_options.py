"""Waves and limits as they are typed: one list for the command line, the console and their help. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from console.errors import UsageError
from console.operations.duration import parse_duration
from console.operations.rollout import Rollout, parse_serial, parse_share
from console.operations.verb import Option, Verb

ROLLOUT_OPTIONS = {
    option.field: option
    for option in (
        Option("serial", "--serial", "SIZES", "Sizes of the waves, e.g. 1,25%,100%.", default=""),
        Option("max_unavailable", "--max-unavailable", "N", "Never more than N at once.", default=""),
        Option(
            "max_failed",
            "--max-failed",
            "N|P%",
            "End the run when more have failed; who cannot be reached has.",
            default="",
        ),
        Option("soak_s", "--soak", "TIME", "How long a wave must stay healthy before the next.", default=""),
        Option(
            "gate_timeout_s",
            "--gate-timeout",
            "TIME",
            "How long a wave may take to be healthy again (30s).",
            default="",
        ),
        Option(
            "max_wait_s",
            "--max-wait",
            "TIME",
            "Healthy: no client waits longer than this (1s), or than before.",
            default="",
        ),
    )
}
"""By field of `Rollout`. The values are text; "" is not given."""


def rollout_options(verb: Verb) -> Mapping[str, Option]:
    """Return those that `verb` takes, by field: none for a verb on a single target."""
    return {} if verb.single else ROLLOUT_OPTIONS


def rollout_of(given: Mapping[str, str], default_serial: str) -> Rollout | None:
    """Return waves and limits; None when nothing was said of them.

    Args:
        given: what was typed, by field; "" as if it were not there.
        default_serial: the verb's own waves.

    Raises:
        UsageError: a value makes no sense.
    """
    said = {field: text for field, text in given.items() if text}
    if not said:
        return None
    fields: dict[str, Any] = {"serial": parse_serial(default_serial)}
    for field, text in said.items():
        fields[field] = _READERS.get(field, _duration)(text, where=ROLLOUT_OPTIONS[field].flag or "")
    return Rollout(**fields)


def _positive(text: str, *, where: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1_000_000:
        raise UsageError(f"{text!r} is no number of targets", where=where, hint="write 1 or more")
    return int(text)


def _duration(text: str, *, where: str) -> float:
    return parse_duration(text, where=where)


_READERS: dict[str, Callable[..., Any]] = {
    "serial": parse_serial,
    "max_unavailable": _positive,
    "max_failed": parse_share,
}
