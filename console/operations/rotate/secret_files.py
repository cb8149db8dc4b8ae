"""The files of a pooler that a role's secret stands in: its auth_file, and ini files with `password=`. Pure.

Contents come in and go out as bytes; no text of an error holds one. Order, comments and every other byte
stay (`pgbouncer_edit`, `pgbouncer_auth_edit`); what is made is read back by readers that follow PgBouncer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from console.config.pgbouncer_auth import read_auth_file
from console.config.pgbouncer_auth_edit import edit_auth_file
from console.config.pgbouncer_edit import apply_changes, changed_paths, in_force
from console.config.pgbouncer_ini import Entry, IniError
from console.config.pgbouncer_keys import Change, EditError, Key
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import ConfigTexts, HostFile, scan
from console.config.scram import SecretKind
from console.errors import UsageError
from console.model.version import Version

_SECTION = "databases"
_TRIAL = "only to see that it can be changed"
"""With blanks and thus in quotes, as the longest way to write a password."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One of them."""

    path: str
    """As the pooler opens it."""
    lines: tuple[str, ...] = ()
    """The lines of `[databases]` whose `password=` is the role's; (): it is the auth_file."""

    @property
    def is_auth_file(self) -> bool:
        """Whether it is the auth_file."""
        return not self.lines

    def what(self, role: str) -> str:
        """Say what in it changes, for people."""
        return f"the entry of {role}" if self.is_auth_file else f"password= of {', '.join(self.lines)}"


def inline_files(texts: ConfigTexts, role: str) -> tuple[SecretFile, ...]:
    """Return the ini files in which lines that count have a role's `user=` and `password=`."""
    found: dict[str, list[str]] = {}
    for (section, name), entry in in_force(scan(texts)[0]).items():
        pairs = _pairs(entry)
        if section == _SECTION and pairs.get("user") == role and "password" in pairs:
            found.setdefault(str(entry.place.file), []).append(name)
    return tuple(SecretFile(path, tuple(names)) for path, names in found.items())


def why_not_editable(texts: ConfigTexts, files: Sequence[SecretFile]) -> str | None:
    """Say why passwords in ini files cannot be changed without touching something else; None: they can."""
    if not files:
        return None
    try:
        made = apply_changes(texts, _changes(files, _TRIAL))
    except EditError as error:
        where = f"{error.where}: " if error.where else ""
        return f"{where}{error.message}"
    others = set(changed_paths(texts, made)) - {file.path for file in files}
    return f"{', '.join(sorted(others))} would change along" if others else None


def contents_with(
    texts: ConfigTexts,
    files: Sequence[SecretFile],
    version: Version,
    role: str,
    *,
    verifier: str,
    secret: SecretStr,
) -> dict[str, bytes]:
    """Return the files with the new secret: plaintext stays plaintext, an md5 entry becomes a SCRAM secret.

    Args:
        texts: the files as they are.
        files: those to change.
        version: of the PgBouncer that reads them.
        role: whose secret.
        verifier: of `secret`.
        secret: the new one.

    Raises:
        UsageError: it cannot be written.
    """
    clear = secret.get_secret_value()
    inline = [file for file in files if not file.is_auth_file]
    made = apply_changes(texts, _changes(inline, clear)) if inline else texts
    contents = {file.path: _content(made, file.path) for file in inline}
    for file in files:
        if file.is_auth_file:
            old = _content(texts, file.path)
            entry = read_auth_file(old, version).by_name.get(role)
            plaintext = entry is not None and entry.kind is SecretKind.PLAINTEXT
            stored = clear if plaintext else verifier
            contents[file.path] = edit_auth_file(old, version, {role: stored}).content
    return contents


def clear_secret_in(
    texts: ConfigTexts, files: Sequence[SecretFile], version: Version, role: str
) -> SecretStr | None:
    """Return the role's password where a file has it in clear; None: none has."""
    for file in files:
        if file.is_auth_file:
            content = _content(texts, file.path)
            entry = read_auth_file(content, version).by_name.get(role)
            if entry is not None and entry.kind is SecretKind.PLAINTEXT and not entry.empty:
                return SecretStr(entry.secret_in(content))
            continue
        lines = in_force(scan(texts)[0])
        for name in file.lines:
            entry_of = lines.get((_SECTION, name))
            password = _pairs(entry_of).get("password") if entry_of is not None else None
            if password:
                return SecretStr(password)
    return None


def verifier_in(texts: ConfigTexts, files: Sequence[SecretFile], version: Version, role: str) -> str | None:
    """Return the SCRAM secret that an auth_file has of a role; None: it has none."""
    for file in files:
        if file.is_auth_file:
            content = _content(texts, file.path)
            entry = read_auth_file(content, version).by_name.get(role)
            if entry is not None and entry.kind is SecretKind.SCRAM:
                return entry.secret_in(content)
    return None


def with_contents(texts: ConfigTexts, contents: Mapping[str, bytes]) -> ConfigTexts:
    """Return the texts with other contents of some files."""
    return texts.with_files({path: HostFile(path, content) for path, content in contents.items()})


def _changes(files: Sequence[SecretFile], password: str) -> list[Change]:
    return [Change(Key(_SECTION, name, "password"), password) for file in files for name in file.lines]


def _pairs(entry: Entry) -> dict[str, str]:
    try:
        return dict(connection_pairs(entry))
    except IniError:
        return {}


def _content(texts: ConfigTexts, path: str) -> bytes:
    content = texts.file(path).content
    if content is None:
        raise UsageError(f"it was not read: {texts.file(path).why}", where=path)
    return content
