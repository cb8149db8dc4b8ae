"""What the tests of RELOAD share: a real bouncer's files as texts, its log, what it shows after a RELOAD."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from console.config.pgbouncer_expect import PeerLine
from console.config.pgbouncer_lint_files import Lint, lint, wanted
from console.config.pgbouncer_texts import ConfigTexts, HostFile, Trouble
from console.errors import AdminError
from console.lab.bouncer import PgBouncerServer
from console.lab.secrets import ADMIN, MONITOR
from console.model.table import ResultTable
from console.operations.observe import Observation, observe
from console.operations.plan import TargetPlan
from console.operations.reach import Reach
from console.operations.reload_check import read_peers
from console.operations.service import OperationService
from console.operations.sessions import Connector, ReadSession, WriteSession
from console.poolers.connect import PoolerConnector
from console.poolers.dialects import dialect_for
from console.transport.base import Transport
from tests.harness.leases import FakeLeases
from tests.servers.operations_kit import Desk, LabPasswords

DIALECT = dialect_for("pgbouncer")
FAILED = ("config file loading failed", "TLS configuration could not be reloaded")
"""How PgBouncer's log says that a RELOAD failed, on every version."""
WRONG = "no_such_setting = 1\n"


class Console:
    """An admin session of the test's own, kept open over every RELOAD; a `WriteSession`."""

    def __init__(self, server: PgBouncerServer) -> None:
        self.server = server
        self._link = server.admin()

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:  # noqa: ARG002
        result = self._link.pgconn.exec_(f"SHOW {what}".encode())
        names = [(result.fname(at) or b"").decode() for at in range(result.nfields)]
        rows = [
            tuple(
                None
                if (cell := result.get_value(row, at)) is None
                else cell.decode("utf-8", "backslashreplace")
                for at in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]
        return ResultTable(tuple(names), tuple(rows))

    async def execute(self, statement: str, timeout_s: float | None) -> str:  # noqa: ARG002
        try:
            return self._link.execute(statement.encode()).statusmessage or ""
        except psycopg.Error as error:
            raise AdminError(str(error), sqlstate=error.sqlstate) from None

    async def close(self) -> None:
        self._link.close()

    def peers(self) -> dict[int, PeerLine]:
        return read_peers(asyncio.run(self.show("PEERS", timeout_s=5)))

    def observe(self) -> Observation:
        return asyncio.run(observe(self, DIALECT, "edge", timeout_s=5, prober=self))

    def reload(self) -> Reloaded:
        """Send RELOAD and say how it went, by answer and log."""
        before = len(self._log())
        try:
            answer = asyncio.run(self.execute("RELOAD", None))
        except AdminError as error:
            answer = f"ERROR: {error.sqlstate}"
        return Reloaded(answer, self._log()[before:])

    def lets_in(self, user: str = ADMIN) -> bool:
        """Log in anew."""
        try:
            self.server.admin(user=user).close()
        except psycopg.Error:
            return False
        return True

    def _log(self) -> str:
        return self.server.own_log_path.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Reloaded:
    """What came of one RELOAD."""

    answer: str
    log: str

    @property
    def failed(self) -> bool:
        return any(words in self.log for words in FAILED)


@dataclass
class Bench:
    """One bouncer whose files a test breaks and mends."""

    server: PgBouncerServer
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console = Console(self.server)
        self.ini = self.server.config_path.read_bytes()
        self.users = self.server.userlist_path.read_bytes()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self.console.close())

    @property
    def folder(self) -> Path:
        return self.server.directory

    def write(self, path: Path, content: bytes) -> None:
        """Write as the server's account, as a new file: PgBouncer looks at its whole seconds and size."""
        path.unlink(missing_ok=True)
        self.server.launcher.write_file(path, content)

    def mend(self) -> None:
        """Put all back as it was at the start."""
        self.write(self.server.config_path, self.ini)
        self.write(self.server.userlist_path, self.users)
        asyncio.run(self.console.execute(f"SET conffile = '{self.server.config_path}'", None))
        assert not self.console.reload().failed

    @contextmanager
    def mended(self) -> Iterator[None]:
        """Mend at the end, whatever happens."""
        try:
            yield
        finally:
            self.mend()

    def lint(self, seen: Observation) -> Lint:
        """Judge the files as they are now."""
        texts = ConfigTexts(str(self.server.config_path), str(self.server.directory), {})
        while (more := wanted(texts, seen.config, seen.version)) and (more.files or more.looks):
            looks = {path: None if Path(path).exists() else Trouble.MISSING for path in more.looks}
            texts = ConfigTexts(
                texts.root,
                texts.working_folder,
                {**texts.files, **{path: read(path) for path in more.files}},
                {**texts.looked_for, **looks},
            )
        return lint(texts, seen.config, seen.version, admin_user=ADMIN, monitor_user=MONITOR)


