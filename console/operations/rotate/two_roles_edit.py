"""What a second role changes in a pooler's files, and what takes it, or the first one, out again. Pure.

Lines of other people stay byte for byte, also when they changed them while both roles were in use. No message
holds a secret.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import SecretStr

from console.config.pgbouncer_auth import read_auth_file
from console.config.pgbouncer_auth_edit import edit_auth_file
from console.config.pgbouncer_edit import apply_changes, in_force
from console.config.pgbouncer_ini import MAIN_SECTION, Entry
from console.config.pgbouncer_keys import Change, EditError, Key
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import ConfigTexts, HostFile, scan
from console.config.scram import SecretKind, scram_verifier
from console.errors import UsageError
from console.model.rows import Setting
from console.model.version import Version

_LISTS = ("admin_users", "stats_users")
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewSecret:
    """The second role's secret."""

    clear: SecretStr
    verifier: str


def stand_in_secret() -> NewSecret:
    """Return a secret to plan with, before the real one is asked for: whether the files can be changed."""
    clear = secrets.token_hex(_RANDOM_BYTES)
    return NewSecret(SecretStr(clear), scram_verifier(clear, iterations=1))


@dataclass(frozen=True, slots=True)
class Pooler:
    """What an edit has to know of the pooler that reads the files."""

    version: Version
    running: Mapping[str, Setting]

    @property
    def sticky(self) -> frozenset[str]:
        """Settings without a default: a second `[pgbouncer]` does not take them back."""
        return frozenset(key for key, setting in self.running.items() if setting.default is None)

    def value(self, key: str) -> str:
        """Return a setting as it runs; "" for none."""
        found = self.running.get(key)
        return (found.value or "") if found is not None else ""

    def auth_file(self, texts: ConfigTexts) -> str | None:
        """Return the path of its auth_file; None: it has none."""
        path = self.value("auth_file")
        return texts.absolute(path) if path else None


def with_second(texts: ConfigTexts, pooler: Pooler, role: str, to: str, secret: NewSecret) -> ConfigTexts:
    """Return the files with the second role wherever the first one is; what is there already stays.

    Raises:
        UsageError: a file cannot be changed so.
    """
    kind = entry_kind(texts, pooler, role, to)
    changed = texts
    if kind is not None:
        stored = secret.clear.get_secret_value() if kind is SecretKind.PLAINTEXT else secret.verifier
        changed = _with_entries(texts, pooler, {to: stored})
    return apply_changes(changed, ini_changes(texts, pooler, role, to, secret.clear), pooler.sticky)


def entry_kind(texts: ConfigTexts, pooler: Pooler, role: str, to: str) -> SecretKind | None:
    """Return what the second role's entry of the auth_file has to be; None: it needs none.

    As the first role's; but PgBouncer can log in by itself with a plaintext entry only.
    """
    content = _auth_content(texts, pooler)
    if content is None:
        return None
    entries = read_auth_file(content, pooler.version).by_name
    entry = entries.get(role) or entries.get(to)
    if entry is None or (entry.empty and entry.name == role):
        return None
    if entry.kind is SecretKind.PLAINTEXT or _logs_in_by_itself(texts, pooler, {role, to}):
        return SecretKind.PLAINTEXT
    return SecretKind.SCRAM


def ini_changes(
    texts: ConfigTexts, pooler: Pooler, role: str, to: str, secret: SecretStr
) -> tuple[Change, ...]:
    """Return the changes of ini files that put the second role in the first one's place.

    Raises:
        EditError: a line cannot be read.
    """
    return tuple(_ini_changes(texts, pooler, role, to, secret.get_secret_value()))


def _ini_changes(texts: ConfigTexts, pooler: Pooler, role: str, to: str, secret: str) -> Iterator[Change]:
    lines = in_force(scan(texts)[0], pooler.sticky)
    for (section, name), entry in lines.items():
        if section != "databases":
            continue
        pairs = _pairs(entry)
        if pairs.get("user") == role:
            yield Change(Key(section, name, "user"), to)
            if "password" in pairs:
                yield Change(Key(section, name, "password"), secret)
        if pairs.get("auth_user") == role:
            yield Change(Key(section, name, "auth_user"), to)
    if pooler.value("auth_user") == role:
        yield Change(Key(MAIN_SECTION, "auth_user"), to)
    for key in _LISTS:
        line = lines.get((MAIN_SECTION, key))
        names = _names(line.value) if line is not None else []
        if line is not None and role in names and to not in names:
            yield Change(Key(MAIN_SECTION, key), f"{line.value}, {to}")
    own = lines.get(("users", role))
    if own is not None and ("users", to) not in lines:
        yield Change(Key("users", to), own.value)


def is_listed(texts: ConfigTexts, pooler: Pooler, name: str) -> bool:
    """Say whether a role has an entry of the auth_file."""
    return bool(_secrets(texts, pooler, {name}))


