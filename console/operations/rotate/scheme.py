"""What a rotation would do over the whole fleet: poolers, nodes, runbooks. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from console.model.role import RoleReading
from console.operations.rotate.layout import Method, Place, ServerSecret
from console.operations.rotate.secret_files import SecretFile


@dataclass(frozen=True, slots=True)
class AtPooler:
    """The role on one pooler."""

    bouncer: str
    version: tuple[int, int, int]
    places: tuple[Place, ...]
    auth_file: str | None
    """The path of the auth_file that has the role's entry; None: it has none."""
    users: int
    """Entries of that file."""
    inline: tuple[SecretFile, ...] = ()
    """The ini files with its password."""

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """The files that are changed when the role gets another secret."""
        if self.auth_file is None or all(place.entry is None for place in self.places):
            return self.inline
        return (SecretFile(self.auth_file), *self.inline)

    @property
    def writes_file(self) -> bool:
        """Whether any file is changed."""
        return bool(self.files)

    @property
    def passes_keys(self) -> bool:
        """Whether server logins are made with the keys of the last client login."""
        return any(place.secret is ServerSecret.PASS_THROUGH for place in self.places)

    @property
    def unproven(self) -> tuple[Place, ...]:
        """Where no login as the role tells whether server connections can be opened as it."""
        return tuple(place for place in self.places if place.is_unproven)

    @property
    def pauses(self) -> bool:
        """Whether its clients have to wait: a server connection may be opened as the role.

        Not with auth_query: a pause would hold the query up that the canary has to bring about, and clients
        that wait would be served first, by the old secret.
        """
        return any(place.needs_postgres and place.secret is not ServerSecret.QUERY for place in self.places)


class DirectLogin(NamedTuple):
    """A login to a Postgres node without a pooler between."""

    node: str
    database: str
    """As Postgres calls it."""

    def __str__(self) -> str:
        return f"{self.node}/{self.database}"


@dataclass(frozen=True, slots=True)
class Scheme:
    """The whole."""

    role: str
    poolers: tuple[AtPooler, ...]
    """Those that know the role."""
    primaries: tuple[RoleReading, ...]
    """Where the password is changed."""
    replicas: Mapping[str, str]
    """Replicas behind some of the poolers, and their primaries."""
    direct: tuple[DirectLogin, ...] = ()
    """Where poolers log in with the password itself: it is tried there before any of them may."""

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that occur, each once."""
        return tuple(dict.fromkeys(place.method for one in self.poolers for place in one.places))

    @property
    def iterations(self) -> int:
        """Of the new verifier: as many as the servers ask for."""
        return max((reading.iterations for reading in self.primaries), default=4096)

    @property
    def pausing(self) -> tuple[str, ...]:
        """Poolers whose clients wait meanwhile."""
        return tuple(one.bouncer for one in self.poolers if one.pauses)