def read(path: str) -> HostFile:
    """Read a file of this machine."""
    try:
        return HostFile(path, Path(path).read_bytes())
    except FileNotFoundError:
        return HostFile(path, None, Trouble.MISSING)
    except IsADirectoryError:
        return HostFile(path, None, Trouble.FOLDER)


class Meddler:
    """A connector through which a test edits files at a chosen moment of a run."""

    def __init__(self, inner: Connector) -> None:
        self._inner = inner
        self.after_look: Callable[[], None] = lambda: None
        """Called when the run makes sure of the process it has, once: the last look is over then."""
        self.before_reload: Callable[[], None] = lambda: None
        """Called in the last instant before the first RELOAD is sent, once."""
        self.lose_reload = 0
        """So many sessions break in the instant before their RELOAD."""
        self.sent: list[str] = []

    async def reader(self, name: str, *, as_admin: bool = False) -> ReadSession:
        return await self._inner.reader(name, as_admin=as_admin)

    async def writer(self, name: str) -> WriteSession:
        return _Meddled(await self._inner.writer(name), self)

    async def probe(self, name: str) -> str:
        return await self._inner.probe(name)


class _Meddled:
    def __init__(self, session: WriteSession, meddler: Meddler) -> None:
        self._session = session
        self._meddler = meddler

    async def show(self, what: str, *, timeout_s: float) -> ResultTable:
        if what == "CONFIG":
            act, self._meddler.after_look = self._meddler.after_look, lambda: None
            act()
        return await self._session.show(what, timeout_s=timeout_s)

    async def execute(self, statement: str, timeout_s: float | None) -> str:
        if statement == "RELOAD":
            act, self._meddler.before_reload = self._meddler.before_reload, lambda: None
            act()
            self._meddler.sent.append(statement)
            if self._meddler.lose_reload:
                self._meddler.lose_reload -= 1
                await self._session.close()
        return await self._session.execute(statement, timeout_s)

    async def close(self) -> None:
        await self._session.close()


class ReloadDesk(Desk):
    """A desk whose bouncer's files are reached, over SSH when there is a transport."""

    def __init__(self, server: PgBouncerServer, journal: Path, transport: Transport | None = None) -> None:
        self.transport = transport
        super().__init__(server, journal)
        if transport is not None:
            bouncer = self.inventory.bouncers[0].model_copy(update={"host": "host"})
            self.inventory = self.inventory.model_copy(update={"bouncers": (bouncer,)})
            self.use(PoolerConnector(self.inventory, transport, LabPasswords(server.secrets)))

    def use(self, connector: Connector) -> None:
        self.meddler = Meddler(connector)
        self.connector = self.meddler
        self.service = OperationService(
            self.inventory,
            Reach(self.meddler, transport=self.transport, leases=FakeLeases()),
            self.journal,
            self.clock,
            read_only=self.read_only,
        )

    @property
    def ini(self) -> Path:
        return self.server.config_path

    def edit(self, change: Callable[[str], str]) -> None:
        """Change the ini, as the server's account."""
        self.server.launcher.write_file(self.ini, change(self.ini.read_text()))

    async def plan(self, **parameters: Any) -> TargetPlan:
        """Return the plan of a RELOAD."""
        return (await self.service.plan("reload", "edge", **parameters)).targets[0]

    def setting(self, key: str) -> str:
        """Ask the bouncer itself."""
        with self.server.admin() as console:
            rows = console.execute("SHOW CONFIG").fetchall()
        return next(str(row[1]) for row in rows if row[0] == key)


def break_on_top(text: str) -> str:
    """Return a configuration whose first line is no setting."""
    return text.replace("[pgbouncer]\n", f"[pgbouncer]\n{WRONG}")


def lets_in(server: PgBouncerServer) -> bool:
    """Say whether the console lets an admin in."""
    try:
        server.admin().close()
    except psycopg.Error:
        return False
    return True
