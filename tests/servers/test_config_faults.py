"""Config changes whose way is cut, whose console is killed, whose disk is full: what is left, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from console.errors import NodeError, Phase
from console.hosts import commands
from console.hosts.commands import run_here
from console.lab.bouncer import PgBouncerServer
from console.lab.tls import CertificateAuthority
from console.operations import config_run
from console.operations.config_diff import config_diff
from console.operations.outcome import Outcome, TargetReceipt
from console.transport.base import CommandResult
from tests.harness.faults import FaultProxy
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until
from tests.servers.load_kit import client_tls
from tests.servers.reload_kit import ReloadDesk
from tests.servers.ssh_kit import LIMIT_S, SshKit, kit
from tests.servers.test_config_change import ROLLBACK, SET, backups, ok

__all__ = ["kit"]
ASKED = ("default_pool_size=7",)


@dataclass
class Wire:
    """A bouncer behind SSH, over a wire that can be cut."""

    desk: ReloadDesk
    proxy: FaultProxy
    transport: Any


@pytest_asyncio.fixture
async def wire(make_pgbouncer: MakePgBouncer, tmp_path: Path, kit: SshKit) -> AsyncIterator[Wire]:
    server = kit.sshd()
    with FaultProxy(server.port) as proxy:
        kit.know_as(server, proxy.port)
        async with kit.transport(host=kit.host(server, port=proxy.port)) as transport:
            desk = ReloadDesk(make_pgbouncer("1.24"), tmp_path / "journal.jsonl", transport)
            async with desk.service:
                yield Wire(desk, proxy, transport)


@pytest.mark.during("config: SSH connection cut")
async def test_a_wire_that_is_cut_before_reload_is_mended_and_the_change_done(wire: Wire) -> None:
    wire.desk.meddler.before_reload = wire.proxy.cut
    receipt = ok(await wire.desk.do(SET, changes=ASKED))
    assert wire.desk.setting("default_pool_size") == "7"
    assert [one.statement for one in receipt.exchanges].count("RELOAD") == 2


@pytest.mark.during("config: SSH connection cut")
async def test_a_wire_that_stays_cut_leaves_it_written_down_and_rollback_ends_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = wire.desk
    monkeypatch.setattr(config_run, "UNDO_LIMIT_S", 1.0)
    before = desk.ini.read_bytes()
    receipt = await _cut_for_good(wire)
    assert receipt.outcome is Outcome.UNKNOWN
    (backup,) = backups(desk)
    assert f"{desk.ini} could not be put back" in receipt.detail
    assert f"{backup} the old one" in receipt.detail
    assert receipt.next_steps[-1] == f"pooldeck config rollback edge --run {backup.name[-16:]}"
    assert desk.records()[-1]["outcome"] == "unknown"
    assert desk.setting("default_pool_size") == "10"

    found = (await config_diff(desk.service, "edge")).targets[0]
    assert "default_pool_size: 10 → 7" in found.changes
    assert found.backups == (backup.name[-16:],)
    ok(await desk.do(ROLLBACK))
    assert desk.ini.read_bytes() == before
    assert (await config_diff(desk.service, "edge")).targets[0].count == 0


async def _cut_for_good(wire: Wire) -> TargetReceipt:
    cut = wire.proxy.refusing()

    def begin() -> None:
        cut.__enter__()

    wire.desk.meddler.before_reload = begin
    try:
        return await wire.desk.do(SET, changes=ASKED)
    finally:
        cut.__exit__(None, None, None)
        wire.transport.retry_now("host")


@pytest.mark.during("config: the bouncer dies")
async def test_a_pooler_that_dies_before_reload_gets_its_file_back(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_run, "UNDO_LIMIT_S", 1.0)
    desk = ReloadDesk(make_pgbouncer("1.26"), tmp_path / "journal.jsonl")
    before = desk.ini.read_bytes()

    def die() -> None:
        desk.server.kill()

    async with desk.service:
        desk.meddler.before_reload = die
        receipt = await desk.do(SET, changes=ASKED)
    assert receipt.outcome is Outcome.UNKNOWN
    assert "the files were put back" in receipt.detail
    assert desk.ini.read_bytes() == before
    desk.server.start()
    assert desk.setting("default_pool_size") == "10"


@pytest.mark.parametrize("lost", [1, 3, 1000])
async def test_commands_that_are_lost_anywhere_leave_the_old_file_or_the_new_one_in_force(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    monkeypatch.setattr(config_run, "UNDO_LIMIT_S", 0.6)
    monkeypatch.setattr(config_run, "_RETRY_S", 0.05)
    desk = ReloadDesk(make_pgbouncer("1.24"), tmp_path / "journal.jsonl")
    losing = Losing()
    monkeypatch.setattr(commands, "run_here", losing)
    texts = {size: desk.ini.read_bytes().replace(b"_size = 10", b"_size = %d" % size) for size in (10, 7)}
    seen = set()
    async with desk.service:
        for at in range(0, 60, 7 if lost < 1000 else 11):
            # Counted from the plan's end: what is lost before it is nothing new.
            plan = await desk.service.plan(SET, "edge", changes=ASKED)
            losing.lose(at, lost)
            receipt = await desk.finish(desk.submit(plan))
            was_lost = losing.lost
            losing.lose(0, 0)
            now = desk.ini.read_bytes()
            size = next(size for size, text in texts.items() if text == now)
            told = f"{at}: {receipt}"
            seen.add(receipt.outcome)
            if receipt.outcome is Outcome.OK:
                assert (size, desk.setting("default_pool_size")) == (7, "7"), told
            elif "as they were" in receipt.detail or "were put back" in receipt.detail:
                assert (size, desk.setting("default_pool_size")) == (10, "10"), told
            elif size == 7:
                assert backups(desk), told
                assert "may hold the new text" in receipt.detail, told
            if not was_lost:
                break
            if size == 7:
                ok(await desk.do(SET, changes=("default_pool_size=10",)))
            for backup in backups(desk):
                backup.unlink()
    assert Outcome.OK in seen


@pytest.mark.during("config: a bad new file")
async def test_a_certificate_that_is_none_is_refused_beforehand(
    make_pgbouncer: MakePgBouncer, workshop: Workshop, tmp_path: Path
) -> None:
    """Up to 1.24 RELOAD answers as if all was well, TLS stays as it was, and the next start fails."""
    authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
    desk = ReloadDesk(make_pgbouncer("1.24", **client_tls(authority)), tmp_path / "journal.jsonl")
    garbage = desk.server.directory / "none.crt"
    desk.server.launcher.write_file(garbage, "no certificate\n")
    async with desk.service:
        plan = await desk.service.plan(SET, "edge", changes=(f"client_tls_cert_file={garbage}",))
        told = "client_tls_cert_file: it holds no certificate and no key"
        assert told in (plan.targets[0].blocked or "")
        good = await desk.service.plan(SET, "edge", changes=ASKED)
        assert good.targets[0].blocked is None
        # One that is there already would keep the process from starting again.
        desk.edit(lambda text: text.replace(str(desk.server.settings["client_tls_cert_file"]), str(garbage)))
        assert told in ((await desk.service.plan("reload", "edge")).targets[0].blocked or "")


class Losing:
    """A fake of a line that loses some commands, which no real one does at will."""

    def __init__(self) -> None:
        self.lose(0, 0)

    def lose(self, at: int, count: int) -> None:
        """Lose so many commands from number `at` on."""
        self._from, self._count = at, count
        self._ran = self.lost = 0

    async def __call__(
        self, argv: Sequence[str], timeout_s: float, limit_bytes: int, stdin: bytes = b""
    ) -> CommandResult:
        number, self._ran = self._ran, self._ran + 1
        if self._from <= number < self._from + self._count:
            self.lost += 1
            raise NodeError(Phase.SSH, "the connection is lost")
        return await run_here(argv, timeout_s, limit_bytes, stdin)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 128 KiB with a few pages left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=131072,mode=0777", "tmpfs", str(disk)],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], timeout=LIMIT_S, check=True)


@pytest.mark.parametrize("pages_left", [0, 1, 2, 3])
@pytest.mark.during("config: disk full")
async def test_a_full_disk_leaves_the_old_file_in_force(
    make_pgbouncer: MakePgBouncer, tmp_path: Path, full: Path, pages_left: int
) -> None:
    server = make_pgbouncer("1.24", start=False)
    for folder in (full, *full.parents):
        if os.stat(folder).st_uid == os.geteuid() and folder != Path("/"):
            os.chmod(folder, os.stat(folder).st_mode | 0o755)
    server.config_path = full / "pgbouncer.ini"
    server.start()
    desk = ReloadDesk(server, tmp_path / "journal.jsonl")
    before = desk.ini.read_bytes()
    _fill(full, pages_left * 4096)
    async with desk.service:
        receipt = await desk.do(SET, changes=ASKED)
    if receipt.outcome is Outcome.OK:
        assert pages_left > 1
        return
    assert "No space left on device" in receipt.detail
    assert "the files are as they were, and RELOAD was not sent" in receipt.detail
    assert desk.ini.read_bytes() == before
    assert sorted(os.listdir(full)) == ["filler", "pgbouncer.ini"]
    assert desk.meddler.sent == []


def _fill(folder: Path, leave_bytes: int) -> None:
    free = os.statvfs(folder)
    with (folder / "filler").open("wb") as filler:
        filler.write(b"f" * (free.f_bavail * free.f_frsize - leave_bytes))


# -- on the command line ----------------------------------------------------------------------------


@pytest.fixture
def shell(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Shell]:
    servers = {"edge-1": make_pgbouncer("1.24"), "edge-2": make_pgbouncer("1.26")}
    with Shell(servers, tmp_path) as made:
        yield made


def sizes(shell: Shell) -> list[str]:
    return [_setting(server, "default_pool_size") for server in shell.servers.values()]


def _setting(server: PgBouncerServer, key: str) -> str:
    with server.admin() as console:
        return next(str(row[1]) for row in console.execute("SHOW CONFIG") if row[0] == key)


def test_a_change_of_two_its_diff_and_its_end(shell: Shell) -> None:
    done = shell("config", "set", "all", *ASKED, "--yes", "--confirm", "test 0")
    assert done.returncode == 0, done.stderr
    assert sizes(shell) == ["7", "7"]
    assert shell("config", "set", "all", *ASKED).returncode == 0, "no change asks nobody"
    assert shell("config", "rollback", "edge-2", "--yes").returncode == 0
    code, found = shell.json_lines("config", "diff", "all")
    assert code == 0
    assert [one["same"] for one in found if one["type"] == "target"] == [True, True]
    between = {one["key"]: one["values"] for one in found if one["type"] == "between"}
    assert between["default_pool_size"] == {"edge-1": "7", "edge-2": "10"}
    assert "listen_port" not in between
    told = shell("config", "diff", "all").stdout
    assert "edge-1 (PgBouncer 1.24.1): runs as its files say" in told
    assert "  default_pool_size: 7 (edge-1); 10 (edge-2)" in told
    refused = shell("config", "set", "edge-1", "default_pool_size=many", "--yes")
    assert refused.returncode == 3
    assert "must be a whole number" in refused.stderr
    assert shell("config", "set", "edge-1").returncode == 2


def test_the_run_ends_when_too_many_failed(shell: Shell) -> None:
    shell.servers["edge-1"].kill()
    done = shell("config", "set", "all", *ASKED, "--yes", "--confirm", "test 0")
    assert done.returncode == 3
    done = shell("config", "set", "all", *ASKED, "--yes", "--confirm", "test 0", "--max-failed", "1")
    assert done.returncode == 1
    assert _setting(shell.servers["edge-2"], "default_pool_size") == "7"


def test_a_run_that_is_interrupted_between_waves_puts_back_what_it_did(shell: Shell) -> None:
    before = [server.config_path.read_bytes() for server in shell.servers.values()]
    process = shell.start(
        *("config", "set", "all", *ASKED, "--yes", "--confirm", "test 0", "--serial", "1", "--soak", "60s")
    )
    until(lambda: sizes(shell)[0] == "7")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "the run was interrupted; the files were put back and reloaded: it runs as they say" in out
    assert sizes(shell) == ["10", "10"]
    assert [server.config_path.read_bytes() for server in shell.servers.values()] == before
    assert "backup" not in shell("config", "diff", "all").stdout


def test_a_plan_is_approved_by_its_hash_as_long_as_the_file_stays(shell: Shell, tmp_path: Path) -> None:
    planned = shell("config", "set", "edge-1", *ASKED, "--plan", "--json")
    plan = json.loads(planned.stdout)
    assert shell("config", "set", "edge-1", *ASKED, "--approve", plan["hash"][:12]).returncode == 0
    assert sizes(shell) == ["7", "10"]
    again = shell("config", "set", "edge-1", *ASKED, "--approve", plan["hash"][:12])
    assert again.returncode == 3, "it is so already, which is another plan"


@pytest.mark.during("config: console killed")
def test_a_console_that_is_killed_before_reload_leaves_what_the_next_look_tells(
    shell: Shell, tmp_path: Path
) -> None:
    server = shell.servers["edge-1"]
    before = server.config_path.read_bytes()
    with FaultProxy(server.port) as proxy:
        shell.fleet.write_text(shell.fleet.read_text().replace(f":{server.port}", f":{proxy.port}"))
        swallow = threading.Thread(target=_swallow_reload, args=(server, proxy))
        swallow.start()
        process = shell.start("config", "set", "edge-1", *ASKED, "--yes")
        until(lambda: server.config_path.read_bytes() != before)
        process.kill()
        process.wait(LIMIT_S)
        swallow.join(LIMIT_S)
        proxy.cut()
        proxy.black_hole = False
        assert sizes(shell) == ["10", "10"]
        (intent,) = shell.records("intent")
        assert shell.records("outcome") == []
        told = shell("config", "diff", "edge-1").stdout
        assert "file       default_pool_size: 10 → 7" in told
        assert f"backup     of run {intent['run']}" in told
        done = shell("config", "rollback", "edge-1", "--yes")
        assert done.returncode == 0, done.stderr
        assert "runs as its files say" in shell("config", "diff", "edge-1").stdout
    assert server.config_path.read_bytes() == before
    assert sizes(shell) == ["10", "10"]


def _swallow_reload(server: PgBouncerServer, proxy: FaultProxy) -> None:
    """Swallow what the console sends once it has begun to write."""
    end = time.monotonic() + LIMIT_S
    behind = f"{server.config_path.name}.pooldeck-"
    while time.monotonic() < end:
        if any(name.startswith(behind) for name in os.listdir(server.directory)):
            proxy.black_hole = True
            return
        time.sleep(0.001)