def told(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return changes as lines for people, secrets left out."""
    return tuple(
        f"{change.key} = {'the new secret' if change.key.pair == 'password' else change.value}"
        for change in changes
    )


# -- the way out ------------------------------------------------------------------------------------


def scrambled(texts: ConfigTexts, pooler: Pooler, name: str) -> ConfigTexts:
    """Return the files with a secret for a role that nobody knows; unchanged where it has no entry.

    From 1.25 on a user whose entry just goes can log in as before until a restart (pgbouncer-admin.md,
    section 4, fact 6). The kind of the entry stays: from SCRAM to plaintext the old keys would be used on.
    """
    content = _auth_content(texts, pooler)
    entry = read_auth_file(content, pooler.version).by_name.get(name) if content is not None else None
    if entry is None:
        return texts
    word = secrets.token_urlsafe(_RANDOM_BYTES)
    return _with_entries(
        texts, pooler, {name: word if entry.kind is SecretKind.PLAINTEXT else scram_verifier(word)}
    )


def without(texts: ConfigTexts, pooler: Pooler, name: str) -> ConfigTexts:
    """Return the files without a role's entry, and without it among the users of the console.

    Raises:
        UsageError: a file cannot be changed so.
    """
    lines = in_force(scan(texts)[0], pooler.sticky)
    changes = []
    for key in _LISTS:
        line = lines.get((MAIN_SECTION, key))
        if line is not None and name in _names(line.value):
            kept = ", ".join(one for one in _names(line.value) if one != name)
            changes.append(Change(Key(MAIN_SECTION, key), kept))
    texts = apply_changes(texts, changes, pooler.sticky)
    return _with_entries(texts, pooler, {}, remove=frozenset({name}))


def as_before(
    texts: ConfigTexts,
    kept: Mapping[str, bytes],
    untouched: Mapping[str, str],
    pooler: Pooler,
    names: tuple[str, str],
    *,
    shut_out: bool,
) -> ConfigTexts:
    """Return the files as they were before the second role came, with what others changed since.

    Args:
        texts: as they are.
        kept: what each changed file held before, by path.
        untouched: the hash of what we made of it; one that still has it is put back byte for byte.
        pooler: that reads them.
        names: of the first role and the second.
        shut_out: the first one's entry may be scrambled or gone, by us.

    Raises:
        UsageError: a file cannot be changed so.
    """
    old = texts.with_files({path: HostFile(path, content) for path, content in kept.items()})
    same = [path for path in kept if texts.file(path).sha256 == untouched[path]]
    texts = texts.with_files({path: old.files[path] for path in same})
    texts = apply_changes(texts, list(_back(texts, old, pooler, names)), pooler.sticky)
    path = pooler.auth_file(texts)
    if path is None or path not in kept or path in same:
        return texts
    role, to = names
    before = _secrets(old, pooler, {role, to} if shut_out else {to})
    return _with_entries(texts, pooler, before, remove=frozenset({to} - before.keys()))


def _back(texts: ConfigTexts, old: ConfigTexts, pooler: Pooler, names: tuple[str, str]) -> Iterator[Change]:
    role, to = names
    was = in_force(scan(old)[0], pooler.sticky)
    now = in_force(scan(texts)[0], pooler.sticky)
    for change in ini_changes(old, _as_it_was(old, pooler), role, to, SecretStr("x")):
        key = change.key
        line, present = was.get((key.section, key.name)), now.get((key.section, key.name))
        if key.section == MAIN_SECTION and key.name in _LISTS:
            continue
        if key.pair is None:
            then, value = _value(line), _value(present)
        elif line is not None and present is not None:
            then, value = _pairs(line).get(key.pair), _pairs(present).get(key.pair)
        else:
            # A database that somebody took out meanwhile stays out.
            continue
        if then != value:
            yield Change(key, then)
    for name in _LISTS:
        line, present = was.get((MAIN_SECTION, name)), now.get((MAIN_SECTION, name))
        if line is None or present is None:
            continue
        first, listed = _names(line.value), _names(present.value)
        wanted = [one for one in listed if one != to or to in first]
        wanted += [role] if role in first and role not in wanted else []
        if wanted != listed:
            yield Change(Key(MAIN_SECTION, name), ", ".join(wanted))


def _value(line: Entry | None) -> str | None:
    return line.value if line is not None else None


def _as_it_was(old: ConfigTexts, pooler: Pooler) -> Pooler:
    """Return the pooler with the auth_user that the old files name."""
    line = in_force(scan(old)[0], pooler.sticky).get((MAIN_SECTION, "auth_user"))
    setting = pooler.running.get("auth_user")
    if setting is None or line is None:
        return pooler
    return replace(pooler, running={**pooler.running, "auth_user": replace(setting, value=line.value)})


def _secrets(texts: ConfigTexts, pooler: Pooler, names: set[str]) -> dict[str, str]:
    content = _auth_content(texts, pooler)
    if content is None:
        return {}
    entries = read_auth_file(content, pooler.version).by_name
    return {name: entries[name].secret_in(content) for name in sorted(names & entries.keys())}


# -- common -----------------------------------------------------------------------------------------


def _with_entries(
    texts: ConfigTexts, pooler: Pooler, stored: Mapping[str, str], *, remove: frozenset[str] = frozenset()
) -> ConfigTexts:
    path = pooler.auth_file(texts)
    content = _auth_content(texts, pooler)
    if path is None or content is None:
        return texts
    made = edit_auth_file(content, pooler.version, stored, remove=remove).content
    return texts.with_files({path: HostFile(path, made)})


def _auth_content(texts: ConfigTexts, pooler: Pooler) -> bytes | None:
    path = pooler.auth_file(texts)
    return texts.file(path).content if path is not None else None


def _logs_in_by_itself(texts: ConfigTexts, pooler: Pooler, names: set[str]) -> bool:
    """Say whether PgBouncer opens server connections as one of these from its auth_file alone."""
    if pooler.value("auth_user") in names:
        return True
    for entry in scan(texts)[0].ini.effective("databases").values():
        pairs = _pairs(entry)
        if pairs.get("auth_user") in names or (pairs.get("user") in names and "password" not in pairs):
            return True
    return False


def _pairs(entry: Entry) -> dict[str, str]:
    try:
        return dict(connection_pairs(entry))
    except UsageError:
        raise EditError(f"the line of {entry.key} cannot be read", where=str(entry.place)) from None


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,]+", text) if name]
