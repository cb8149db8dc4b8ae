"""Commands on a pooler's host or on this machine: run, fed, bounded; and what their failures mean.

Nothing here knows what a command is for. Contents go through standard input and output only: words show in
process lists.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from console.config.pgbouncer_texts import Trouble
from console.errors import NodeError, Phase
from console.transport.base import CommandResult

SHORT_OUTPUT_BYTES = 65_536
_MODE_COLUMNS = 10
"""Of `ls -l`: the type and nine permissions; a mark for ACLs may follow."""


class Runner(Protocol):
    """Runs words as a command."""

    async def __call__(
        self, argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        """Return what it left, `limit_bytes` of its output at most.

        Raises:
            NodeError: it could not be run, or did not end in time.
        """
        ...


async def run_here(
    argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
) -> CommandResult:
    """Run a command on this machine; see `Runner`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NodeError(Phase.PROTOCOL, f"{argv[0]} cannot be run here: {error.strerror}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            output, errors, _ = await asyncio.gather(
                _up_to(process.stdout, limit_bytes),
                _up_to(process.stderr, SHORT_OUTPUT_BYTES),
                _feed(process.stdin, stdin),
            )
            truncated = len(output) > limit_bytes
            status = None if truncated else await process.wait()
    except TimeoutError:
        raise NodeError(Phase.PROTOCOL, f"no answer within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return CommandResult(status, output[:limit_bytes], errors, truncated)


async def _feed(stream: asyncio.StreamWriter | None, content: bytes) -> None:
    if stream is None:
        return
    # One that ends early says why on its standard error.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(content)
        await stream.drain()
    stream.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _up_to(stream: asyncio.StreamReader, limit_bytes: int) -> bytes:
    """Return what comes, and one byte more than `limit_bytes` when there is more."""
    parts: list[bytes] = []
    left = limit_bytes + 1
    while left > 0 and (part := await stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def trouble_of(done: CommandResult) -> tuple[Trouble, str]:
    """Tell from a command's message why it did not work."""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    # dd goes on to tell how much it copied.
    last = next((line for line in said if line.startswith("dd: ")), said[-1] if said else "")
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
