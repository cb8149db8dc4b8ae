"""Each source gives the password or says why not; none ever shows it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import SecretStr

from console.config.credentials import Credentials
from console.errors import CredentialError, DeadlineError, NodeError, Phase

SECRET = "hunter2-s3cret"


def made(tmp_path: Path, **environ: str) -> Credentials:
    return Credentials(environ={"PATH": "/usr/bin:/bin", **environ}, home=tmp_path)


async def ask(
    credentials: Credentials, source: str | None, *, user: str = "mon", timeout_s: float = 20.0
) -> SecretStr | None:
    return await credentials.password(
        source,
        user=user,
        node="edge-1a",
        host="10.0.0.1",
        port=6432,
        database="pgbouncer",
        timeout_s=timeout_s,
    )


async def plain(credentials: Credentials, source: str | None, *, user: str = "mon") -> str | None:
    secret = await ask(credentials, source, user=user)
    return secret.get_secret_value() if secret is not None else None


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "ask"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


async def test_none_sends_no_password(tmp_path: Path) -> None:
    assert await ask(made(tmp_path), "none") is None


async def test_the_environment(tmp_path: Path) -> None:
    credentials = made(tmp_path, EDGE_PW=SECRET, EMPTY="")
    assert await plain(credentials, "env:EDGE_PW") == SECRET
    for name, state in (("EMPTY", "empty"), ("ABSENT", "not set")):
        with pytest.raises(CredentialError, match=f"{name} .* is {state}"):
            await ask(credentials, f"env:{name}")


async def test_the_password_file_by_node_name_address_and_variable(tmp_path: Path) -> None:
    home = tmp_path / ".pgpass"
    home.write_text(f"edge-1a:6432:pgbouncer:mon:{SECRET}\n10.0.0.1:*:*:adm:two\n")
    home.chmod(0o600)
    credentials = made(tmp_path)
    assert await plain(credentials, "pgpass") == SECRET
    assert await plain(credentials, None) == SECRET
    assert await plain(credentials, "pgpass", user="adm") == "two"
    other = tmp_path / "other"
    other.write_text("*:*:*:*:three\n")
    other.chmod(0o600)
    assert await plain(made(tmp_path, PGPASSFILE=str(other)), "pgpass") == "three"
    assert await plain(credentials, f"pgpass:{other}") == "three"


async def test_without_a_line_the_default_sends_none_and_a_named_source_complains(tmp_path: Path) -> None:
    credentials = made(tmp_path)
    assert await ask(credentials, None) is None
    with pytest.raises(CredentialError, match=r"\.pgpass does not exist"):
        await ask(credentials, "pgpass")
    file = tmp_path / ".pgpass"
    file.write_text(f"other:6432:pgbouncer:mon:{SECRET}\n")
    file.chmod(0o600)
    with pytest.raises(CredentialError) as caught:
        await ask(credentials, "pgpass")
    assert "has no line for edge-1a or 10.0.0.1, port 6432, database pgbouncer, user mon" in str(caught.value)
    assert caught.value.hint == "add a line such as edge-1a:6432:pgbouncer:mon:PASSWORD"
    assert caught.value.phase is Phase.CREDENTIALS
    assert SECRET not in repr(caught.value)


async def test_a_command_is_run_without_a_shell_and_its_first_line_is_the_password(tmp_path: Path) -> None:
    path = script(tmp_path, 'printf "%s\\nnotes\\n" "$1"')
    credentials = made(tmp_path)
    assert await plain(credentials, f"command:{path} '$HOME; {SECRET}'") == f"$HOME; {SECRET}"
    assert await plain(credentials, f"command:{path} {{user}}@{{node}}:{{port}}") == "mon@edge-1a:6432"


async def test_a_command_runs_once_for_the_life_of_the_program(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    path = script(tmp_path, f'echo run >> {log}\necho "{SECRET}"')
    credentials = made(tmp_path)
    answers = await asyncio.gather(*(plain(credentials, f"command:{path}") for _ in range(8)))
    assert answers == [SECRET] * 8
    assert log.read_text() == "run\n"


async def test_a_failed_command_tells_its_status_and_nothing_it_wrote(tmp_path: Path) -> None:
    path = script(tmp_path, f"echo {SECRET}; echo {SECRET} >&2; exit 7")
    with pytest.raises(CredentialError) as caught:
        await ask(made(tmp_path), f"command:{path} {SECRET}")
    assert "failed with exit status 7" in caught.value.message
    assert str(path) in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("true", "wrote no password in its first line"),
        ("printf '\\377\\376\\n'", "not UTF-8"),
        ("kill -9 $$", "failed with signal 9"),
    ],
)
async def test_a_command_without_a_password_is_told(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(CredentialError, match=words):
        await ask(made(tmp_path), f"command:{script(tmp_path, body)}")


async def test_commands_that_cannot_be_run_are_told(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="no-such-program cannot be started"):
        await ask(made(tmp_path), "command:no-such-program --x")
    with pytest.raises(CredentialError, match="quotes do not match"):
        await ask(made(tmp_path), f"command:cat '{SECRET}")


async def test_a_command_that_hangs_ends_at_the_deadline_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    path = script(tmp_path, f"sleep 600 &\necho $$ $! > {pids}.new\nmv {pids}.new {pids}\nwait")
    credentials = made(tmp_path)
    with pytest.raises(DeadlineError, match="did not come within") as caught:
        await ask(credentials, f"command:{path} {SECRET}", timeout_s=1.5)
    assert caught.value.phase is Phase.CREDENTIALS
    assert SECRET not in f"{caught.value!r} {caught.value}"
    started = [int(pid) for pid in pids.read_text().split()]
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in started):
        assert time.monotonic() < deadline, "a process of the command is still there"
        await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_command_gets_no_terminal_and_no_input(tmp_path: Path) -> None:
    path = script(tmp_path, 'read answer && echo "$answer"; (: < /dev/tty) 2> /dev/null || echo none')
    assert await plain(made(tmp_path), f"command:{path}") == "none"


async def test_much_output_does_not_block(tmp_path: Path) -> None:
    path = script(tmp_path, f"echo {SECRET}; head -c 3000000 /dev/zero")
    assert await plain(made(tmp_path), f"command:{path}") == SECRET


async def test_the_loop_runs_on_while_a_command_does(tmp_path: Path) -> None:
    path = script(tmp_path, f"sleep 0.3; echo {SECRET}")
    task = asyncio.create_task(plain(made(tmp_path), f"command:{path}"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20
    assert await task == SECRET


def keyring_of(entries: dict[tuple[str, str], str], *, fails: bool = False) -> ModuleType:
    module = ModuleType("keyring")

    def get_password(service: str, user: str) -> str | None:
        if fails:
            raise OSError(f"locked, but the password is {SECRET}")
        return entries.get((service, user))

    module.__dict__["get_password"] = get_password
    return module


async def test_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", keyring_of({("fleet", "mon"): SECRET}))
    credentials = made(tmp_path)
    assert await plain(credentials, "keyring:fleet") == SECRET
    with pytest.raises(CredentialError, match="no password of adm for the service fleet") as caught:
        await ask(credentials, "keyring:fleet", user="adm")
    assert caught.value.hint == "keyring set fleet adm"


async def test_a_keyring_that_fails_or_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", keyring_of({}, fails=True))
    with pytest.raises(CredentialError, match=r"cannot be used \(OSError\)") as caught:
        await ask(made(tmp_path), "keyring:fleet")
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(CredentialError, match="not installed") as caught:
        await ask(made(tmp_path), "keyring:fleet")
    assert "pipx inject pooldeck keyring" in (caught.value.hint or "")


async def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    credentials = made(tmp_path, EDGE_PW=SECRET)
    secret = await ask(credentials, "env:EDGE_PW")
    kept = await ask(credentials, f"command:{script(tmp_path, f'echo {SECRET}')}")
    assert SECRET not in f"{secret!r} {secret} {kept!r} {credentials!r}"


async def test_an_unknown_source_is_a_node_error(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="names no source that is known") as caught:
        await ask(made(tmp_path), f"{SECRET}")
    assert caught.value.hint
    assert SECRET not in f"{caught.value!r} {caught.value}"
