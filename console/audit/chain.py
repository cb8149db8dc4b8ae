"""A journal as blocks: runs of lines each of which carries the hash of the line before.

An untouched journal is one block. Whatever was changed, removed, moved or added makes more of them, and
`console.audit.verify` judges those. Memory goes with the number of blocks, not of records.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from console.audit.head import Head, HeadTrouble
from console.audit.lines import FIRST, line_hash, parse_line, seq_of

Lines = Callable[[], Iterable[bytes]]
"""Reads the journal from its beginning: each line with its newline, unless it lacks one."""


@dataclass(slots=True)
class Block:
    """Adjacent lines that are linked. Lines are 1-based."""

    first: int
    last: int
    want: str | None
    """The hash that the first line carries; None: it carries none."""
    gives: str
    """The hash of the last line."""
    first_hash: str
    low: int | None = None
    """The number of the first line; None: not known."""
    torn: int = 0
    """How many numbers before `low` went to torn lines."""
    is_record: bool = True
    """False: one line that is no record."""

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.last - self.first + 1

    @property
    def high(self) -> int | None:
        """The number of the last line."""
        return None if self.low is None else self.low + self.lines - 1

    @property
    def begins(self) -> int | None:
        """The first number that it accounts for."""
        return None if self.low is None else self.low - self.torn

    def number(self, line: int) -> int | None:
        """Return the number of one of its lines."""
        return None if self.low is None else self.low + line - self.first


@dataclass(slots=True)
class Chain:
    """A whole journal, read once."""

    blocks: list[Block] = field(default_factory=list)
    """In the order of the file. A torn line that is vouched for is in none, or inside one."""
    torn: dict[int, int | None] = field(default_factory=dict)
    """Torn lines that a later record vouches for; for each, the line that has no voucher because of it."""
    odd: list[int] = field(default_factory=list)
    """Lines whose number does not follow that of the line to which they are linked."""
    head_remarks: list[tuple[int, str]] = field(default_factory=list)
    """Lines that tell that the head was not as it was left."""
    lines: int = 0
    records: int = 0
    open_line: bool = False
    """The last line lacks its newline."""
    numbered: bool = False
    """At least one record carries a number."""
    last: str = FIRST
    """The hash of the last line."""
    times: list[str] = field(default_factory=list)
    """`at` of the first and of the last record that has one."""


def read_chain(lines: Lines) -> Chain:
    """Read a journal into blocks.

    Raises:
        OSError: it cannot be read.
    """
    chain = Chain()
    current: Block | None = None
    for line, raw in enumerate(lines(), start=1):
        content = raw.removesuffix(b"\n")
        chain.lines, chain.open_line = line, len(content) == len(raw)
        chain.last = line_hash(content)
        record = parse_line(content)
        if record is None:
            block = Block(line, line, None, chain.last, chain.last, is_record=False)
            chain.blocks.append(block)
            current = None
            continue
        current = _join(chain, current, line, record)
        _note(chain, line, record)
    return chain


def _join(chain: Chain, current: Block | None, line: int, record: dict[str, Any]) -> Block:
    previous = record.get("previous")
    want = previous if isinstance(previous, str) else None
    seq = seq_of(record)
    if current is not None and want == current.gives:
        _extend(chain, current, line, seq)
        return current
    if current is None and chain.blocks and want == chain.blocks[-1].gives:
        return _over_torn_lines(chain, line, seq, record)
    block = Block(line, line, want, chain.last, chain.last, low=seq)
    chain.blocks.append(block)
    return block


def _extend(chain: Chain, block: Block, line: int, seq: int | None) -> None:
    block.last, block.gives = line, chain.last
    if seq is None:
        return
    if block.low is None:
        block.low = seq - (line - block.first)
    elif seq != block.number(line):
        chain.odd.append(line)


def _over_torn_lines(chain: Chain, line: int, seq: int | None, record: dict[str, Any]) -> Block:
    """Join a record to the block before the torn lines that it vouches for."""
    after, count = _torn(record)
    torn = [chain.blocks.pop()]
    while len(torn) < count and chain.blocks and not chain.blocks[-1].is_record:
        torn.append(chain.blocks.pop())
    before = chain.blocks[-1] if chain.blocks else None
    chain.torn |= dict.fromkeys((block.first for block in torn), None)
    if before is not None and before.is_record and after in (None, before.gives):
        if after is None:
            chain.torn[torn[-1].first] = before.last
        _extend(chain, before, line, seq)
        return before
    want = FIRST if after is None and before is None else after
    block = Block(line, line, want, chain.last, chain.last, low=seq, torn=len(torn))
    chain.blocks.append(block)
    return block


def _torn(record: dict[str, Any]) -> tuple[str | None, int]:
    """Return the hash of the record before the torn lines, and their number; older records did not tell."""
    told = record.get("torn")
    if isinstance(told, dict) and isinstance(told.get("after"), str) and isinstance(told.get("lines"), int):
        return told["after"], max(1, told["lines"])
    return None, 1


def _note(chain: Chain, line: int, record: dict[str, Any]) -> None:
    chain.records += 1
    if not chain.numbered and seq_of(record) is not None:
        chain.numbered = True
    remark = record.get("head_file")
    if isinstance(remark, str) and remark in list(HeadTrouble):
        chain.head_remarks.append((line, remark))
    at = record.get("at")
    if isinstance(at, str):
        chain.times[1 if chain.times else 0 :] = [at]


def find_hashes(lines: Lines, wanted: frozenset[str]) -> dict[str, list[int]]:
    """Return the lines that have these hashes, at most two for each.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[str, list[int]] = {}
    for line, raw in enumerate(lines(), start=1):
        digest = line_hash(raw.removesuffix(b"\n"))
        if digest in wanted:
            places = found.setdefault(digest, [])
            if len(places) < 2:
                places.append(line)
    return found


