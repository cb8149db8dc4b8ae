"""Where the texts of `config set`, `config push` and `config rollback` come from: keys, a file, a backup.

They only read. A secret is never taken from the command line: it would show in process lists, shell histories
and the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from pydantic import field_validator, model_validator

from console.config.files import read_bounded
from console.config.pgbouncer_edit import apply_changes, in_force
from console.config.pgbouncer_ini import MAIN_SECTION, Entry
from console.config.pgbouncer_keys import Change, EditError, Key, parse_change, parse_key
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import ConfigTexts, HostFile, scan
from console.errors import UsageError
from console.model.rows import Setting
from console.operations.config_backups import backup_of, backups_of, runs_of
from console.operations.config_change import ConfigChange, Wanted, look_at_change
from console.operations.config_files import LIMIT_BYTES
from console.operations.reload_files import ConfigLook, ConfigReader
from console.operations.spec import Look, Parameters
from console.poolers.dialects import dialect_for

IDENTITY = (
    *("listen_addr", "listen_port", "unix_socket_dir", "pidfile", "logfile", "peer_id"),
    *("syslog_ident", "job_name"),
)
"""Settings that tell a process from its peers: a file that is pushed to many leaves each its own."""
_PASSWORD = re.compile(r"\bpassword\s*=", re.IGNORECASE)

T = TypeVar("T")


def _refuse_secret(change: Change) -> None:
    key = change.key
    secret = dialect_for("pgbouncer").may_be_secret
    if secret(key.pair or "") or (key.section == MAIN_SECTION and secret(key.name)):
        name = str(key)
    elif key.pair is None and key.section != MAIN_SECTION and _PASSWORD.search(change.value or ""):
        name = f"a password of {key}"
    else:
        return
    raise ValueError(
        f"{name} would show in process lists and in the journal: write it into a file and use config push"
    )


class ConfigSetParameters(Parameters):
    """`changes`: `KEY=VALUE`, one after another; `remove`: keys that go."""

    changes: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @field_validator("changes")
    @classmethod
    def _readable(cls, changes: tuple[str, ...]) -> tuple[str, ...]:
        for text in changes:
            _refuse_secret(_read(parse_change, text))
        return changes

    @field_validator("remove")
    @classmethod
    def _keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for text in keys:
            _read(parse_key, text)
        return keys

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.changes and not self.remove:
            raise ValueError("nothing is asked for: write KEY=VALUE or --remove KEY")
        return self

    @property
    def asked(self) -> tuple[Change, ...]:
        """Everything in the order in which it is done."""
        return (
            *(parse_change(text) for text in self.changes),
            *(Change(parse_key(text), None) for text in self.remove),
        )


class ConfigPushParameters(Parameters):
    """`file`: on this machine; `take`, `keep`: keys whose line is the file's, or the target's own."""

    file: str
    take: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @field_validator("file")
    @classmethod
    def _absolute(cls, file: str) -> str:
        # A plan that is approved from another folder means the same file.
        return str(Path(file).expanduser().absolute())

    @field_validator("take", "keep")
    @classmethod
    def _keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for text in keys:
            _read(parse_key, text)
        return keys

    @property
    def kept(self) -> tuple[Key, ...]:
        """The keys of which the target's own line stays."""
        taken = {parse_key(text) for text in self.take}
        own = [Key(MAIN_SECTION, name) for name in IDENTITY]
        own += [parse_key(text) for text in self.keep]
        return tuple(key for key in dict.fromkeys(own) if key not in taken)


class ConfigRollbackParameters(Parameters):
    """`run`: whose backups are put back; "": the newest."""

    run: str = ""

    @field_validator("run")
    @classmethod
    def _is_run(cls, run: str) -> str:
        if run and not re.fullmatch(r"[0-9a-f]{16}", run):
            raise ValueError("must be a run's number, 16 digits of 0-9 and a-f, as receipts have it")
        return run


def _read(parse: Callable[[str], T], text: str) -> T:
    """Read what was typed; a mistake in it is one of the parameter."""
    try:
        return parse(text)
    except EditError as error:
        where = f"{error.where}: " if error.where else ""
        raise ValueError(f"{where}{error.message}{f'; {error.hint}' if error.hint else ''}") from None


# -- config set -------------------------------------------------------------------------------------


