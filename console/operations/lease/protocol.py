"""What a run and its guardian say to one another: one JSON object a line, of known keys, not too long.

Pure: bytes in, values out. Targets are told by their place in the order's covers. Both ends are of one
version, since a run starts its guardian from its own program; what cannot be read is an error, never skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from console.operations.lease.base import SILENCE_LIMIT_S, LeaseOrder

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Of the first message, which holds the order; the others are short."""


class ProtocolError(Exception):
    """The other end said something that is not of this protocol."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a guardian is, in seconds of its own clock."""

    silence_s: float = SILENCE_LIMIT_S
    """Without a sign of the run for so long everything is lifted."""
    retry_s: float = 600.0
    """How long it tries to lift one target, new logins included; clients wait for no longer than that."""
    poll_s: float = 1.0
    """How often it looks at what is held."""
    arm_s: float = 3600.0
    """For its own sessions and keepers, before it says what it covers; its run may wait for less."""
    keeper_s: float = 20.0
    """So long after the last word of its guardian a keeper resumes by itself."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: what to guard, and with what. No secret in it."""

    order: LeaseOrder
    inventory: Mapping[str, Any]
    """As pydantic dumps it: the covered bouncers and all hosts."""
    limits: Limits
    owner: Mapping[str, Any]
    """Who started it (`store.ProcessMark`)."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The sender lives."""


@dataclass(frozen=True, slots=True)
class Expose:
    """Statements may reach these from now on."""

    covers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """These are seen drained and paused."""

    covers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """These run again, or were never touched; answered by `Done`."""

    covers: tuple[int, ...]
    number: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """End everything after so long, with or without the run; answered by `Done`."""

    hold_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The run is over; what is not released is to be lifted."""


@dataclass(frozen=True, slots=True)
class Arming:
    """How far the guardian is with its sessions and keepers, for people."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The guardian stands by."""

    uncovered: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no guardian."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """What was asked under this number is done."""

    number: int


@dataclass(frozen=True, slots=True)
class News:
    """Something about a target, for people."""

    cover: int
    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The run was taken for dead, or its guardian was told to end: everything is lifted, nothing covered."""

    reason: str


Message = (
    Hello | Beat | Expose | Held | Release | HandOver | Bye | Arming | Ready | Failed | Done | News | Ending
)
_KINDS: Mapping[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Beat, Expose, Held, Release, HandOver, Bye, Arming, Ready, Failed, Done, News, Ending)
}


def encode(message: Message) -> bytes:
    """Return a message as its line.

    Raises:
        ProtocolError: it is too long.
    """
    values = {"say": type(message).__name__.lower(), **asdict(message)}
    line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"a message of {len(line)} bytes is too long")
    return line


def decode(line: bytes) -> Message:
    """Read one line.

    Raises:
        ProtocolError: it is no message.
    """
    try:
        values = json.loads(line)
        kind = values.pop("say")
        return _hello(values) if kind == "hello" else _plain(_KINDS[kind], values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {type(error).__name__}") from None


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with `data`, also those before one that cannot be read.

        Raises:
            ProtocolError: what came is none, or never ends.
        """
        self._data += data
        *whole, self._data = self._data.split(b"\n")
        for line in whole:
            yield decode(bytes(line))
        if len(self._data) > MAX_LINE_BYTES:
            raise ProtocolError("a line does not end")


def _hello(values: Mapping[str, Any]) -> Hello:
    _require_keys(Hello, values)
    return Hello(
        LeaseOrder.from_dict(values["order"]),
        dict(values["inventory"]),
        Limits(**values["limits"]),
        dict(values["owner"]),
    )


def _plain(kind: type[Any], values: Mapping[str, Any]) -> Message:
    _require_keys(kind, values)
    message: Message = kind(**{key: _frozen(value) for key, value in values.items()})
    for one, value in ((field.name, getattr(message, field.name)) for field in fields(message)):
        if not _fits(one, value):
            raise ValueError(one)
    return message


def _require_keys(kind: type[Any], values: Mapping[str, Any]) -> None:
    if values.keys() != {field.name for field in fields(kind)}:
        raise KeyError(kind.__name__)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _fits(name: str, value: Any) -> bool:
    match name:
        case "covers":
            return isinstance(value, tuple) and all(_is_place(one) for one in value)
        case "cover" | "number":
            return _is_place(value)
        case "hold_s":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400
        case "reason" | "text":
            return isinstance(value, str)
        case "notes":
            return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
        case _:
            return isinstance(value, tuple) and all(
                isinstance(one, tuple) and len(one) == 2 and _is_place(one[0]) and isinstance(one[1], str)
                for one in value
            )


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
