"""A file whose host was lost while it was put in place: what it holds is looked at before it is put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from console.errors import LostConnection, NodeError, Phase
from console.operations.rotate.host_files import FileAt, HeldFile

OLD, NEW = b"old", b"new"


@dataclass
class FakeFileAt:
    """A FAKE host that is lost in the moment of the rename, before or after it was done."""

    holds: bytes = OLD
    is_done: bool = True
    lost: bool = True
    path: str = "/etc/users"

    @property
    def files(self) -> FakeFileAt:
        return self

    @property
    def where(self) -> str:
        return "host far"

    async def read(self) -> bytes:
        return self.holds

    async def put(self, content: bytes, *, instead_of: bytes) -> None:
        assert self.holds == instead_of
        if self.is_done or not self.lost:
            self.holds = content
        if self.lost:
            self.lost = False
            raise LostConnection(Phase.SSH, "lost", where="host far")


def held(at: FakeFileAt) -> HeldFile:
    return HeldFile("/etc/users", cast(FileAt, at), OLD, OLD)


@pytest.mark.parametrize("is_done", [True, False])
async def test_it_is_put_back_whether_it_had_been_written_or_not(is_done: bool) -> None:
    at = FakeFileAt(is_done=is_done)
    file = held(at)
    with pytest.raises(LostConnection):
        await file.put(NEW)
    assert await file.put(OLD) is is_done
    assert at.holds == file.current == OLD


async def test_what_somebody_else_wrote_meanwhile_is_left_alone() -> None:
    at = FakeFileAt()
    file = held(at)
    with pytest.raises(LostConnection):
        await file.put(NEW)
    at.holds = b"mine"
    with pytest.raises(NodeError, match="changed by somebody else"):
        await file.put(OLD)
    assert at.holds == b"mine"