def split_at(chain: Chain, found: dict[str, list[int]]) -> None:
    """Split blocks after the lines that other blocks want to follow: something was put in between."""
    wants = {block.want for block in chain.blocks if block.want is not None}
    hashes = {line: want for want in wants for line in found.get(want, ())}
    # No split beside a torn line: what follows that is linked over it.
    places = sorted(line for line in hashes if not {line, line + 1} & chain.torn.keys())
    blocks: list[Block] = []
    for block in chain.blocks:
        inside = places[bisect_left(places, block.first) : bisect_right(places, block.last - 1)]
        for place in inside:
            digest, low = hashes[place], block.number(place + 1)
            blocks.append(
                Block(block.first, place, block.want, digest, block.first_hash, block.low, block.torn)
            )
            # The hash of its first line is known only when that is its last as well.
            first = block.gives if place + 1 == block.last else ""
            block = Block(place + 1, block.last, digest, block.gives, first, low)
        blocks.append(block)
    chain.blocks = blocks


def number_blocks(chain: Chain) -> None:
    """Number what can be numbered by its links; a lone record's own number counts only without a link."""
    records = [block for block in chain.blocks if block.is_record]
    givers = {block.gives: block for block in reversed(records)}
    followers: dict[str, list[Block]] = {}
    for block in records:
        if block.want is not None:
            followers.setdefault(block.want, []).append(block)
    sure = [block for block in records if block.low is not None and block.lines > 1]
    for block in followers.get(FIRST, ()):
        if block.low is None or block.lines == 1:
            block.low = 1 + block.torn
            sure.append(block)
    _spread(sure, followers)
    lone = [block for block in records if block.low is not None and block.want not in givers]
    _spread(lone, followers)


def _spread(sure: list[Block], followers: dict[str, list[Block]]) -> None:
    settled = {id(block) for block in sure}
    ready = list(sure)
    while ready:
        block = ready.pop()
        high = block.high
        for follower in followers.get(block.gives, ()):
            if id(follower) in settled or high is None:
                continue
            settled.add(id(follower))
            if follower.low is None or follower.lines == 1:
                follower.low = high + 1 + follower.torn
            ready.append(follower)


def longest_order(blocks: list[Block], weight: Callable[[Block], int]) -> list[Block]:
    """Return the numbered blocks that stand in order and together weigh most."""
    # One entry for each total that is worth having: ends in rising order, totals too.
    best: list[tuple[int, int, int]] = []
    before: dict[int, int] = {}
    for index, block in enumerate(blocks):
        if block.begins is None or block.high is None:
            continue
        place = bisect_left(best, (block.begins, 0, 0))
        total = weight(block) + (best[place - 1][1] if place else 0)
        before[index] = best[place - 1][2] if place else -1
        entry = (block.high, total, index)
        place = bisect_left(best, (block.high + 1, 0, 0))
        if place and best[place - 1][1] >= total:
            continue
        while place and best[place - 1][0] == block.high:
            place -= 1
            del best[place]
        while place < len(best) and best[place][1] <= total:
            del best[place]
        best.insert(place, entry)
    order: list[Block] = []
    index = best[-1][2] if best else -1
    while index >= 0:
        order.append(blocks[index])
        index = before[index]
    return order[::-1]


def find_head(chain: Chain, head: Head, found: dict[str, list[int]]) -> int | None:
    """Return the number of the line that the head names; None: it is not there, or not numbered."""
    for line in found.get(head.last, ()):
        for block in chain.blocks:
            if block.first <= line <= block.last:
                return block.number(line)
    return None
