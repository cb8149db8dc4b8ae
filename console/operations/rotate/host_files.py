"""The auth_file of one pooler during a rotation: a copy kept beside it, another content put in its place.

Every error is a NodeError with the host in it; contents are in none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.errors import LostConnection, NodeError, Phase
from console.operations.config_files import HostFiles, files_of
from console.transport.base import Transport

KEPT = ".pooldeck-before"
"""Behind the name of an auth_file: as it was before the rotation. Removed when that is over."""


@dataclass(frozen=True, slots=True)
class AuthFileAt:
    """The auth_file of one pooler on its host."""

    path: str
    """Where it really lies."""
    files: HostFiles
    timeout_s: float

    @classmethod
    async def of(
        cls, bouncer: Bouncer, path: str, transport: Transport | None, *, timeout_s: float
    ) -> AuthFileAt:
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


def sha256(content: bytes) -> str:
    """Return the hash of a file's content, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
