"""What a journal's blocks tell: which record was changed, removed, moved, added or cut.

Pure: it is handed what `console.audit.chain` and `console.audit.head` read. The rule throughout: a record is
vouched for by the hash in the record that follows it, or in the head when it is the last; of two
that do not fit, the one that nothing vouches for was changed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from enum import StrEnum

from console.audit.chain import Block, Chain, find_head, longest_order
from console.audit.head import Head, HeadTrouble
from console.audit.lines import FIRST

_DIED = "its writer died before the line was whole"


class FlawKind(StrEnum):
    """What is wrong at a place of the journal."""

    CUT = "cut"
    """The line was never finished: its writer died. What follows it is whole."""
    CHANGED = "changed"
    """The line is not what was written."""
    REMOVED = "removed"
    """Records are missing before the line."""
    MOVED = "moved"
    """The record stands, unchanged, in another place than it was written to."""
    ADDED = "added"
    """The line was put in: a copy, or never written by Pooldeck."""
    BROKEN = "broken"
    """It does not follow the line before; records without numbers do not tell more."""
    END_REMOVED = "end removed"
    """Records are missing at the end."""
    FILE_REMOVED = "file removed"
    HEAD_MISSING = "head missing"
    """Without the head file, records removed at the end do not show."""
    HEAD_CHANGED = "head changed"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A place where the journal is not what was written."""

    line: int
    """1-based. For missing records: the line where the first of them would stand. 0: a file as a whole."""
    kind: FlawKind
    reason: str
    """For people; says what, not where."""
    missing: int = 0
    """How many records are missing."""
    unproven: int | None = None
    """A line that nothing vouches for any longer because of it: it may have been changed as well."""
    at: str | None = None
    """When the record on the line says that it was written, as it stands there; None: not readable."""
    run: str | None = None
    """The run that it says it belongs to."""


def judge(chain: Chain, head: Head | HeadTrouble, found: dict[str, list[int]]) -> list[Flaw]:
    """Return every flaw, in the order of the file.

    Args:
        chain: the journal; its blocks are numbered.
        head: what was read of its head.
        found: where the hashes that the blocks and the head name are in the file.
    """
    court = _Court(chain, head, found)
    court.hear()
    return sorted(court.flaws.values(), key=lambda flaw: (flaw.line, flaw.kind))


