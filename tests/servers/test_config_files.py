"""A file of a pooler's host is replaced whole or not at all: over a real sshd, here, cut anywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.operations.config_files import NEW, HostFiles, Written
from tests.harness.servers import Workshop
from tests.servers.ssh_kit import LIMIT_S, kit
from tests.servers.test_reload_files import ODD_NAMES, files, folder, over_ssh, write
from tests.unit.operations.test_reload_copies import COMMANDS, Cut

__all__ = ["files", "folder", "kit", "over_ssh"]
OLD = b"[pgbouncer]\npool_mode = session\n"
FRESH = b"[pgbouncer]\r\npool_mode = transaction\r\n; caf\xe9 hunter2\0\n" * 3000
OLD_HASH = hashlib.sha256(OLD).hexdigest()


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_file_is_replaced_to_the_byte_and_keeps_owner_and_permissions(
    files: HostFiles, workshop: Workshop, folder: Path, name: str
) -> None:
    path = folder / name
    write(workshop, path, OLD)
    os.chmod(path, 0o640)
    was = path.stat()
    done = await files.write(str(path), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    now = path.stat()
    assert done == Written()
    assert path.read_bytes() == FRESH
    assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)
    assert now.st_ino != was.st_ino, "PgBouncer looks at the inode"
    assert os.listdir(folder) == [name]
    assert await files.write(str(path), b"", expect_sha256=None, timeout_s=LIMIT_S) == Written()
    assert path.read_bytes() == b""


async def test_a_symbolic_link_stays_one(files: HostFiles, workshop: Workshop, folder: Path) -> None:
    other = workshop.launcher.make_dir(folder / "other")
    write(workshop, other / "real.ini", OLD)
    (folder / "link.ini").symlink_to("other/real.ini")
    done = await files.write(str(folder / "link.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    assert done == Written()
    assert os.readlink(folder / "link.ini") == "other/real.ini"
    assert (other / "real.ini").read_bytes() == FRESH
    assert sorted(os.listdir(folder)) == ["link.ini", "other"]


async def test_a_file_that_changed_meanwhile_or_is_not_there_is_left_alone(
    files: HostFiles, workshop: Workshop, folder: Path
) -> None:
    write(workshop, folder / "a.ini", OLD + b"; edited")
    done = await files.write(str(folder / "a.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    assert done == Written("it was changed meanwhile")
    assert (folder / "a.ini").read_bytes() == OLD + b"; edited"
    done = await files.write(str(folder / "b.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    assert done == Written("there is no such file")
    assert os.listdir(folder) == ["a.ini"]


async def test_a_folder_that_may_not_be_written_is_left_as_it_is(
    over_ssh: HostFiles, workshop: Workshop, folder: Path
) -> None:
    write(workshop, folder / "a.ini", OLD)
    os.chmod(folder, 0o555)
    try:
        done = await over_ssh.write(str(folder / "a.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
        assert done == Written("permission denied")
        assert os.listdir(folder) == ["a.ini"]
    finally:
        os.chmod(folder, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of somebody else's")
async def test_a_file_of_somebody_else_is_not_replaced_by_one_of_ours(
    over_ssh: HostFiles, workshop: Workshop, folder: Path
) -> None:
    write(workshop, folder / "a.ini", OLD)
    os.chown(folder / "a.ini", 0, 0)
    os.chmod(folder / "a.ini", 0o644)
    done = await over_ssh.write(str(folder / "a.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    assert done == Written("a copy could not be given the same owner and permissions")
    assert os.listdir(folder) == ["a.ini"]
    assert (folder / "a.ini").read_bytes() == OLD


@pytest.fixture
def full_disk(folder: Path) -> Iterator[Path]:
    """A real file system of 64 KiB, used up but for a page or two."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=65536,mode=0777", "tmpfs", str(disk)],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        (disk / "filler").write_bytes(b"f" * 40_000)
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], timeout=LIMIT_S, check=True)


async def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(
    over_ssh: HostFiles, workshop: Workshop, full_disk: Path
) -> None:
    write(workshop, full_disk / "a.ini", OLD)
    done = await over_ssh.write(str(full_disk / "a.ini"), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
    assert done == Written("No space left on device")
    assert (full_disk / "a.ini").read_bytes() == OLD
    assert sorted(os.listdir(full_disk)) == ["a.ini", "filler"]


# -- cut --------------------------------------------------------------------------------------------


async def test_a_line_that_is_cut_leaves_the_old_file_or_the_new_one_and_says_what_may_lie_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / "a.ini"
    for at in range(COMMANDS):
        (folder / f"a.ini{NEW}").unlink(missing_ok=True)
        path.write_bytes(OLD)
        host = Cut(at)
        done = await host.files.write(str(path), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
        assert path.read_bytes() == (OLD if done.problem else FRESH)
        if (folder / f"a.ini{NEW}").exists():
            assert f"{path}{NEW} may be left there" in (done.problem or "")
        if done == Written():
            break
    else:
        raise AssertionError("it takes more commands than that")
    assert at > 5, "each command was cut once"
    assert all(b"hunter2" not in word.encode("utf-8", "replace") for words in host.argv for word in words)
    assert os.listdir(folder) == ["a.ini"]


async def test_a_rename_whose_answer_is_lost_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    for reads in (0, 1):
        path.write_bytes(OLD)
        host = Cut()
        host.lose_answer_of("mv", then=reads)
        done = await host.files.write(str(path), FRESH, expect_sha256=OLD_HASH, timeout_s=LIMIT_S)
        assert path.read_bytes() == FRESH
        assert (done.problem is None, done.is_sure) == ((True, True) if reads else (False, False))


async def test_files_are_listed_with_the_last_one_that_was_made_first(
    files: HostFiles, workshop: Workshop, folder: Path
) -> None:
    paths = [f"{folder}/{name}" for name in ("a.ini", "b'$x.ini", "c.ini")]
    for path in paths:
        write(workshop, Path(path), OLD)
        os.utime(path, (1, 1))
    first = f"{paths[1]}.copy"
    assert await files.copy(paths[1], first, sha256=OLD_HASH, timeout_s=LIMIT_S) is None
    found = await files.newest_first([*paths, first, f"{folder}/none"], timeout_s=LIMIT_S)
    assert found[0] == first
    assert sorted(found) == sorted([*paths, first])
    names = await files.names_in(str(folder), timeout_s=LIMIT_S)
    assert {os.path.basename(path) for path in found} <= set(names)
    assert await files.names_in(f"{folder}/none", timeout_s=LIMIT_S) == ("",)
    assert await files.remove(first, timeout_s=LIMIT_S) is None
    assert await files.remove(first, timeout_s=LIMIT_S) is None, "gone is gone"
