"""A file of one pooler during a rotation: a copy kept beside it, another content put in its place.

Every error is a NodeError with the host in it; contents are in none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from console.config.schema import Bouncer
from console.errors import LostConnection, NodeError, Phase
from console.operations.config_files import HostFiles, files_of
from console.transport.base import Transport

KEPT = ".pooldeck-before"
"""Behind the name of a file: as it was before the rotation. Removed when that is over."""


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file of one pooler on its host."""

    path: str
    """Where it really lies."""
    files: HostFiles
    timeout_s: float

    @classmethod
    async def of(
        cls, bouncer: Bouncer, path: str, transport: Transport | None, *, timeout_s: float
    ) -> FileAt:
        """Find it.

        Raises:
            NodeError: there is no way to it.
        """
        files = files_of(bouncer, transport)
        if isinstance(files, str):
            raise NodeError(Phase.SSH, files, where=bouncer.name)
        real = await files.real_path(path, timeout_s=timeout_s)
        if real is None:
            raise NodeError(Phase.PROTOCOL, f"where {path} lies cannot be seen", where=bouncer.name)
        return cls(real, files, timeout_s)

    async def read(self) -> bytes:
        """Return what it holds now.

        Raises:
            NodeError: it cannot be read.
        """
        return await self._content(self.path)

    async def kept(self) -> bytes:
        """Return what the copy of before holds. Raises as `read`."""
        return await self._content(self.path + KEPT)

    async def keep(self) -> None:
        """Keep a copy of it as it is, owner and permissions too. Raises as `read`."""
        problem = await self.files.copy(self.path, self.path + KEPT, sha256=None, timeout_s=self.timeout_s)
        if problem is not None:
            raise self._error(problem)

    async def put(self, content: bytes, *, instead_of: bytes) -> None:
        """Put a content in its place at once, unless somebody has changed it meanwhile.

        Raises:
            NodeError: it still is what it was. LostConnection: that is not known.
        """
        done = await self.files.write(
            self.path, content, expect_sha256=sha256(instead_of), timeout_s=self.timeout_s
        )
        if done.problem is not None and not done.is_sure:
            raise LostConnection(Phase.SSH, f"{self.path}: {done.problem}", where=self.files.where)
        if done.problem is not None:
            raise self._error(done.problem)

    async def touch(self, content: bytes) -> None:
        """Put the same content there as a new file, which PgBouncer takes for changed. Raises as `put`."""
        await self.put(content, instead_of=content)

    async def forget(self) -> None:
        """Remove the copy of before. Raises as `read`."""
        problem = await self.files.remove(self.path + KEPT, timeout_s=self.timeout_s)
        if problem is not None:
            raise self._error(f"{KEPT} cannot be removed: {problem}")

    async def _content(self, path: str) -> bytes:
        file = await self.files.read(path, timeout_s=self.timeout_s)
        if file.content is None:
            raise NodeError(Phase.PROTOCOL, f"{path}: {file.why}", where=self.files.where)
        return file.content

    def _error(self, problem: str) -> NodeError:
        return NodeError(Phase.PROTOCOL, f"{self.path}: {problem}", where=self.files.where)


@dataclass(slots=True)
class HeldFile:
    """A file that a rotation changes, and what it holds for all we know."""

    name: str
    """As the pooler opens it."""
    at: FileAt
    original: bytes = field(repr=False)
    """As it was found."""
    current: bytes = field(repr=False)
    keeps_copy: bool = False
    _in_doubt: bytes | None = field(default=None, repr=False)
    """Was written when contact was lost, so it may be there; None: what it holds is known."""

    async def keep(self) -> None:
        """Keep a copy, unless there is one. Raises NodeError."""
        if not self.keeps_copy:
            await self.at.keep()
            self.keeps_copy = True

    async def put(self, content: bytes) -> bool:
        """Put a content in its place; say whether that was needed.

        Raises:
            NodeError: it is what it was, or somebody else's. LostConnection: that is not known.
        """
        if self._in_doubt is not None:
            await self._look()
        if content == self.current:
            return False
        try:
            await self.at.put(content, instead_of=self.current)
        except LostConnection:
            self._in_doubt = content
            raise
        self.current = content
        return True

    async def _look(self) -> None:
        found = await self.at.read()
        if found not in (self.current, self._in_doubt):
            raise NodeError(
                Phase.PROTOCOL, f"{self.at.path} was changed by somebody else", where=self.at.files.where
            )
        self.current, self._in_doubt = found, None

    async def forget(self) -> None:
        """Remove the copy. Raises NodeError."""
        if self.keeps_copy:
            await self.at.forget()
            self.keeps_copy = False


def sha256(content: bytes) -> str:
    """Return the hash of a file's content, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