class _Court:
    def __init__(self, chain: Chain, head: Head | HeadTrouble, found: dict[str, list[int]]) -> None:
        self.flaws: dict[tuple[int, FlawKind], Flaw] = {}
        self._chain = chain
        self._head = head
        self._found = found
        records = [block for block in chain.blocks if block.is_record]
        self._givers = {block.gives for block in records}
        self._vouched = {block.want for block in records}
        if isinstance(head, Head):
            self._vouched.add(head.last)
        self._main = longest_order(records, lambda block: 2 * block.lines - (not self._is_known(block)))
        self._accepted = [(block.low or 0, index, block) for index, block in enumerate(self._main)]
        self._moved: list[int] = []
        """Numbers, sorted, of records that stand elsewhere."""
        self._loose = [block for block in chain.blocks if not block.is_record]
        self._end_filled = 0
        """Numbers behind the last good record that spoilt lines account for."""

    def hear(self) -> None:
        for line, unproven in self._chain.torn.items():
            self._find(line, FlawKind.CUT, _DIED, unproven=unproven)
        for line in self._chain.odd:
            self._find(line, FlawKind.CHANGED, "its number does not follow that of the record before it")
        for line, remark in self._chain.head_remarks:
            kind = FlawKind.HEAD_MISSING if remark == HeadTrouble.MISSING else FlawKind.HEAD_CHANGED
            self._find(line, kind, f"the head file was {remark} when this record was added")
        if self._chain.open_line:
            self._find(self._chain.lines, FlawKind.CUT, "its line does not end")
        self._place_strays()
        self._check_gaps()
        self._check_links()
        self._check_end()

    def _find(
        self, line: int, kind: FlawKind, reason: str, *, missing: int = 0, unproven: int | None = None
    ) -> None:
        self.flaws.setdefault((line, kind), Flaw(line, kind, reason, missing, unproven))

    def _place_strays(self) -> None:
        """Tell records that stand elsewhere from copies, and both from lines that are nobody's."""
        kept = {id(block) for block in self._main}
        for index, block in enumerate(self._chain.blocks):
            if not block.is_record or id(block) in kept:
                continue
            if block.low is None or not self._is_known(block):
                self._loose.append(block)
            elif self._fits(block):
                insort(self._accepted, (block.low, len(self._main) + index, block))
                for number in range(block.begins or 0, (block.high or 0) + 1):
                    insort(self._moved, number)
                self._find(block.first, FlawKind.MOVED, _moved(block))
            else:
                self._find(block.first, FlawKind.ADDED, self._added(block))
        self._loose.sort(key=lambda block: block.first)

    def _is_known(self, block: Block) -> bool:
        """Say whether any other record is linked to it: a lone one may say of itself what it likes."""
        return block.lines > 1 or block.gives in self._vouched or block.want in self._givers

    def _fits(self, block: Block) -> bool:
        """Say whether nobody else has its numbers."""
        place = bisect_left(self._accepted, block.low or 0, key=lambda one: one[0])
        low, high = block.begins or 0, block.high or 0
        before = self._accepted[place - 1][2] if place else None
        after = self._accepted[place][2] if place < len(self._accepted) else None
        return (before is None or (before.high or 0) < low) and (after is None or (after.begins or 0) > high)

    def _added(self, block: Block) -> str:
        others = [line for line in self._found.get(block.first_hash, ()) if line != block.first]
        if others:
            return f"it is a copy of line {others[0]}"
        return f"it was put in: it claims number {block.low}, and there is another of that number"

    def _check_gaps(self) -> None:
        before: Block | None = None
        loose = list(reversed(self._loose))
        for block in self._main:
            between: list[Block] = []
            while loose and loose[-1].first < block.first:
                between.append(loose.pop())
            missing = self._missing(before.high or 0 if before else 0, block.begins or 0)
            left = self._blame(between, missing, before)
            if left > 0:
                self._removed(block, left, self._unproven(before))
            before = block
        self._check_tail(loose[::-1], before)

    def _check_tail(self, loose: list[Block], before: Block | None) -> None:
        """Tell spoilt lines behind the last good record."""
        # Without a head nobody says how many records there were: then each of them counts as one.
        expected = len(loose)
        if isinstance(self._head, Head):
            expected = max(0, self._head.records - self._high())
        self._end_filled = min(expected, len(loose))
        if expected == 0:
            # No record of which the head knows: what a writer left that died, also while closing such a line.
            for block in loose:
                if not block.is_record:
                    self._find(block.first, FlawKind.CUT, _DIED)
        self._blame(loose, self._end_filled, before)

    def _missing(self, low: int, high: int) -> int:
        """Return how many numbers between these two are nowhere in the file."""
        moved = bisect_left(self._moved, high) - bisect_left(self._moved, low + 1)
        return high - low - 1 - moved

    def _removed(self, block: Block, missing: int, unproven: int | None) -> None:
        reason = f"{_records(missing)} missing before it"
        self._find(block.first, FlawKind.REMOVED, reason, missing=missing, unproven=unproven)

    def _blame(self, loose: list[Block], missing: int, before: Block | None) -> int:
        """Tell spoilt lines between two good blocks, and return how many records are missing besides."""
        unproven = self._unproven(before) if missing > 0 else None
        for block in loose:
            line = block.first
            if (line, FlawKind.CUT) in self.flaws:
                if missing > 0 and isinstance(self._head, Head):
                    reason = "its end was cut off after it was written"
                    self.flaws[line, FlawKind.CUT] = Flaw(line, FlawKind.CUT, reason, unproven=unproven)
            elif missing > 0 and self._is_unnumbered(block):
                reason = "it does not follow the line before it, which was changed, or records were removed"
                self._find(line, FlawKind.BROKEN, reason)
            elif missing > 0:
                what = "nothing vouches for it" if block.is_record else "it is no record any more"
                self._find(line, FlawKind.CHANGED, what, unproven=unproven)
            else:
                what = "no record follows it, nor it any" if block.is_record else "it is no record"
                self._find(line, FlawKind.ADDED, f"it was put in: {what}")
            unproven = None
            missing -= block.lines
        return missing

    def _is_unnumbered(self, block: Block) -> bool:
        """Say whether these are records from before there were numbers, cut off from those that follow."""
        return block.is_record and block.low is None and (block.lines > 1 or not self._chain.numbered)

    def _unproven(self, block: Block | None) -> int | None:
        return None if block is None or block.gives in self._vouched else block.last

    def _check_links(self) -> None:
        """See that records of successive numbers are linked, wherever they stand."""
        order = [block for _, _, block in self._accepted]
        refuted = self._refuted(order)
        for place, block in enumerate(order):
            before = order[place - 1] if place else None
            if block.begins != (before.high or 0 if before else 0) + 1:
                continue
            if block.want == (before.gives if before else FIRST):
                continue
            if before is None or before.gives in self._vouched or id(block) in refuted:
                self._changed(block.first, self._unproven(before))
            else:
                sure = block.lines > 1 or block.gives in self._vouched
                self._changed(before.last, None if sure else block.first)

    def _refuted(self, order: list[Block]) -> set[int]:
        """Return the lone records of which what follows them says that they read otherwise."""
        found = set()
        for place, block in enumerate(order):
            if block.lines > 1 or block.gives in self._vouched:
                continue
            after = order[place + 1] if place + 1 < len(order) else None
            if after is not None:
                if after.begins == (block.high or 0) + 1:
                    found.add(id(block))
            elif isinstance(self._head, Head) and self._head.records == block.high:
                found.add(id(block))
        return found

    def _changed(self, line: int, unproven: int | None) -> None:
        self._find(line, FlawKind.CHANGED, "it is not what was written", unproven=unproven)

    def _high(self) -> int:
        return (self._accepted[-1][2].high or 0) if self._accepted else 0

    def _check_end(self) -> None:
        head = self._head
        if head is HeadTrouble.MISSING:
            if self._chain.numbered:
                self._find(0, FlawKind.HEAD_MISSING, "the head file is missing")
        elif not isinstance(head, Head):
            self._find(0, FlawKind.HEAD_CHANGED, "the head file was changed")
        elif head.records == 0 or head.last in self._found:
            number = find_head(self._chain, head, self._found) if head.records else 0
            if not self.flaws and number != head.records:
                self._find(0, FlawKind.HEAD_CHANGED, "the head file names another record than the journal")
        else:
            self._check_last(head)

    def _check_last(self, head: Head) -> None:
        """The record that the head names is not in the file."""
        last = self._accepted[-1][2] if self._accepted else None
        missing = head.records - self._high() - self._end_filled
        if missing > 0:
            reason = f"{_records(missing)} missing at the end"
            line = self._chain.lines + 1
            unproven = None if self._end_filled else self._unproven(last)
            self._find(line, FlawKind.END_REMOVED, reason, missing=missing, unproven=unproven)
        elif last is not None and last.high == head.records:
            if (last.last, FlawKind.CUT) not in self.flaws:
                self._changed(last.last, None)
        elif not self.flaws:
            self._find(0, FlawKind.HEAD_CHANGED, "the head file names a record that the journal never had")


def _moved(block: Block) -> str:
    place = f"after number {(block.low or 0) - 1}"
    if block.lines == 1:
        return f"it is record number {block.low}, which belongs {place}"
    return f"here are records number {block.low} to {block.high}, which belong {place}"


def _records(count: int) -> str:
    return "1 record is" if count == 1 else f"{count:,} records are"
