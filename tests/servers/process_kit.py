"""What tests of supervision and restart share: bouncers on real sshds, and fakes of supervisors."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.audit.journal import Journal
from console.clock import SystemClock
from console.config.schema import Bouncer, Inventory, Process
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, APP_USERS, MONITOR
from console.lab.sshd import SshServer
from console.operations.lease.base import Leases
from console.operations.process.report import ProcessReport, read_report
from console.operations.reach import Reach
from console.operations.service import OperationService
from console.operations.sessions import Connector
from console.poolers.connect import PoolerConnector
from console.transport.base import Transport
from tests.harness.leases import FakeLeases
from tests.servers.operations_kit import Desk, LabPasswords
from tests.servers.ssh_kit import LIMIT_S, SshKit

FAKES = ("systemctl", "docker")


class ProcessDesk(Desk):
    """A service in front of bouncers on one host, `host`, each reached by its Unix socket over SSH."""

    def __init__(
        self,
        servers: Mapping[str, PgBouncerServer],
        journal: Path,
        transport: Transport,
        *,
        process: Mapping[str, Process | None] | None = None,
        peer_group: str | None = None,
    ) -> None:
        self.servers = dict(servers)
        self.server = next(iter(servers.values()))
        self.transport = transport
        self.journal_path = journal
        bouncers = tuple(
            Bouncer(
                name=name,
                host="host",
                unix=server.socket_dir,
                port=server.port,
                admin_user=ADMIN,
                monitor_user=MONITOR,
                probe_user=APP_USERS[0],
                probe_database="app",
                peer_group=peer_group,
                config_file=str(server.config_path),
                process=process[name] if process is not None else started_by(server),
                connect_timeout_s=5,
                query_timeout_s=5,
            )
            for name, server in servers.items()
        )
        self.inventory = Inventory(fleet="test", environment="development", bouncers=bouncers)
        self.clock = SystemClock()
        self.read_only = False
        self.journal = Journal(journal, self.clock, Actor.current({}))
        self.use(PoolerConnector(self.inventory, transport, LabPasswords(self.server.secrets)))

    def use(self, connector: Connector) -> None:
        """Make the service on `connector`, with a way to the host."""
        self.connector = connector
        self.leases: Leases = FakeLeases()
        self.service = OperationService(
            self.inventory,
            Reach(connector, transport=self.transport, leases=self.leases),
            self.journal,
            self.clock,
            read_only=self.read_only,
        )

    async def report(self, name: str = "edge") -> ProcessReport:
        """Read a bouncer's process."""
        bouncer = next(one for one in self.inventory.bouncers if one.name == name)
        return await read_report(
            bouncer, self.connector, self.transport, self.clock, interval_s=0.1, timeout_s=LIMIT_S
        )


def started_by(server: PgBouncerServer, **more: Any) -> Process:
    """How the lab's bouncers are supervised: a start command and a pid file."""
    return Process(kind="command", start_command=server.start_command, pid_file=server.pid_path, **more)


@contextlib.asynccontextmanager
async def on_host(
    kit: SshKit, servers: Mapping[str, PgBouncerServer], *, sshd: SshServer | None = None, **options: Any
) -> AsyncIterator[ProcessDesk]:
    """A desk in front of `servers`; who runs at the end, whoever started it, is the test's to end."""
    try:
        async with kit.transport(host=kit.host(sshd or kit.sshd())) as transport:
            desk = ProcessDesk(servers, kit.home / "journal.jsonl", transport, **options)
            async with desk.service:
                yield desk
    finally:
        for server in servers.values():
            server.adopt()


def relays_of(place: Path) -> list[Path]:
    """The folders of relays that have to do with anything below `place`; other workers have their own."""
    mark = f"{place}/"
    found = Path("/tmp").glob("pooldeck-restart-*/script")
    return [script.parent for script in found if mark in read_or_empty(script)]


def read_or_empty(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


class FakeSupervisor:
    """A FAKE `systemctl` and `docker` on the PATH of a real sshd: no machine of the tests runs either.

    They note their words, show what `answers` gives, and stop and start one real bouncer.
    """

    def __init__(self, kit: SshKit, server: PgBouncerServer) -> None:
        launcher = kit.workshop.launcher
        self.folder = launcher.make_dir(kit.workshop.place("fake"))
        self._calls = self.folder / "calls"
        self._server = server
        script = f"""#!/bin/sh
# A FAKE for tests.
echo "$(basename "$0") $*" >>{shlex.quote(str(self._calls))}
pid=$(cat {shlex.quote(str(server.pid_path))} 2>/dev/null)
kill -0 "$pid" 2>/dev/null || pid=0
case "$*" in
*--version*) ;;
show*) printf 'Id=pgbouncer.service\\nActiveState=active\\nSubState=running\\nMainPID=%s\\n' "$pid"
    printf 'Type=notify\\nKillSignal=2\\nExecStart={{ path={server.executable} ; }}\\n' ;;
inspect*) echo "running $pid pgbouncer:1.24" ;;
kill*--signal=SIG*) signal=${{*#*--signal=SIG}}; kill "-${{signal%% *}}" "$pid" ;;
*stop*) kill -INT "$pid" ;;
*start*|service*update*) [ "$pid" != 0 ] || {shlex.join(server.start_command)} ;;
*) exit 64 ;;
esac
"""
        for name in FAKES:
            path = self.folder / name
            launcher.write_file(path, script)
            path.chmod(0o700)
        self.sshd = kit.sshd(SetEnv=f"PATH={self.folder}:/usr/bin:/bin")

    @property
    def calls(self) -> list[str]:
        """What was called, in order; questions left out."""
        text = self._calls.read_text() if self._calls.exists() else ""
        asked = (" show ", " inspect ", " service ps ")
        return [line for line in text.splitlines() if not any(word in f"{line} " for word in asked)]
