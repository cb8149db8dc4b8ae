"""What commands on a host say of files, read: why one failed, whose a file is. Pure."""

from __future__ import annotations

from console.config.pgbouncer_texts import Trouble
from console.hosts.commands import last_line
from console.transport.base import CommandResult

_MODE_COLUMNS = 10
"""Of `ls -l`: the type and nine permissions; a mark for ACLs may follow."""


def trouble_of(done: CommandResult) -> tuple[Trouble, str]:
    """Tell from a command's message why it did not work."""
    # dd goes on to tell how much it copied.
    of_dd = (line for line in done.stderr.splitlines() if line.startswith(b"dd: "))
    last = last_line(next(of_dd, done.stderr))
    if last.startswith("sudo:"):
        return Trouble.DENIED, f"sudo refuses: {last.removeprefix('sudo:').strip()}"
    if done.exit_status in (126, 127) or not last:
        return Trouble.OTHER, last or f"the command ended with {done.exit_status or done.signal}"
    for trouble, words in _SAID.items():
        if last.endswith(words):
            return trouble, ""
    return Trouble.OTHER, last.rpartition(": ")[2]


_SAID = {
    Trouble.MISSING: ("No such file or directory", "Not a directory"),
    Trouble.DENIED: ("Permission denied", "Operation not permitted"),
    Trouble.FOLDER: ("Is a directory",),
}
"""As GNU's, BSD's and busybox's tools end their messages in the C locale."""


def failed(done: CommandResult | str) -> str | None:
    """Return why a command did not do its work; None when it did. A text is a reason already."""
    if isinstance(done, str):
        return done
    if done.exit_status == 0:
        return None
    trouble, reason = trouble_of(done)
    return reason or trouble.value


def owner_of(done: CommandResult | str) -> tuple[bytes, ...]:
    """Return permissions, user and group of a line of `ls -ldnL`."""
    fields = (b"" if isinstance(done, str) else done.stdout).split(maxsplit=4)
    return (fields[0][:_MODE_COLUMNS], fields[2], fields[3]) if len(fields) == 5 else ()


def line_of(output: bytes) -> str | None:
    """Return a path that a command printed, without the newline it added."""
    return output.removesuffix(b"\n").decode("utf-8", "surrogateescape") or None
