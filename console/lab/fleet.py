"""The lab: a primary, its replica, N PgBouncers on several "hosts", and load; up, status, down.

`up` is idempotent: it starts what does not run, or is about to end, and changes nothing else. What runs is
told by `census`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Lock

from console.clock import Clock, SystemClock
from console.config.load import load_inventory
from console.config.schema import Inventory
from console.errors import LabError, UsageError
from console.lab.bouncer import PgBouncerServer, can_peer, program_version
from console.lab.census import RUN_DIR, LabStatus, end_all, find_process, status_of
from console.lab.inventory import fleet_toml, known_hosts
from console.lab.layout import BouncerPlan, hosts_of, layout
from console.lab.load import GRACE_S, create_tables, load_jobs
from console.lab.place import account_of, check_lab, prepare_directory
from console.lab.ports import is_free, lease_port
from console.lab.postgres import APP_DATABASE, PostgresServer
from console.lab.process import Launcher, server_account
from console.lab.request import wanted_state
from console.lab.secrets import Secrets
from console.lab.server import CLASH_ATTEMPTS, Server, program
from console.lab.sshd import KeyPair, SshServer
from console.lab.standing import mend, take_roles, was_left
from console.lab.state import LabState, ServerRecord, locked, read_state, write_state
from console.lab.tls import CertificateAuthority
from console.model.version import Version

Progress = Callable[[str], None]
LOCK_LIMIT_S = 120.0
MAX_LOAD_S = 86_400


def _silent(_: str) -> None:
    return


class Lab:
    """A lab in its folder. Make one with `Lab.up`, or with `Lab.open` when it runs already.

    Attributes:
        directory: the folder; `inventory_path` and `lab.json` are in it.
        primary, replica: the Postgres servers; after a switchover `replica` is the one that leads.
        bouncers: by name, in the inventory's order.
        hosts: the SSH servers by host name.
        started: names of what this object's `up` started; empty when everything ran.
    """

    def __init__(self, directory: Path, launcher: Launcher, state: LabState, *, clock: Clock) -> None:
        self.directory = directory
        self.launcher = launcher
        self.inventory_path = directory / "fleet.toml"
        self.pgpass_path = directory / "pgpass"
        self.started: tuple[str, ...] = ()
        self._clock = clock
        self._state = state
        self._save_lock = Lock()
        self.plans = layout(state.bouncers)
        self.secrets = Secrets.load_or_create(directory / "secrets.json", launcher)
        self.user_key = KeyPair(launcher.make_dir(directory / "ssh") / "id_ed25519", launcher)
        self.authority = CertificateAuthority(directory / "tls", launcher, clock=clock)
        self.primary = self._postgres("primary", None)
        self.replica = self._postgres("replica", self.primary)
        self._leader, self._follower = take_roles(self.primary, self.replica)
        self.hosts = {name: self._host(name) for name in hosts_of(self.plans)}
        self.bouncers = self._bouncers()
        self._aim()
        for server in self.servers.values():
            server.adopt()

    def __repr__(self) -> str:
        return f"<Lab {self.directory} bouncers={len(self.plans)}>"

    @classmethod
    def up(
        cls,
        directory: Path,
        bouncers: int | None = None,
        load_s: int | None = None,
        pgbouncer: Sequence[Path] = (),
        *,
        progress: Progress = _silent,
        clock: Clock | None = None,
    ) -> Lab:
        """Bring the lab up and return it; on a running lab only what is missing is started.

        `bouncers` None: as many as the lab has, 4 for a new one. `pgbouncer`: executables that the bouncers
        use in turn; empty: as the lab has, the machine's own for a new one. `load_s`: seconds of load; load
        that still runs is left as it is.

        Raises:
            UsageError: a number or an executable makes no sense.
            LabError: it could not be started (what this call started is ended again), or it runs with
                other bouncers than asked for.
        """
        if load_s is not None and not 1 <= load_s <= MAX_LOAD_S:
            raise UsageError(f"load lasts 1 to {MAX_LOAD_S} seconds, not {load_s}", where="--load")
        directory = directory.expanduser().resolve()
        account = server_account()
        prepare_directory(directory, account)
        launcher = Launcher(directory / RUN_DIR, account)
        with locked(directory, timeout_s=LOCK_LIMIT_S) as launcher.lock:
            state = wanted_state(read_state(directory), directory, launcher, bouncers, pgbouncer)
            lab = cls(directory, launcher, state, clock=clock or SystemClock())
            lab._start(progress)
            if load_s is not None:
                lab._start_load(load_s, progress)
        launcher.lock = None
        return lab

    @classmethod
    def open(cls, directory: Path, *, clock: Clock | None = None) -> Lab:
        """Return the lab in `directory` without starting anything.

        Raises:
            LabError: there is none.
        """
        directory = directory.expanduser().resolve()
        state = read_state(directory) if check_lab(directory) else None
        if state is None:
            raise LabError("there is no lab here", where=str(directory), hint="start one: pooldeck lab up")
        launcher = Launcher(directory / RUN_DIR, account_of(directory))
        return cls(directory, launcher, state, clock=clock or SystemClock())

    @staticmethod
    def status(directory: Path) -> LabStatus:
        """Look at the lab in `directory`; nothing is started, waited for or written."""
        directory = directory.expanduser().resolve()
        state = read_state(directory) if check_lab(directory) else None
        if state is None:
            return LabStatus(directory, directory / "fleet.toml", ())
        return status_of(directory, state, owner_uid=account_of(directory).uid)

    @staticmethod
    def down(directory: Path) -> tuple[str, ...]:
        """End every process the lab started, and return their names; data and passwords stay for the next up.

        Nothing to end is no error.

        Raises:
            LabError: another `up` or `down` holds the lab, or a process cannot be ended.
        """
        directory = directory.expanduser().resolve()
        if not check_lab(directory):
            return ()
        launcher = Launcher(directory / RUN_DIR, account_of(directory))
        with locked(directory, timeout_s=LOCK_LIMIT_S):
            ended = end_all(directory, owner_uid=launcher.account.uid)
            try:
                state = read_state(directory)
            except LabError:
                return ended
            if state is not None:
                idle = tuple(r.running_as(None) for r in state.servers if r.kind != "load")
                write_state(directory, launcher, replace(state, servers=idle, load_ends_at_s=None))
        return ended

    @property
    def servers(self) -> dict[str, Server]:
        """Every server by the name of its process."""
        found: list[Server] = [self.primary, self.replica, *self.hosts.values(), *self.bouncers.values()]
        return {server.name: server for server in found}

    @property
    def inventory(self) -> Inventory:
        """The lab's `fleet.toml`, read."""
        return load_inventory(self.inventory_path)

    def _port(self, name: str) -> int | None:
        record = self._state.of(name)
        return None if record is None else record.port

    def _postgres(self, name: str, primary: PostgresServer | None) -> PostgresServer:
        place = self.directory / name
        return PostgresServer(
            name, place, self.launcher, self.secrets, port=self._port(name), primary=primary
        )

    def _host(self, name: str) -> SshServer:
        process = f"sshd-{name}"
        place = self.directory / process
        port = self._port(process)
        return SshServer(process, place, self.launcher, user_keys=[self.user_key], port=port)

    def _bouncers(self) -> dict[str, PgBouncerServer]:
        executables = [Path(path) for path in self._state.pgbouncer] or [program("pgbouncer", "pgbouncer")]
        versions: dict[Path, Version] = {
            path: program_version(path, self.launcher) for path in dict.fromkeys(executables)
        }
        found: dict[str, PgBouncerServer] = {}
        shared_port: int | None = None
        for number, plan in enumerate(self.plans):
            executable = executables[number % len(executables)]
            server = PgBouncerServer(
                plan.name,
                self.directory / plan.name,
                self.launcher,
                self.secrets,
                executable=executable,
                version=versions[executable],
                databases={},
                settings=self._settings(plan),
                port=self._port(plan.name) or (shared_port if plan.peer_id else None),
            )
            if plan.peer_id:
                shared_port = server.port
            found[plan.name] = server
        return found

    def _settings(self, plan: BouncerPlan) -> dict[str, object]:
        settings: dict[str, object] = {}
        if plan.peer_id is not None:
            settings["so_reuseport"] = 1
        if plan.access == "tls":
            made = self.authority.server_certificate(plan.name)
            settings |= {
                "client_tls_sslmode": "require",
                "client_tls_cert_file": made.cert_path,
                "client_tls_key_file": made.key_path,
            }
        return settings

    def _aim(self) -> None:
        """Point every bouncer at its Postgres, and the peers at one another."""
        peers = [self.bouncers[plan.name] for plan in self.plans if plan.peer_id is not None]
        peering = len(peers) > 1 and can_peer([peer.version for peer in peers])
        for plan in self.plans:
            server = self.bouncers[plan.name]
            target = self._leader if plan.serves == "primary" else self._follower
            where = f"host={target.host} port={target.port} dbname={APP_DATABASE}"
            server.databases = {
                "app": f"{where} pool_mode=transaction",
                "app_session": f"{where} pool_mode=session",
                "tiny": f"{where} pool_mode=transaction pool_size=2",
            }
            if plan.peer_id is not None and peering:
                server.settings["peer_id"] = plan.peer_id
                server.peers = {
                    number: f"host={peer.socket_dir} port={peer.port}"
                    for number, peer in enumerate(peers, start=1)
                }

    def _start(self, progress: Progress) -> None:
        leaving = [server for server in self.servers.values() if server.leaving]
        if leaving:
            progress(f"ending {', '.join(server.name for server in leaving)}: told to shut down")
            self._all([server.stop for server in leaving])
        left = [self._follower] if was_left(self._follower) else []
        for node in left:
            progress(f"making {node.name} a replica of {self._leader.name}, which was promoted")
            node.discard()
        missing = [server for server in self.servers.values() if not server.running]
        self._save()
        try:
            if missing:
                progress(f"starting {', '.join(server.name for server in missing)}")
            self._all([self._leader.start, *(host.start for host in self.hosts.values())])
            for what in mend(self._leader, self.secrets):
                progress(f"put right: {what}")
            self._all([self._follower.start, lambda: create_tables(self._leader)])
            self._aim()
            alone = [self.bouncers[plan.name] for plan in self.plans if plan.peer_id is None]
            self._all([self._start_peers, *(server.start for server in alone)])
            self._aim()
        except BaseException:
            for server in reversed(missing):
                server.kill()
            self._save()
            raise
        self._tell_running()
        self._write_files()
        self._save()
        self.started = tuple(server.name for server in missing)

    def _start_peers(self) -> None:
        """Start the `so_reuseport` peers, which share one port: when it is taken, all of them move."""
        peers = [self.bouncers[plan.name] for plan in self.plans if plan.peer_id is not None]
        for attempt in range(CLASH_ATTEMPTS):
            if not any(peer.running for peer in peers) and not is_free(peers[0].port):
                with lease_port() as lease:
                    for peer in peers:
                        peer.port = lease.number
                self._aim()
            try:
                for peer in peers:
                    peer.start()
            except LabError:
                taken = not any(peer.running for peer in peers) and not is_free(peers[0].port)
                if not taken or attempt + 1 == CLASH_ATTEMPTS:
                    raise
            else:
                return

    def _tell_running(self) -> None:
        """Let servers that ran already know when something they point at has moved."""
        if self._follower.write_config():
            self._follower.send_signal(signal.SIGHUP)
        for server in self.bouncers.values():
            if server.write_config():
                server.send_signal(signal.SIGHUP)

    def _write_files(self) -> None:
        pairs = [(plan, self.bouncers[plan.name]) for plan in self.plans]
        text = fleet_toml(self.directory, pairs, self.hosts, [self.primary, self.replica])
        self.launcher.write_file(self.pgpass_path, self.secrets.pgpass())
        self.launcher.write_file(self.directory / "ssh" / "known_hosts", known_hosts(self.hosts))
        self.launcher.write_file(self.inventory_path, text)

    def _start_load(self, seconds: int, progress: Progress) -> None:
        pairs = [(plan, self.bouncers[plan.name]) for plan in self.plans]
        jobs = load_jobs(self.directory, self.launcher, pairs)
        uid = self.launcher.account.uid
        records = {job.name: self._state.of(job.name) or ServerRecord(job.name, "load", None) for job in jobs}
        if any(find_process(self.directory, record, owner_uid=uid) for record in records.values()):
            progress("load runs already")
            return
        progress(f"starting load for {seconds} s")
        ends_at_s = self._clock.wall_s() + seconds
        servers = tuple(record for record in self._state.servers if record.kind != "load")
        self._state = replace(
            self._state, servers=(*servers, *records.values()), load_ends_at_s=ends_at_s + GRACE_S
        )
        self._save()
        for job in jobs:
            log = self.directory / "load" / f"{job.name}.log"
            process = self.launcher.spawn(
                job.name, job.argv(seconds), log=log, cwd=log.parent, env=job.environment
            )
            records[job.name] = records[job.name].running_as(process)
        self._state = replace(self._state, servers=(*servers, *records.values()))
        self._save()

    def _all(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Run `tasks` side by side; a failure or an interrupt is raised when all have ended, never before.

        Otherwise a server could still come up behind the back of whoever cleans up.
        """

        def run(task: Callable[[], object]) -> None:
            task()
            self._save()

        pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lab")
        futures = [pool.submit(run, task) for task in tasks]
        interrupt: KeyboardInterrupt | None = None
        while not all(future.done() for future in futures):
            try:
                wait(futures)
            except KeyboardInterrupt as error:
                interrupt = error
                for future in futures:
                    future.cancel()
        pool.shutdown()
        if interrupt is not None:
            raise interrupt
        for future in futures:
            future.result()

    def _save(self) -> None:
        """Write lab.json as things stand now."""
        with self._save_lock:
            loads = tuple(record for record in self._state.servers if record.kind == "load")
            known = {record.name: record for record in self._state.servers}
            servers = tuple(_record(server, known.get(server.name)) for server in self.servers.values())
            self._state = replace(self._state, servers=(*servers, *loads))
            write_state(self.directory, self.launcher, self._state)


def _record(server: Server, known: ServerRecord | None) -> ServerRecord:
    process = server.process if server.running else None
    version = "" if known is None else known.version
    if isinstance(server, PgBouncerServer):
        version = str(server.version)
    elif process is not None and (known is None or known.process != process):
        version = server.version if isinstance(server, PostgresServer | SshServer) else ""
    made = ServerRecord(
        server.name,
        server.kind,
        server.port,
        version=version,
        stop_signal=int(server.polite_signal),
        config=str(getattr(server, "config_path", "")),
    )
    return made.running_as(process)
