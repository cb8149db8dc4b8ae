"""Files of a pooler's host, read and replaced over a real sshd and on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from console.config.pgbouncer_texts import Trouble
from console.config.schema import Bouncer, Process
from console.hosts.commands import run_here
from console.operations.config_files import LIMIT_BYTES, NEW, CommandFiles, HostFiles, files_of
from console.transport.base import CommandResult
from console.transport.fake import FakeTransport
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.ssh_kit import LIMIT_S, SshKit, kit

__all__ = ["kit"]
ODD_NAMES = (
    "plain.ini",
    "with space.ini",
    'it\'s "quoted".ini',
    "-n",
    "$(touch pwned)`touch pwned`;touch pwned",
    "star*[a]?.ini",
    "back\\slash\\n.ini",
    "new\nline.ini",
    "ümläut 漢字.ini",
)


@pytest_asyncio.fixture(params=["over SSH", "on this machine"])
async def files(request: pytest.FixtureRequest, kit: SshKit) -> AsyncIterator[HostFiles]:
    if request.param == "on this machine":
        found = files_of(Bouncer(name="edge", tcp="127.0.0.1:6432"), None)
        assert not isinstance(found, str)
        yield found
        return
    async with kit.transport(host=kit.host(kit.sshd())) as transport:
        found = files_of(Bouncer(name="edge", host="host", tcp="127.0.0.1:6432"), transport)
        assert not isinstance(found, str)
        yield found


@pytest_asyncio.fixture
async def over_ssh(kit: SshKit) -> AsyncIterator[HostFiles]:
    """As the account that the servers run as, for which permissions count."""
    async with kit.transport(host=kit.host(kit.sshd())) as transport:
        found = files_of(Bouncer(name="edge", host="host", tcp="127.0.0.1:6432"), transport)
        assert not isinstance(found, str)
        yield found


@pytest.fixture
def folder(workshop: Workshop) -> Path:
    return workshop.launcher.make_dir(workshop.place("files"))


def write(workshop: Workshop, path: Path, content: bytes) -> str:
    workshop.launcher.write_file(path, content)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_file_is_read_to_the_byte_whatever_it_is_called(
    files: HostFiles, workshop: Workshop, folder: Path, name: str
) -> None:
    content = b"[pgbouncer]\r\nsyslog_ident = caf\xe9\n\0tail without an end"
    digest = write(workshop, folder / name, content)
    found = await files.read(str(folder / name), timeout_s=LIMIT_S)
    assert (found.content, found.sha256, found.trouble) == (content, digest, None)
    assert await files.look_for(str(folder / name), timeout_s=LIMIT_S) is None
    assert os.listdir(folder) == [name]
    assert "caf" not in repr(found), "contents are in no repr"


async def test_what_cannot_be_read_says_why(files: HostFiles, workshop: Workshop, folder: Path) -> None:
    write(workshop, folder / "large.ini", b"#" * (LIMIT_BYTES + 1))
    write(workshop, folder / "whole.ini", b"#" * LIMIT_BYTES)
    os.mkfifo(folder / "pipe")
    os.chmod(folder / "pipe", 0o666)

    async def why(name: str, timeout_s: float = LIMIT_S) -> tuple[Trouble | None, str]:
        found = await files.read(f"{folder}/{name}", timeout_s=timeout_s)
        return found.trouble, found.why

    assert await why("none.ini") == (Trouble.MISSING, "there is no such file")
    assert await why("large.ini/x") == (Trouble.MISSING, "there is no such file")
    assert await why(".") == (Trouble.FOLDER, "it is a folder")
    assert await why("large.ini") == (Trouble.OTHER, "it is larger than 4 MiB")
    assert await why("whole.ini") == (None, "")
    assert (await why("pipe", 0.5))[0] is Trouble.OTHER
    assert (await why("caf\udce9"))[0] is Trouble.OTHER, "no command line here can carry such a name"
    assert await files.look_for(f"{folder}/none.ini", timeout_s=LIMIT_S) is Trouble.MISSING


async def test_a_file_that_may_not_be_read_is_told_and_never_taken_for_missing(
    over_ssh: HostFiles, workshop: Workshop, folder: Path
) -> None:
    write(workshop, folder / "closed.ini", b"x")
    os.chmod(folder / "closed.ini", 0)
    inner = workshop.launcher.make_dir(folder / "inner")
    write(workshop, inner / "x.ini", b"x")
    os.chmod(inner, 0)
    closed = await over_ssh.read(str(folder / "closed.ini"), timeout_s=LIMIT_S)
    assert (closed.content, closed.trouble, closed.why) == (None, Trouble.DENIED, "permission denied")
    assert (await over_ssh.read(str(inner / "x.ini"), timeout_s=LIMIT_S)).trouble is Trouble.DENIED
    assert await over_ssh.look_for(str(inner / "x.ini"), timeout_s=LIMIT_S) is Trouble.DENIED


async def test_sudo_that_asks_for_a_password_is_told(workshop: Workshop, folder: Path) -> None:
    sudo = folder / "sudo"
    write(workshop, sudo, b"#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    os.chmod(sudo, 0o755)

    async def run(
        argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        assert tuple(argv[:4]) == ("env", "LC_ALL=C", "sudo", "-n")
        return await run_here((str(sudo), *argv[3:]), timeout_s, limit_bytes, stdin)

    found = await CommandFiles(run, where="here", sudo=True).read("/etc/x", timeout_s=LIMIT_S)
    assert (found.trouble, found.why) == (Trouble.DENIED, "sudo refuses: a password is required")


async def test_a_host_that_is_gone_is_told(kit: SshKit, folder: Path) -> None:
    server = kit.sshd()
    async with kit.transport(host=kit.host(server)) as transport:
        server.kill()
        found = files_of(Bouncer(name="edge", host="host", tcp="127.0.0.1:6432"), transport)
        assert not isinstance(found, str)
        file = await found.read(f"{folder}/x", timeout_s=2)
    assert file.trouble is Trouble.OTHER
    assert "SSH" in file.why or "refused" in file.why


@pytest.mark.parametrize(
    ("bouncer", "words"),
    [
        ({"tcp": "10.0.0.7:6432"}, "names no host"),
        ({"tcp": "edge.example:6432"}, "names no host"),
        ({"tcp": "127.0.0.1:6432", "host": "h"}, "cannot be reached from here"),
        ({"tcp": "127.0.0.1:6432", "process": Process(kind="docker", container="pgb")}, "container"),
    ],
)
def test_files_that_cannot_be_had_are_told(bouncer: dict[str, object], words: str) -> None:
    found = files_of(Bouncer.model_validate({"name": "edge", **bouncer}), None)
    assert isinstance(found, str)
    assert words in found


@pytest.mark.parametrize(
    "address",
    [{"tcp": "127.0.0.1:1"}, {"tcp": "[::1]:1"}, {"tcp": "localhost:1"}, {"unix": "/run", "port": 1}],
)
def test_a_bouncer_of_this_machine_has_its_files_here(address: dict[str, object]) -> None:
    found = files_of(Bouncer.model_validate({"name": "edge", **address}), FakeTransport())
    assert not isinstance(found, str)
    assert found.where == "this machine"


# -- the process's working folder -------------------------------------------------------------------


async def test_the_working_folder_is_that_of_the_running_process(
    files: HostFiles, make_pgbouncer: MakePgBouncer, workshop: Workshop
) -> None:
    server = make_pgbouncer(databases={})
    pid_file, config = str(server.pid_path), str(server.config_path)
    assert await files.working_folder(pid_file, config, timeout_s=LIMIT_S) == str(server.directory)
    assert await files.working_folder(pid_file, "other.ini", timeout_s=LIMIT_S) is None, "another's number"
    assert await files.working_folder("/nonexistent", config, timeout_s=LIMIT_S) is None
    odd = server.directory / "odd.pid"
    write(workshop, odd, b"$(id)\n")
    assert await files.working_folder(str(odd), config, timeout_s=LIMIT_S) is None


# -- copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_copy_takes_the_place_of_a_file_with_its_owner_and_permissions(
    files: HostFiles, workshop: Workshop, folder: Path, name: str
) -> None:
    source, target = folder / name, folder / f"{name}.copy"
    digest = write(workshop, source, b"new")
    os.chmod(source, 0o640)
    write(workshop, target, b"old")
    assert await files.why_not_writable(str(source), timeout_s=LIMIT_S) is None
    assert await files.copy(str(source), str(target), sha256=digest, timeout_s=LIMIT_S) is None
    was, now = source.stat(), target.stat()
    assert target.read_bytes() == b"new"
    assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)
    assert now.st_ino != was.st_ino
    assert sorted(os.listdir(folder)) == sorted([name, f"{name}.copy"]), "nothing is left over"


async def test_a_file_that_changed_meanwhile_is_not_copied(
    files: HostFiles, workshop: Workshop, folder: Path
) -> None:
    source, target = folder / "a.ini", folder / "b.ini"
    write(workshop, source, b"changed")
    write(workshop, target, b"old")
    other = hashlib.sha256(b"as it was read").hexdigest()
    why = await files.copy(str(source), str(target), sha256=other, timeout_s=LIMIT_S)
    assert why == "it was changed meanwhile"
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(folder)) == ["a.ini", "b.ini"]


async def test_a_folder_that_may_not_be_written_is_told_beforehand_and_nothing_is_touched(
    over_ssh: HostFiles, workshop: Workshop, folder: Path
) -> None:
    digest = write(workshop, folder / "a.ini", b"x")
    os.chmod(folder, 0o555)
    try:
        why = await over_ssh.why_not_writable(str(folder / "a.ini"), timeout_s=LIMIT_S)
        assert why == f"the folder {folder} cannot be written"
        done = await over_ssh.copy(
            str(folder / "a.ini"), str(folder / "b.ini"), sha256=digest, timeout_s=LIMIT_S
        )
        assert done == "permission denied"
        assert os.listdir(folder) == ["a.ini"]
    finally:
        os.chmod(folder, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of somebody else's")
async def test_a_file_of_somebody_else_is_told_beforehand_and_not_replaced_by_one_of_ours(
    over_ssh: HostFiles, workshop: Workshop, folder: Path
) -> None:
    digest = write(workshop, folder / "a.ini", b"x")
    os.chown(folder / "a.ini", 0, 0)
    os.chmod(folder / "a.ini", 0o644)
    why = await over_ssh.why_not_writable(str(folder / "a.ini"), timeout_s=LIMIT_S)
    assert why == "it belongs to somebody else, and a copy could not"
    done = await over_ssh.copy(str(folder / "a.ini"), str(folder / "b.ini"), sha256=digest, timeout_s=LIMIT_S)
    assert done == "a copy could not be given the same owner and permissions"
    assert os.listdir(folder) == ["a.ini"]


async def test_a_copy_that_was_left_half_written_is_in_nobodys_way(
    files: HostFiles, workshop: Workshop, folder: Path
) -> None:
    digest = write(workshop, folder / "a.ini", b"x")
    write(workshop, folder / f"b.ini{NEW}", b"half")
    assert (
        await files.copy(str(folder / "a.ini"), str(folder / "b.ini"), sha256=digest, timeout_s=LIMIT_S)
        is None
    )
    assert sorted(os.listdir(folder)) == ["a.ini", "b.ini"]


async def test_what_a_symbolic_link_leads_to_is_seen(
    files: HostFiles, workshop: Workshop, folder: Path
) -> None:
    other = workshop.launcher.make_dir(folder / "other")
    digest = write(workshop, other / "real.ini", b"x")
    (folder / "link.ini").symlink_to("other/real.ini")
    path = str(folder / "link.ini")
    assert await files.real_path(path, timeout_s=LIMIT_S) == str(other / "real.ini")
    assert (await files.read(path, timeout_s=LIMIT_S)).content == b"x"
    assert await files.copy(path, f"{path}.good", sha256=digest, timeout_s=LIMIT_S) is None
    copy = folder / "link.ini.good"
    assert not copy.is_symlink()
