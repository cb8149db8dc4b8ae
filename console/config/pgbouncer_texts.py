"""The files that one PgBouncer would read at a RELOAD, as they were read, and which ones it would want.

Values only: who reads them (`console.operations.config_files`) and who judges them (`pgbouncer_lint`) meet
here. A file's content may hold passwords: it is in no repr.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from console.config.pgbouncer_ini import Scan, scan_ini


class Trouble(StrEnum):
    """Why a file could not be read."""

    MISSING = "there is no such file"
    DENIED = "permission denied"
    FOLDER = "it is a folder"
    NO_PEM = "it holds no certificate and no key"
    """Of a TLS file: it is there, and OpenSSL would find nothing in it."""
    OTHER = "it could not be read"


_ERRNO = {Trouble.MISSING: errno.ENOENT, Trouble.DENIED: errno.EACCES, Trouble.OTHER: errno.EIO}


@dataclass(frozen=True, slots=True)
class HostFile:
    """One file as read within a moment."""

    path: str
    content: bytes | None = field(repr=False)
    """None: `trouble` says why."""
    trouble: Trouble | None = None
    reason: str = ""
    """More about `Trouble.OTHER`, for people."""

    @property
    def sha256(self) -> str | None:
        """Return the hash of its content; None when it could not be read."""
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()

    @property
    def why(self) -> str:
        """Why it could not be read, for people."""
        return self.reason or (self.trouble.value if self.trouble else "")


@dataclass(frozen=True, slots=True)
class ConfigTexts:
    """What was read for one PgBouncer."""

    root: str
    """Its main file, absolute."""
    working_folder: str
    """Where its relative names count from."""
    files: Mapping[str, HostFile]
    """By absolute path; the main file, what it includes, auth_file and such."""
    looked_for: Mapping[str, Trouble | None] = field(default_factory=dict)
    """Files whose content is nobody's business, such as private keys: None when it is there."""
    folder_assumed: bool = False
    """The process's working folder is not known, so the main file's was taken."""

    def absolute(self, name: str) -> str:
        """Return the path the process would open for `name`."""
        return str(Path(self.working_folder) / name)

    def with_files(self, files: Mapping[str, HostFile]) -> ConfigTexts:
        """Return it with more files, or other contents of the same."""
        return replace(self, files={**self.files, **files})

    def file(self, name: str) -> HostFile:
        """Return the file the process would open for `name`; one that was never read is trouble too."""
        path = self.absolute(name)
        return self.files.get(path) or HostFile(path, None, Trouble.OTHER, "it was not read")


def scan(texts: ConfigTexts) -> tuple[Scan, tuple[str, ...]]:
    """Read the main file and its includes; also return the includes that were not read yet.

    A folder counts as an empty file, as PgBouncer takes it (seen on 1.18, 1.24 and 1.26).
    """
    unread: list[str] = []

    def source(path: Path) -> bytes:
        file = texts.files.get(str(path))
        if file is None:
            unread.append(str(path))
            return b""
        if file.content is not None:
            return file.content
        if file.trouble is Trouble.FOLDER:
            return b""
        raise OSError(_ERRNO[file.trouble or Trouble.OTHER], file.why)

    found = scan_ini(Path(texts.root), source, working_folder=Path(texts.working_folder))
    return found, tuple(dict.fromkeys(unread))
