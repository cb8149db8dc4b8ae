"""What a change of configuration files would make of them: read, edited in memory, and judged.

It only reads. Contents stay in memory, since they may hold passwords; what a permit is bound to is their
SHA-256. How the three verbs come to their texts is `config_sources`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from console.config.pgbouncer_edit import changed_paths
from console.config.pgbouncer_expect import PeerLine
from console.config.pgbouncer_keys import EditError, Key
from console.config.pgbouncer_texts import ConfigTexts
from console.config.schema import Bouncer
from console.operations.outcome import NOTHING
from console.operations.reload_check import read_peers
from console.operations.reload_files import ConfigLook, ConfigReader, look_at_files
from console.operations.spec import Look
from console.poolers.base import Capability


@dataclass(frozen=True, slots=True)
class FileEdit:
    """One file that is replaced."""

    path: str
    old: bytes = field(repr=False)
    new: bytes = field(repr=False)
    old_sha256: str
    new_sha256: str

    @property
    def forth(self) -> str:
        """As plans and the journal have it."""
        return f"write {self.path} (sha256 {self.new_sha256})"

    @property
    def back(self) -> str:
        """Likewise, of putting back what was there."""
        return f"write {self.path} (sha256 {self.old_sha256})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The texts that a verb wants."""

    texts: ConfigTexts
    base: ConfigTexts
    """The same files as they are on the host."""
    keys: tuple[Key, ...] | None = None
    """What was asked for; None: the whole of the texts."""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """What the look of a verb that changes files found. Implements `console.operations.spec.Found`."""

    before: ConfigLook
    """The files as they are."""
    after: ConfigLook | None = None
    """As they would be; None: `refused` says why not."""
    edits: tuple[FileEdit, ...] = ()
    """The main file last."""
    wanted: Wanted | None = None
    refused: str | None = None

    @property
    def facts(self) -> Mapping[str, str]:
        """The hashes of what is there and of what it is made from; no secrets."""
        return {**self.before.facts, **(self.wanted.facts if self.wanted is not None else NOTHING)}


Make = Callable[[ConfigLook, ConfigReader], Awaitable[Wanted]]
"""Returns the texts that are wanted, given those that are there; raises EditError."""


async def look_at_change(look: Look, make: Make) -> ConfigChange:
    """Read the files, have them changed in memory, and judge what comes out.

    Raises:
        NodeError: the pooler did not answer. UsageError: what the change is made from cannot be read.
    """
    assert isinstance(look.node, Bouncer), "only poolers have such files"
    before = await look_at_files(look)
    if before.host is None or before.texts is None:
        return ConfigChange(before, refused=f"its files cannot be read: {before.unread}")
    seen = look.observation
    reader = ConfigReader(before.host, seen.config, seen.version, look.node, before.timeout_s)
    main = before.texts.file(before.texts.root)
    if main.content is None:
        return ConfigChange(before, refused=f"{main.path}: {main.why}")
    try:
        wanted = await make(before, reader)
    except EditError as error:
        return ConfigChange(before, refused=_words(error))
    texts = await reader.gather(wanted.texts)
    judged = await reader.judge(texts)
    after = replace(before, texts=texts, lint=judged, peers=None)
    if after.judged is not None:
        after = replace(after, peers=await _peers(look))
    return ConfigChange(before, after, await asyncio.to_thread(_edits, wanted.base, texts), wanted)


def _edits(old: ConfigTexts, new: ConfigTexts) -> tuple[FileEdit, ...]:
    edits = []
    for path in changed_paths(old, new):
        was, now = old.files[path], new.files[path]
        if was.content is not None and now.content is not None:
            edits.append(FileEdit(path, was.content, now.content, was.sha256 or "", now.sha256 or ""))
    return tuple(edits)


async def _peers(look: Look) -> Mapping[int, PeerLine] | None:
    if not look.dialect.has(look.observation.version, Capability.PEERS):
        return None
    return read_peers(await look.session.show("PEERS", timeout_s=look.timeout_s))


def _words(error: EditError) -> str:
    where = f"{error.where}: " if error.where else ""
    return f"{where}{error.message}{f'; {error.hint}' if error.hint else ''}"
