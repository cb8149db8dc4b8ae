"""Gets passwords from where the inventory says: a password file, the environment, a command, the keyring.

A password leaves here only as `SecretStr`. No exception, log or repr of this module holds one; of a command
only the program's name and its exit status are told, since arguments and output may hold secrets.
Nothing here blocks the event loop or waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shlex
import signal
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import SecretStr

from console.config import pgpass
from console.errors import CredentialError, DeadlineError, Phase

_Result = TypeVar("_Result")
_MAX_OUTPUT_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose password is looked for."""

    user: str
    node: str
    """The node's name in the inventory."""
    host: str | None
    """The address or socket directory as the inventory says, not a tunnel's near end."""
    port: int
    database: str
    """`pgbouncer` for an admin console."""


class Passwords(Protocol):
    """Where passwords come from; `Credentials` is the real one."""

    async def password(
        self,
        source: str | None,
        *,
        user: str,
        node: str,
        host: str | None,
        port: int,
        database: str,
        timeout_s: float,
    ) -> SecretStr | None:
        """Return the password; None when none is to be sent."""
        ...


class Credentials:
    """Passwords for one run of the program. Safe to ask from many tasks at once.

    What a command or the keyring said is kept until the program ends: each is asked once.

    Args:
        environ: the environment; None: the process's own.
        home: the home folder; None: the user's.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, home: Path | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._home = home
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._kept: dict[Hashable, SecretStr] = {}

    def __repr__(self) -> str:
        return "Credentials()"

    def anew(self) -> Credentials:
        """Return the same sources with nothing kept: what a command says may be another secret by now."""
        return Credentials(self._environ, self._home)

    async def password(
        self,
        source: str | None,
        *,
        user: str,
        node: str,
        host: str | None,
        port: int,
        database: str,
        timeout_s: float,
    ) -> SecretStr | None:
        """Return the password; None when none is to be sent.

        `source` None means the password file if it has a line that matches, else no password, as libpq does.
        `pgpass` written out means that there must be one.

        Raises:
            CredentialError: the source has no password for this user, or cannot be used.
            DeadlineError: the source did not answer within `timeout_s`.
        """
        wanted = Wanted(user, node, host, port, database)
        kind, _, detail = (source or "").partition(":")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._from(kind, detail.strip(), wanted)
        except TimeoutError:
            raise DeadlineError(
                Phase.CREDENTIALS,
                f"the password of {user} did not come within {timeout_s:g} s from {_told(kind, detail)}",
                limit_s=timeout_s,
                where=node,
                hint="a password command must not prompt" if kind == "command" else None,
            ) from None

    async def _from(self, kind: str, detail: str, wanted: Wanted) -> SecretStr | None:
        match kind:
            case "none":
                return None
            case "" | "pgpass":
                return await self._from_file(detail, wanted, required=bool(kind))
            case "env":
                return self._from_environment(detail, wanted)
            case "command":
                argv = _command_line(detail, wanted)
                return await self._once(argv, lambda: self._from_command(argv, wanted))
            case "keyring":
                key = ("keyring", detail, wanted.user)
                return await self._once(key, lambda: _from_keyring(detail, wanted))
            case _:
                raise CredentialError(
                    f"password_from of {wanted.user} names no source that is known",  # it may be a password
                    where=wanted.node,
                    hint="use none, pgpass, env:NAME, command:… or keyring:SERVICE",
                )

    async def _from_file(self, name: str, wanted: Wanted, *, required: bool) -> SecretStr | None:
        home = self._home or Path.home()
        file = _expanded(name, home) if name else pgpass.default_file(self._environ, home)
        hosts = pgpass.host_candidates(wanted.node, wanted.host)
        password = await _off_loop(
            lambda: pgpass.read_password(
                file, hosts=hosts, port=wanted.port, database=wanted.database, user=wanted.user
            )
        )
        if password:
            return SecretStr(password)
        if not required:
            return None
        line = f"{wanted.node}:{wanted.port}:{wanted.database}:{wanted.user}:PASSWORD"
        absent = not await _off_loop(file.exists)
        message = "does not exist" if absent else f"has no line for {' or '.join(hosts)}, {_address(wanted)}"
        raise CredentialError(
            f"the password file {file} {message}", where=wanted.node, hint=f"add a line such as {line}"
        )

    def _from_environment(self, name: str, wanted: Wanted) -> SecretStr:
        value = self._environ.get(name)
        if not value:
            state = "not set" if value is None else "empty"
            raise CredentialError(
                f"the variable {name} for the password of {wanted.user} is {state}",
                where=wanted.node,
                hint=f"export {name} before starting pooldeck",
            )
        return SecretStr(value)

    async def _once(self, key: Hashable, ask: Callable[[], Awaitable[SecretStr]]) -> SecretStr:
        """Ask once a run for each key, however many tasks want it; a failure is not kept."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._kept:
                self._kept[key] = await ask()
            return self._kept[key]

    async def _from_command(self, argv: tuple[str, ...], wanted: Wanted) -> SecretStr:
        program = argv[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                env=dict(self._environ),
                start_new_session=True,  # No terminal to prompt on, and one group to end.
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a valid command line"
            raise CredentialError(
                f"the password command {program} cannot be started: {reason}", where=wanted.node
            ) from None
        try:
            output = await _bounded_output(process)
            status = await process.wait()
        finally:
            await _ended(process)
        if status != 0:
            ended = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise CredentialError(
                f"the password command {program} failed with {ended}",
                where=wanted.node,
                hint="run it in a shell to see why; its messages are not shown here, they may hold secrets",
            )
        return _first_line(output, f"the password command {program}", wanted)


async def _from_keyring(service: str, wanted: Wanted) -> SecretStr:
    def ask() -> str | None:
        try:
            keyring = importlib.import_module("keyring")
        except ImportError:
            raise CredentialError(
                "the source keyring needs the package of that name, which is not installed",
                where=wanted.node,
                hint="pipx inject pooldeck keyring, or uv tool install pooldeck --with keyring",
            ) from None
        try:
            password: object = keyring.get_password(service, wanted.user)
        except Exception as error:  # Backends raise their own kinds; the text may repeat what was stored.
            raise CredentialError(
                f"the keyring cannot be used ({type(error).__name__})",
                where=wanted.node,
                hint="is it unlocked, and is there a desktop session or another backend?",
            ) from None
        return password if isinstance(password, str) else None

    password = await _off_loop(ask)
    if not password:
        raise CredentialError(
            f"the keyring has no password of {wanted.user} for the service {service}",
            where=wanted.node,
            hint=f"keyring set {shlex.quote(service)} {shlex.quote(wanted.user)}",
        )
    return SecretStr(password)


def _command_line(text: str, wanted: Wanted) -> tuple[str, ...]:
    """Split as a shell would, but run none. Filled in: `{user}`, `{node}`, `{host}`, `{port}`, `{database}`.

    A password never is: it comes out of a command and goes into none.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise CredentialError(
            "the password command cannot be read: it is empty or its quotes do not match", where=wanted.node
        )
    values = {
        "{user}": wanted.user,
        "{node}": wanted.node,
        "{host}": wanted.host or "localhost",
        "{port}": str(wanted.port),
        "{database}": wanted.database,
    }
    return tuple(_filled(word, values) for word in words)


def _filled(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


async def _bounded_output(process: Process) -> bytes:
    """Read to the end and keep the beginning, so that a program that talks much is not blocked."""
    assert process.stdout is not None
    kept = b""
    while chunk := await process.stdout.read(_MAX_OUTPUT_BYTES):
        kept = (kept + chunk)[:_MAX_OUTPUT_BYTES]
    return kept


async def _ended(process: Process) -> None:
    """End the command and what it started, if it still runs."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _first_line(output: bytes, what: str, wanted: Wanted) -> SecretStr:
    """The first line is the password: `pass` keeps notes below it."""
    try:
        line = output.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialError(f"{what} wrote something that is not UTF-8 text", where=wanted.node) from None
    if not line:
        raise CredentialError(f"{what} wrote no password in its first line", where=wanted.node)
    return SecretStr(line)


async def _off_loop(function: Callable[[], _Result]) -> _Result:
    """Run a blocking call in a thread of its own, which ends with the program even if it hangs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def finish(result: _Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None is a result too

    def run() -> None:
        result: _Result | None = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as raised:  # handed to the waiting task
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="pooldeck-credentials", daemon=True).start()
    return await future


def _expanded(name: str, home: Path) -> Path:
    return home / name[2:] if name.startswith("~/") else Path(name)


def _address(wanted: Wanted) -> str:
    return f"port {wanted.port}, database {wanted.database}, user {wanted.user}"


def _told(kind: str, detail: str) -> str:
    """Name a source without what may be secret in it: of a command only the program."""
    if kind == "command":
        return f"the command {detail.split(maxsplit=1)[0]}" if detail else "the command"
    return f"{kind}:{detail}" if detail else kind or "the password file"
