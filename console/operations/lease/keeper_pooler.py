"""What a keeper asks its pooler, and how it knows that it still is the same: a part of its program.

It runs on the pooler's host, under any Python from 3.6 on, with the standard library alone (see
`keeper_wire`). It decides nothing but one thing: a process that is not the one it met is never sent a word.

The evidence after a new login, and why it is this: the settings that tell processes apart must be those of
the order; the process named by the pid file, where that can be read, must be the one it was; and not every
database's carried bytes may have become fewer. A pooler that carried none gives no evidence but its pid file:
without that it is left alone.
"""
# What ruff would have instead is newer than 3.6:
# ruff: noqa: UP006, UP035, UP045

import re
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from console.operations.lease.keeper_wire import Answer, Refused, Session, Trouble, clock, log_in

RESUMED, RELEASED, NOT_PAUSED = "resumed", "released", "not paused any more"
ANOTHER_PROCESS, FAILED = "another process", "failed"
WARM_S = 2.0
"""How long `server_login_retry` may stay 0 while servers log in (trap T4)."""
WARM_POLL_S = 0.1
KEPT_EXCHANGES = 50
_VERSION = re.compile(r"(\d+)\.(\d+).*/bouncer\Z")


class Over(Exception):
    """The keeper's work is done: its outcome and why."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class Stranger(Trouble):
    """The login met a process with other settings: behind a shared port another login may meet ours."""


class Look(NamedTuple):
    """The target at one moment."""

    paused: Optional[bool]
    """None: not asked, since below 1.19 each such question costs two lines of log; or no longer listed."""
    traffic: Dict[str, int]
    """Bytes that went between clients and servers since the pooler started, by database."""


class Pooler:
    """The target of one order: its session, and what it is like."""

    def __init__(self, order: Mapping[str, Any], password: Optional[str]) -> None:
        self.order = order
        self.database: Optional[str] = order["database"]
        self.exchanges: List[Tuple[str, Optional[str], float, float]] = []
        """Statement, reply, when by the wall clock, and how long it took."""
        self._traffic: Dict[str, int] = {}
        self._password = password
        self._session: Optional[Session] = None
        self._has_state = False
        self._process: Optional[str] = None
        self._new = False

    @property
    def connected(self) -> bool:
        """Whether it has a session."""
        return self._session is not None

    def begin(self) -> Look:
        """Log in for the first time: it must be the pooler that was planned for, and we its admin."""
        self._log_in()
        self._new = False
        try:
            self._ask("PAUSE pgbouncer", self.order["query_timeout_s"])
        except Refused as refusal:
            if "admin access needed" in str(refusal):
                raise Trouble("auth", "the user may log in but is no admin there") from None
        self._process = self._process_now()
        seen = self.look(self.order["query_timeout_s"], sure=True)
        baseline = self.order["carried_bytes"]
        if baseline is not None and self.carried_bytes(seen) < baseline:
            raise Trouble("protocol", "the pooler was restarted since this was planned")
        return seen

    def look(self, limit_s: float, sure: bool) -> Look:
        """Read the target, over a new session if need be; `sure` asks for the pause whatever that costs.

        Raises:
            Over: it is not the process it was.
        """
        if self._session is None:
            self._log_in()
        try:
            # The state first: whatever is carried between the two questions then counts.
            paused = self._read_paused(limit_s, sure)
            traffic = self._read_traffic(limit_s)
        except (LookupError, ValueError, StopIteration) as error:
            self.drop()
            raise Trouble("parse", f"the pooler's answers were not understood: {error!r}") from error
        if self._new:
            self._require_same(traffic)
            self._new = False
        self._traffic = traffic
        return Look(paused, traffic)

    def carried_bytes(self, seen: Look) -> int:
        """Return what went through what the pause covers."""
        return sum(count for name, count in seen.traffic.items() if self.database in (None, name))

    def served(self, before: Mapping[str, int], seen: Look) -> bool:
        """Say whether clients of what the pause covers were served since `before`."""
        covered = (name for name in seen.traffic if self.database in (None, name))
        return any(seen.traffic[name] > before.get(name, 0) for name in covered)

    def send(self, statement: str) -> str:
        """Send a statement of the order and keep what came back; a tag is returned."""
        if self._session is None:
            self._log_in()
        begun, at = clock(), time.time()
        reply: Optional[str] = None
        try:
            reply = self._ask(statement, self.order["query_timeout_s"]).tag
            return reply
        except Refused as refusal:
            reply = f"ERROR: {refusal}"
            raise
        finally:
            self.exchanges.append((statement, reply, at, clock() - begun))
            del self.exchanges[:-KEPT_EXCHANGES]

    def warm_up(self) -> None:
        """Wait until no pool of the target waits for its first server any more, as `resume.lift` does."""
        limit_s = self.order["query_timeout_s"]
        end = clock() + WARM_S
        common = self._config(limit_s).get("min_pool_size")
        kept = {
            row["name"]: (row.get("min_pool_size") or common) not in (None, "", "0")
            for row in self._ask("SHOW DATABASES", limit_s).rows
        }
        while clock() < end:
            cold = any(
                _is_cold(row, kept.get(row["database"], False))
                for row in self._ask("SHOW POOLS", limit_s).rows
                if self.database in (None, row["database"]) and row["database"] != "pgbouncer"
            )
            lists = {row["list"]: row["items"] for row in self._ask("SHOW LISTS", limit_s).rows}
            if not cold and lists.get("login_clients") in (None, "0"):
                return
            time.sleep(WARM_POLL_S)

    def drop(self) -> None:
        """Give the session up; the next question logs in anew."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def descriptor(self) -> int:
        """Return the session's socket, which has to outlive detaching."""
        assert self._session is not None, "it has begun"
        return self._session.fileno()

    def _log_in(self) -> None:
        self._session = log_in(self.order["address"], self._password, self.order["connect_timeout_s"])
        self._new = True
        try:
            version = _VERSION.match(self._session.parameters.get("server_version", ""))
            if version is None:
                raise Trouble("protocol", "what answers there is not a PgBouncer")
            self._has_state = (int(version.group(1)), int(version.group(2))) >= (1, 19)
            config = self._config(self.order["query_timeout_s"])
            differ = [key for key, value in self.order["identity"].items() if config.get(key) != value]
            if differ:
                raise Stranger("protocol", "another process answered ({} differ)".format(", ".join(differ)))
        except BaseException:
            self.drop()
            raise

    def _read_traffic(self, limit_s: float) -> Dict[str, int]:
        rows = self._ask("SHOW STATS", limit_s).rows
        return {
            row["database"] or "": int(row["total_received"] or 0) + int(row["total_sent"] or 0)
            for row in rows
            if row["database"] != "pgbouncer"
        }

    def _config(self, limit_s: float) -> Dict[str, str]:
        return {row["key"] or "": row["value"] or "" for row in self._ask("SHOW CONFIG", limit_s).rows}

    def _read_paused(self, limit_s: float, sure: bool) -> Optional[bool]:
        if self.database is not None:
            rows = self._ask("SHOW DATABASES", limit_s).rows
            return next((row["paused"] == "1" for row in rows if row["name"] == self.database), None)
        if self._has_state:
            rows = self._ask("SHOW STATE", limit_s).rows
            return next(row["value"] == "yes" for row in rows if row["key"] == "paused")
        if not sure:
            return None
        try:
            self._ask("PAUSE pgbouncer", limit_s)
        except Refused as refusal:
            if "cannot pause admin db" in str(refusal):
                return False
            if "already" in str(refusal):
                return True
            raise
        raise Trouble("protocol", "the probe for a pause was not refused")

    def _require_same(self, traffic: Mapping[str, int]) -> None:
        process = self._process_now()
        if process is not None and self._process is not None and process != self._process:
            raise Over(ANOTHER_PROCESS, "the pooler was restarted, and the pause ended with it")
        before = {name: count for name, count in self._traffic.items() if count}
        # One database may lose its own without a restart: by KILL, a RELOAD, or idle pools (1.26).
        if before and all(traffic.get(name, 0) < count for name, count in before.items()):
            raise Over(
                ANOTHER_PROCESS, "its counters began anew: it was restarted, and the pause ended with it"
            )
        if not before and (process is None or self._process is None):
            raise Over(
                ANOTHER_PROCESS,
                "the session was lost, and nothing tells this process from a restarted one: it had carried "
                "nothing and its pid file cannot be read; nothing was sent",
            )

    def _process_now(self) -> Optional[str]:
        """Return pid and start of the process that the pid file names; None when that cannot be read."""
        try:
            with open(self.order["identity"].get("pidfile") or "", encoding="ascii") as file:
                pid = int(file.read().strip())
            return f"{pid} {start_ticks(pid)}"
        except (OSError, ValueError, LookupError):
            return None

    def _ask(self, statement: str, limit_s: float) -> Answer:
        assert self._session is not None, "logged in before"
        try:
            return self._session.query(statement, limit_s)
        except Trouble:
            self._session = None
            raise


def start_ticks(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; with its pid that names it for good.

    Raises:
        OSError, LookupError: there is no such process, or no /proc.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def _is_cold(pool: Mapping[str, Optional[str]], kept_warm: bool) -> bool:
    """Say whether a pool has no server and is about to need one; `kept_warm`: it has a minimum."""

    def some(*columns: str) -> bool:
        return any(pool[column] not in (None, "0") for column in columns)

    wanted = some("cl_waiting", "sv_login") or (kept_warm and some("cl_active"))
    return wanted and not some("sv_active", "sv_idle", "sv_used")
