"""Copies of one pooler's files as they were before a second role came, kept while both are used.

They may hold passwords: owner and permissions are their files', and they never leave the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.config.pgbouncer_texts import ConfigTexts
from console.errors import NodeError, Phase
from console.operations.config_files import HostFiles
from console.operations.rotate.host_files import sha256
from console.operations.rotate.two_roles_file import Hashes

_BEHIND = ".pooldeck-both-"


@dataclass(frozen=True, slots=True)
class Copies:
    """Of one rotation on one pooler's host."""

    host: HostFiles
    run_id: str
    timeout_s: float

    def path(self, path: str) -> str:
        """Return where the copy of a file is."""
        return f"{path}{_BEHIND}{self.run_id}"

    async def keep(self, texts: ConfigTexts, files: Mapping[str, Hashes]) -> None:
        """Copy those files that are still as they were; of the others there is a copy already.

        Raises:
            NodeError: one could not be.
        """
        for path, state in files.items():
            if texts.file(path).sha256 != state.before:
                continue
            problem = await self.host.copy(
                path, self.path(path), sha256=state.before, timeout_s=self.timeout_s
            )
            if problem is not None:
                raise self._error(f"{path} could not be kept as {self.path(path)}: {problem}")

    async def kept(self, texts: ConfigTexts, files: Mapping[str, Hashes]) -> dict[str, bytes]:
        """Return what each file held before.

        Raises:
            NodeError: a copy that is needed is gone, or is of something else.
        """
        found = {}
        for path, state in files.items():
            now = texts.file(path)
            if now.content is not None and now.sha256 == state.before:
                found[path] = now.content
                continue
            copy = await self.host.read(self.path(path), timeout_s=self.timeout_s)
            if copy.content is None:
                raise self._error(f"{self.path(path)}: {copy.why}")
            if sha256(copy.content) != state.before:
                raise self._error(f"{self.path(path)} is not of before the rotation")
            found[path] = copy.content
        return found

    async def forget(self, paths: Iterable[str]) -> None:
        """Remove the copies. Raises NodeError."""
        for path in paths:
            problem = await self.host.remove(self.path(path), timeout_s=self.timeout_s)
            if problem is not None:
                raise self._error(f"{self.path(path)} cannot be removed: {problem}")

    def _error(self, text: str) -> NodeError:
        return NodeError(Phase.PROTOCOL, text, where=self.host.where)
