"""The folder a lab lives in: made, or refused with the reason, before anything is started."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path

from console.errors import LabError
from console.lab.process import Account
from console.lab.state import LOCK_FILE, STATE_FILE
from console.lab.tools import cache_dir

SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path, without the final zero (unix(7): sun_path is 108)."""
_PLAIN_PATH = re.compile(r"""[^\s"'\\#%;$]+""")
"""sshd, PgBouncer and PostgreSQL each quote differently, some not at all."""
_LONGEST_SOCKET = "core-99/sock/.s.PGSQL.65535"


def default_directory() -> Path:
    """Return where a lab lives when nobody says: beside the other things that can be made anew."""
    return cache_dir() / "lab"


def prepare_directory(directory: Path, account: Account) -> None:
    """Make the lab's folder: 0700, the account's.

    Raises:
        LabError: the path is too long for sockets or holds odd characters, the account cannot get there,
            it holds something else, or it belongs to someone else.
    """
    where = str(directory)
    if len(os.fsencode(directory / _LONGEST_SOCKET)) > SOCKET_PATH_LIMIT:
        raise LabError("the path is too long for Unix sockets", where=where, hint="choose a shorter --dir")
    if not _PLAIN_PATH.fullmatch(where):
        raise LabError(
            "the servers' configuration files take no such path",
            where=where,
            hint="choose a --dir without spaces, quotes and the like",
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _check_reachable(directory, account)
        if directory.exists():
            _check_ours(directory, account)
        else:
            directory.mkdir(mode=0o700, exist_ok=True)
        # The first file in it: it is what tells a lab's folder from any other.
        (directory / LOCK_FILE).touch(mode=0o600)
        os.chmod(directory, 0o700)
        if account.switch:
            for path in (directory, directory / LOCK_FILE):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        hint = f"choose another --dir, such as {default_directory()}"
        raise LabError(f"cannot make the lab's folder: {error.strerror}", where=where, hint=hint) from error


def check_lab(directory: Path) -> bool:
    """Say whether there is a lab in `directory`.

    Raises:
        LabError: it is not ours to read.
    """
    try:
        return (directory / LOCK_FILE).exists() or (directory / STATE_FILE).exists()
    except PermissionError as error:
        raise LabError("this lab belongs to someone else", where=str(directory)) from error


def account_of(directory: Path) -> Account:
    """Return the account a lab's servers run as: whoever owns its folder.

    Raises:
        LabError: the owner is no account of this machine.
    """
    uid = directory.stat().st_uid
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise LabError(f"its owner, uid {uid}, is no account here", where=str(directory)) from error
    return Account(entry.pw_name, uid, entry.pw_gid, Path(entry.pw_dir), switch=os.geteuid() == 0 != uid)


def _check_reachable(directory: Path, account: Account) -> None:
    for folder in directory.parents:
        found = folder.stat()
        if found.st_uid == account.uid:
            wanted = stat.S_IXUSR
        elif found.st_gid == account.gid:
            wanted = stat.S_IXGRP
        else:
            wanted = stat.S_IXOTH
        if not found.st_mode & wanted:
            raise LabError(
                f"the account {account.name}, which the servers run as, may not enter {folder}",
                where=str(directory),
                hint=f"choose another --dir, such as {default_directory()}",
            )


def _check_ours(directory: Path, account: Account) -> None:
    where = str(directory)
    if not directory.is_dir():
        raise LabError("this is not a folder", where=where, hint="choose another --dir")
    if directory.stat().st_uid not in (account.uid, os.geteuid()):
        raise LabError("this folder belongs to someone else", where=where, hint="choose another --dir")
    if any(directory.iterdir()) and not check_lab(directory):
        raise LabError(
            "this folder holds something that is not a lab", where=where, hint="choose an empty or new --dir"
        )
