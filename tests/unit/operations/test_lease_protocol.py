"""What a run and its guardian say: every message there and back, and everything else refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from console.audit.actor import Actor
from console.operations.lease import protocol
from console.operations.lease.protocol import (
    Arming,
    Beat,
    Bye,
    Done,
    Ending,
    Expose,
    Failed,
    HandOver,
    Held,
    Hello,
    Limits,
    Lines,
    Message,
    News,
    ProtocolError,
    Ready,
    Release,
    decode,
    encode,
)
from console.operations.lease.store import ProcessMark
from console.operations.target import Target
from tests.unit.operations.lease_kit import EDGE, order_for

MESSAGES = (
    Hello(
        order_for(EDGE, Target("edge", 'odd "name"\n')),
        {"fleet": "test"},
        Limits(),
        asdict(ProcessMark.of(Actor.current({}))),
    ),
    Beat(),
    Expose((0, 1)),
    Held(()),
    Release((1,), 7),
    HandOver(30.0, 8),
    Bye(),
    Ready(((1, "no way there"),), ("no keeper",)),
    Failed("no journal"),
    Done(7),
    Arming("37 of 100 sessions open"),
    News(0, "somebody resumed it\n"),
    Ending("its run is gone"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_messages_come_out_whole_however_they_are_cut() -> None:
    lines = Lines()
    data = b"".join(encode(message) for message in MESSAGES)
    found = [message for place in range(len(data)) for message in lines.feed(data[place : place + 1])]
    assert tuple(found) == MESSAGES
    assert tuple(Lines().feed(data)) == MESSAGES


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"covers":[0]}',
        b'{"say":"sudo"}',
        b'{"say":"expose"}',
        b'{"say":"expose","covers":[0],"force":true}',
        b'{"say":"expose","covers":[-1]}',
        b'{"say":"expose","covers":["0"]}',
        b'{"say":"expose","covers":[true]}',
        b'{"say":"expose","covers":0}',
        b'{"say":"release","covers":[0],"number":1.5}',
        b'{"say":"hand_over","hold_s":30,"number":1}',
        b'{"say":"handover","hold_s":NaN,"number":1}',
        b'{"say":"handover","hold_s":-1,"number":1}',
        b'{"say":"handover","hold_s":"30","number":1}',
        b'{"say":"ready","uncovered":[[0]],"notes":[]}',
        b'{"say":"ready","uncovered":[],"notes":[1]}',
        b'{"say":"hello","order":{},"inventory":{},"limits":{},"owner":{}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


def test_what_came_before_something_unreadable_is_heard() -> None:
    """An exposure must count, whatever its run says next."""
    lines = Lines().feed(encode(Expose((0,))) + b"nonsense\n")
    assert next(lines) == Expose((0,))
    with pytest.raises(ProtocolError):
        next(lines)


def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_LINE_BYTES", 100)
    with pytest.raises(ProtocolError, match="does not end"):
        list(Lines().feed(b"x" * 101))
    with pytest.raises(ProtocolError, match="too long"):
        encode(Failed("x" * 100))


def test_no_message_holds_more_than_names_and_numbers() -> None:
    """The order goes to another process: what is in it may be seen in a core dump, and holds no secret."""
    assert "password" not in json.dumps(asdict(MESSAGES[0]))
