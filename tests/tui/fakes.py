"""A fleet of poolers that answer as told, one a bouncer: for plans and runs on many."""

from __future__ import annotations

from console.errors import NodeError, Phase
from tests.unit.operations.fake_pooler import FakePooler, FakeSession


class FakeFleet:
    """Gives each name a pooler of its own; satisfies `console.operations.sessions.Connector`."""

    def __init__(self, **poolers: FakePooler) -> None:
        self.poolers = {name.replace("_", "-"): pooler for name, pooler in poolers.items()}
        self.silent: set[str] = set()
        """Names that do not answer."""

    def of(self, name: str) -> FakePooler:
        """Return the pooler of a name, a new one the first time."""
        return self.poolers.setdefault(name, FakePooler())

    async def reader(self, name: str, *, as_admin: bool = False) -> FakeSession:
        self._answer(name)
        return await self.of(name).reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> FakeSession:
        self._answer(name)
        return await self.of(name).writer(name)

    async def probe(self, name: str) -> str:
        self._answer(name)
        return f"logged in to {name}"

    def _answer(self, name: str) -> None:
        if name in self.silent:
            raise NodeError(Phase.CONNECT, "connection refused", where=name)

    def changing(self) -> dict[str, list[str]]:
        """Statements that reached each pooler, the harmless probe left out."""
        return {name: pooler.changing() for name, pooler in self.poolers.items() if pooler.changing()}


class SamePooler(FakeFleet):
    """One pooler under every name."""

    def __init__(self, pooler: FakePooler) -> None:
        super().__init__()
        self.pooler = pooler

    def of(self, name: str) -> FakePooler:  # noqa: ARG002
        return self.pooler
