"""Pooldeck's own folders, by the XDG base directory specification.

It makes folders and nothing in them. All are 0700: journals and sockets are for their owner alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from console.errors import UsageError

_NAME = "pooldeck"


class XdgPaths:
    """Where Pooldeck keeps things. `state`, `cache` and `runtime` are made, 0700, when first asked for.

    Args:
        environ: the environment; None: the process's own.
        home: the home folder; None: `$HOME`, else the password database's.
        temporary: where the runtime folder goes on a machine without `$XDG_RUNTIME_DIR`.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
        temporary: Path = Path("/tmp"),
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._home = home
        self._temporary = temporary

    @property
    def config_path(self) -> Path:
        """The folder of `fleet.toml`; read only, so it may not exist."""
        return self._base("XDG_CONFIG_HOME", ".config") / _NAME

    @property
    def config(self) -> Path:
        """As `config_path`, but made when it is not there."""
        return _made(self.config_path)

    @property
    def state(self) -> Path:
        """Journal, audit log, crash reports: things to keep."""
        return _made(self._base("XDG_STATE_HOME", ".local/state") / _NAME)

    @property
    def cache(self) -> Path:
        """Things that can be had again."""
        return _made(self._base("XDG_CACHE_HOME", ".cache") / _NAME)

    @property
    def runtime(self) -> Path:
        """Near ends of tunnels. Short: a Unix socket's path has at most 107 bytes.

        Raises:
            UsageError: somebody else owns the folder, or put a link in its place.
        """
        given = Path(self._environ.get("XDG_RUNTIME_DIR", ""))
        # After `su` the variable may still name the other user's folder: then it is not used.
        if given.is_absolute() and given.is_dir() and given.stat().st_uid == os.geteuid():
            return _made(given / _NAME)
        return _made(self._temporary / f"{_NAME}-{os.geteuid()}")

    def _base(self, variable: str, below_home: str) -> Path:
        given = Path(self._environ.get(variable, ""))
        # The specification: a relative path is invalid and to be ignored.
        return given if given.is_absolute() else self._home_folder() / below_home

    def _home_folder(self) -> Path:
        if self._home is not None:
            return self._home
        named = Path(self._environ.get("HOME", ""))
        return named if named.is_absolute() else Path.home()


def _made(folder: Path) -> Path:
    """Make `folder` 0700 and see that it is ours, since in /tmp anybody could have made it first."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{folder} is not a folder of ours", hint="remove it; nothing of ours is in it")
        if found.st_uid != os.geteuid():
            raise UsageError(
                f"{folder} belongs to user id {found.st_uid}, not to us",
                hint="set XDG_RUNTIME_DIR to a folder of your own, or remove it",
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror or error}") from error
    return folder
