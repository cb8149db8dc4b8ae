"""Remote commands: from words to one line for the far login shell.

An SSH server takes one string and hands it to the user's shell; each word is quoted so that the shell
passes it on as it is. Secrets do not belong in words (they show in the far process list): use stdin.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from console.errors import UsageError


def command_line(argv: Sequence[str]) -> str:
    """Return `argv` quoted for a POSIX shell.

    Raises:
        UsageError: no words, an empty program name, or a NUL, which no command line can carry.
    """
    if not argv or not argv[0]:
        raise UsageError("a remote command needs a program name")
    if any("\0" in word for word in argv):
        raise UsageError("a remote command cannot hold a NUL character", where=argv[0].replace("\0", "\\0"))
    return shlex.join(argv)
