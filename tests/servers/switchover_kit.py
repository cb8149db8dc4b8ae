"""What tests of switchovers share: a primary, its replica, bouncers in front, `pooldeck` in a shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import APP_USERS, SUPERUSER
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, until
from tests.servers.load_kit import make_ledger

PROBE = APP_USERS[1]
_PROBE = f'probe_user = "{PROBE}"\nprobe_database = "app"\nprobe_password_from = "env:PROBE_WORD"'


class Pair:
    """A primary with a replica that streams.

    Attributes:
        shell: runs `pooldeck` on the bouncers, with nodes `primary` and `replica`.
    """

    def __init__(
        self,
        workshop: Workshop,
        folder: Path,
        versions: Sequence[str | None],
        *,
        ini: Mapping[str, Any] | None = None,
        of_nodes: Mapping[str, str] | None = None,
    ) -> None:
        self._of_nodes = of_nodes or {}
        place = workshop.place("pair")
        self.primary = workshop.keep(
            PostgresServer("primary", place / "p", workshop.launcher, workshop.secrets)
        )
        self.primary.start()
        self.replica = workshop.keep(
            PostgresServer("replica", place / "r", workshop.launcher, workshop.secrets, primary=self.primary)
        )
        self.replica.start()
        until(lambda: bool(self.replica.value("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)")))
        make = MakePgBouncer(workshop, lambda: self.primary)
        self.bouncers: dict[str, PgBouncerServer] = {
            f"edge-{number}": make(version, name=f"edge{number}", **(ini or {}))
            for number, version in enumerate(versions, start=1)
        }
        self.folder = folder
        self.shell = Shell(self.bouncers, folder, more=f"{_PROBE}\n{self._nodes()}")
        self.shell.environ |= {
            "SUPER_WORD": workshop.secrets.password(SUPERUSER),
            "PROBE_WORD": workshop.secrets.password(PROBE),
        }
        make_ledger(self.primary)

    def _nodes(self) -> str:
        return "".join(
            f"""
[[postgres]]
name = "{node.name}"
role = "{node.role}"
tcp = "{node.host}:{node.port}"
sslmode = "disable"
databases = ["app"]
user = "{SUPERUSER}"
password_from = "env:SUPER_WORD"
admin_user = "{SUPERUSER}"
admin_password_from = "env:SUPER_WORD"
{self._of_nodes.get(node.name, "")}"""
            for node in (self.primary, self.replica)
        )

    def words(self, *more: str, fence: str = "read-only") -> list[str]:
        """Return the command, as someone who agrees to it types it."""
        return ["switchover", "primary", "--to", "replica", "--fence", fence, *more]

    def approved(self, *more: str, fence: str = "read-only") -> list[str]:
        """Return the command with the approval of its own plan."""
        words = self.words(*more, fence=fence)
        code, lines = self.shell.json_lines(*words, "--plan")
        assert code == 0, lines
        assert lines[0]["blocked"] is None, lines[0]["blocked"]
        return [*words, "--approve", lines[0]["hash"]]

    def aims(self) -> set[tuple[str, int]]:
        """Return where the bouncers' databases lead."""
        found = set()
        for server in self.bouncers.values():
            with server.admin() as console:
                cursor = console.execute("SHOW DATABASES")
                names = [column.name for column in cursor.description or ()]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            found |= {(row["host"], row["port"]) for row in rows if row["name"] != "pgbouncer"}
        return found

    @property
    def at_primary(self) -> set[tuple[str, int]]:
        return {(self.primary.host, self.primary.port)}

    @property
    def at_replica(self) -> set[tuple[str, int]]:
        return {(self.replica.host, self.replica.port)}

    @property
    def nobody_is_paused(self) -> bool:
        return not any(self.shell.paused(name) for name in self.bouncers)

    @property
    def is_fenced(self) -> bool:
        return bool(self.primary.value("SHOW default_transaction_read_only") == "on")

    @property
    def is_promoted(self) -> bool:
        return not self.replica.value("SELECT pg_is_in_recovery()")


@contextmanager
def pair(
    workshop: Workshop,
    folder: Path,
    versions: Sequence[str | None] = (None,),
    *,
    ini: Mapping[str, Any] | None = None,
    of_nodes: Mapping[str, str] | None = None,
) -> Iterator[Pair]:
    """Bring a pair up and take it down.

    Args:
        workshop: makes its servers.
        folder: for the inventory and the state.
        versions: of the bouncers.
        ini: settings of each.
        of_nodes: more lines for the `[[postgres]]` entries `primary` and `replica`.
    """
    try:
        made = Pair(workshop, folder, versions, ini=ini, of_nodes=of_nodes)
        with made.shell:
            yield made
    finally:
        workshop.end_test()
