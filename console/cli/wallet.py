"""Secrets of `pooldeck rotate`: prompted for on a terminal, read from elsewhere, or made up.

Never from its arguments. A secret leaves here as `SecretStr`, into a descriptor or a command's input.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shlex
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from typing import TypeVar

from pydantic import SecretStr

from console.cli.diagnostics import on_terminal
from console.config.credentials import Credentials
from console.config.secret_policy import generate_secret
from console.errors import CredentialError, UsageError

LIMIT_S = 120.0
"""How long a person, a command or whoever writes to a descriptor may take."""
_MAX_BYTES = 4096
T = TypeVar("T")


class CommandLineWallet:
    """Implements `console.operations.roles.Wallet`. It keeps nothing: each run has a wallet of its own.

    Args:
        credentials: runs commands.
        may_prompt: the terminal, and the descriptors, are not the console's.
    """

    def __init__(self, credentials: Credentials, *, may_prompt: bool) -> None:
        self._credentials = credentials
        self._may_prompt = may_prompt

    async def secret(self, source: str, *, role: str, which: str) -> SecretStr:
        """See `Wallet.secret`."""
        kind, _, detail = source.partition(":")
        if kind == "generate":
            return SecretStr(generate_secret(role))
        if kind == "prompt":
            if not self._may_prompt:
                raise UsageError(
                    f"the console does not ask for the {which} secret",
                    hint="say secret-from=command:LINE, or run pooldeck rotate in a shell",
                )
            return await _prompted(role, which)
        if kind == "fd":
            self._refuse_descriptor(detail, "secret-from" if which == "new" else "old-from")
            text = await _in_time(lambda: _read_descriptor(int(detail)), f"descriptor {detail}", role)
            return _line(text, f"descriptor {detail}", role)
        found = await self._credentials.anew().password(
            source, user=role, node=role, host=None, port=0, database="", timeout_s=LIMIT_S
        )
        assert found is not None, "a command gives a password or fails"
        return found

    async def hand_over(self, where: str, secret: SecretStr, *, role: str) -> None:
        """See `Wallet.hand_over`."""
        kind, _, detail = where.partition(":")
        line = secret.get_secret_value().encode() + b"\n"
        if kind == "fd":
            self._refuse_descriptor(detail, "secret-to")
            await _in_time(lambda: _write_descriptor(int(detail), line), f"descriptor {detail}", role)
            return
        await _feed(shlex.split(detail), line, role)

    def _refuse_descriptor(self, number: str, option: str) -> None:
        """Refuse one of the console's own: it would be its terminal, or a session."""
        if not self._may_prompt:
            raise UsageError(
                f"descriptor {number} is one of the console's own",
                hint=f"say {option}=command:LINE, or run pooldeck rotate in a shell",
            )


async def _prompted(role: str, which: str) -> SecretStr:
    if not on_terminal(sys.stdin, sys.stderr):
        raise UsageError(
            f"nobody is here to type the {which} secret",
            hint=f"--{'secret' if which == 'new' else 'old'}-from fd:NUMBER or command:LINE",
        )

    def ask() -> str:
        first = getpass.getpass(f"{which} password of {role}: ", stream=sys.stderr)
        if (
            which == "new"
            and getpass.getpass(f"{which} password of {role}, again: ", stream=sys.stderr) != first
        ):
            raise UsageError("the two were not the same")
        return first

    return SecretStr(await _in_time(ask, "the prompt", role))


async def _in_time(work: Callable[[], T], what: str, role: str) -> T:
    """Do what blocks in a thread that the program does not wait for.

    Raises:
        CredentialError: it failed, or took too long.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.to_thread(work)
    except TimeoutError:
        raise CredentialError(f"{what} did not answer within {LIMIT_S:g} s", where=role) from None
    except OSError as error:
        raise CredentialError(f"{what} cannot be used: {error.strerror}", where=role) from None


def _read_descriptor(number: int) -> bytes:
    kept = b""
    while len(kept) <= _MAX_BYTES and (part := os.read(number, _MAX_BYTES)):
        kept += part
        if b"\n" in part:
            break
    return kept


def _write_descriptor(number: int, line: bytes) -> None:
    while line:
        line = line[os.write(number, line) :]


def _line(text: bytes, what: str, role: str) -> SecretStr:
    try:
        line = text.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialError(f"{what} gave something that is not UTF-8 text", where=role) from None
    if not line:
        raise CredentialError(f"{what} gave no secret in its first line", where=role)
    return SecretStr(line)


async def _feed(argv: list[str], line: bytes, role: str) -> None:
    if not argv:
        raise UsageError("--secret-to command: names no command")
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
    except OSError as error:
        raise CredentialError(f"{argv[0]} cannot be started: {error.strerror}", where=role) from None
    try:
        async with asyncio.timeout(LIMIT_S):
            await process.communicate(line)
    except TimeoutError:
        raise CredentialError(f"{argv[0]} did not end within {LIMIT_S:g} s", where=role) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise CredentialError(
            f"{argv[0]} did not take the secret: it ended with {process.returncode}", where=role
        )