async def look_for_set(look: Look) -> ConfigChange:
    """Read what `config set` would make of the files."""
    asked: tuple[Change, ...] = look.parameters.asked
    sticky = _sticky(look.observation.config)

    async def make(before: ConfigLook, _: ConfigReader) -> Wanted:
        assert before.texts is not None, "look_at_change has seen to that"
        texts = await asyncio.to_thread(apply_changes, before.texts, asked, sticky)
        return Wanted(texts, before.texts, tuple(change.key for change in asked))

    return await look_at_change(look, make)


# -- config push ------------------------------------------------------------------------------------


async def look_for_push(look: Look) -> ConfigChange:
    """Read what `config push` would make of the main file.

    Raises:
        UsageError: the file to be pushed cannot be read.
    """
    parameters: ConfigPushParameters = look.parameters
    content = await asyncio.to_thread(_pushed, parameters.file)
    sticky = _sticky(look.observation.config)

    async def make(before: ConfigLook, reader: ConfigReader) -> Wanted:
        own = before.texts
        assert own is not None, "look_at_change has seen to that"
        pushed = await reader.gather(own.with_files({own.root: HostFile(own.root, content)}))
        changes, notes = await asyncio.to_thread(_own_keys, own, pushed, parameters.kept, sticky)
        texts = await asyncio.to_thread(apply_changes, pushed, changes, sticky)
        base = pushed.with_files({own.root: own.files[own.root]})
        digest = hashlib.sha256(content).hexdigest()
        return Wanted(texts, base, None, notes, {f"pushed {parameters.file}": digest})

    return await look_at_change(look, make)


def _pushed(file: str) -> bytes:
    try:
        return read_bounded(Path(file), LIMIT_BYTES)
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", where=file) from None


def _own_keys(
    own: ConfigTexts, pushed: ConfigTexts, keys: Iterable[Key], sticky: Collection[str]
) -> tuple[list[Change], tuple[str, ...]]:
    """Return the changes that make the target's own lines of what is pushed, and what they are, in words."""
    there, given = in_force(scan(own)[0], sticky), in_force(scan(pushed)[0], sticky)
    changes, notes = [], []
    for key in keys:
        old, new = _value_of(there, key), _value_of(given, key)
        if old == new:
            continue
        changes.append(Change(key, old))
        if old is None:
            notes.append(f"kept as it is there: {key} is not set")
        elif key.section == MAIN_SECTION and not dialect_for("pgbouncer").may_be_secret(key.name):
            notes.append(f"kept as it is there: {key} = {old or 'empty'}")
        else:
            notes.append(f"kept as it is there: {key}")
    return changes, tuple(notes)


def _value_of(lines: Mapping[tuple[str, str], Entry], key: Key) -> str | None:
    entry = lines.get((key.section, key.name))
    if entry is None or key.pair is None:
        return None if entry is None else entry.value
    try:
        return dict(connection_pairs(entry)).get(key.pair)
    except UsageError:
        raise EditError(f"the line of {key.name} cannot be read", where=str(entry.place)) from None


# -- config rollback --------------------------------------------------------------------------------


async def look_for_rollback(look: Look) -> ConfigChange:
    """Read what `config rollback` would make of the files."""
    wanted_run: str = look.parameters.run

    async def make(before: ConfigLook, _: ConfigReader) -> Wanted:
        host, texts = before.host, before.texts
        assert host is not None, "look_at_change has seen to that"
        assert texts is not None, "look_at_change has seen to that"
        found = await backups_of(host, texts.files, timeout_s=before.timeout_s)
        runs = runs_of(found)
        run = wanted_run or (runs[0] if runs else "")
        if run not in runs:
            there = f"there are those of {', '.join(runs)}" if runs else "there is none at all"
            raise EditError(f"there is no backup of run {run}; {there}" if run else "there is no backup")
        paths = [path for one, path in found if one == run]
        copies = await asyncio.gather(
            *(host.read(backup_of(path, run), timeout_s=before.timeout_s) for path in paths)
        )
        for copy in copies:
            if copy.content is None:
                raise EditError(f"the backup cannot be read: {copy.why}", where=copy.path)
        old = {path: replace(copy, path=path) for path, copy in zip(paths, copies, strict=True)}
        return Wanted(
            texts.with_files(old),
            texts,
            None,
            (f"puts back what the files held before run {run}",),
            {f"backup of {path}": copy.sha256 or "" for path, copy in old.items()},
        )

    return await look_at_change(look, make)


def _sticky(running: Mapping[str, Setting]) -> frozenset[str]:
    """Return the settings without a default: a second `[pgbouncer]` does not take them back."""
    return frozenset(key for key, setting in running.items() if setting.default is None)
