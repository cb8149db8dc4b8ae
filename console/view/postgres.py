"""The Postgres table: one row a server behind the bouncers, its columns and its note. No IO."""

from __future__ import annotations

from console.model.fleet import Connecting, FleetSnapshot, PostgresReading, PostgresSnapshot, Unreachable
from console.view import states
from console.view.cells import Cell, Kind, Tone, ViewColumn, use_tone


class PostgresRow:
    """One Postgres node of a snapshot. Numbers are None when it does not answer."""

    __slots__ = ("key", "node")

    def __init__(self, node: PostgresSnapshot) -> None:
        self.node = node
        self.key = node.name

    @property
    def state(self) -> str:
        """The state word."""
        return str(self.node.state)

    @property
    def old(self) -> bool:
        """True when the numbers are not from the last reading due."""
        return states.is_old(self.node.freshness)

    @property
    def reading(self) -> PostgresReading | None:
        """The reading whose numbers may be shown; None for a node that does not answer."""
        return None if isinstance(self.node.freshness, Unreachable | Connecting) else self.node.reading

    @property
    def role(self) -> str:
        """The role as it is; with a mark when the inventory says otherwise."""
        if self.reading is None:
            return self.node.role
        actual = "replica" if self.reading.in_recovery else "primary"
        return actual if actual == self.node.role else f"{actual} (!)"

    @property
    def room(self) -> int | None:
        """Connections ordinary roles may open: `max_connections` without the reserves."""
        reading = self.reading
        if reading is None:
            return None
        return (
            reading.max_connections
            - reading.superuser_reserved_connections
            - (reading.reserved_connections or 0)
        )

    @property
    def use(self) -> float | None:
        """Client backends over `room`."""
        if self.reading is None or not self.room:
            return None
        return self.reading.backends / self.room

    def backends(self, *wanted: str) -> int | None:
        """Count client backends in the given states of pg_stat_activity; None when not known."""
        if self.reading is None:
            return None
        return sum(self.reading.backends_by_state.get(state, 0) for state in wanted)

    @property
    def faulty(self) -> bool:
        """True when somebody should look."""
        return self.state in states.FAULTS or (self.use or 0) >= 1

    @property
    def paused(self) -> bool:
        """A Postgres node is never paused."""
        return False

    @property
    def labels(self) -> dict[str, str]:
        """The inventory's labels."""
        return dict(self.node.labels)

    @property
    def search_text(self) -> str:
        """What a regular expression in the filter is matched with."""
        return f"{self.key} {self.role} {self.state} {self.node.address}"


def _lag_tone(lag_us: float) -> Tone:
    return Tone.WARN if lag_us > 10_000_000 else Tone.PLAIN


def _lag(row: PostgresRow) -> float | None:
    lag_s = row.reading.replication_lag_s if row.reading else None
    return None if lag_s is None else lag_s * 1_000_000


def _role_cell(row: PostgresRow) -> Cell:
    wrong = row.role.endswith("(!)")
    return Cell(row.role, Tone.WARN if wrong else Tone.DIM if row.old else Tone.PLAIN)


POSTGRES_COLUMNS: tuple[ViewColumn[PostgresRow], ...] = (
    ViewColumn(
        "name",
        "postgres",
        14,
        Kind.TEXT,
        lambda row: row.key,
        "The name in the inventory.",
        cell=lambda row: Cell(row.key, Tone.DIM if row.old else Tone.STRONG),
        letter="N",
    ),
    ViewColumn(
        "state",
        "state",
        states.STATE_WIDTH,
        Kind.TEXT,
        lambda row: row.state,
        "up, connecting, stale or unreachable.",
        cell=lambda row: states.state_cell(row.state),
        letter="S",
    ),
    ViewColumn(
        "role",
        "role",
        11,
        Kind.TEXT,
        lambda row: row.role,
        "As the server says (pg_is_in_recovery); `(!)` when the inventory says otherwise.",
        cell=_role_cell,
    ),
    ViewColumn(
        "backends",
        "backends",
        8,
        Kind.COUNT,
        lambda row: row.reading.backends if row.reading else None,
        "Client backends in any state.",
        letter="B",
    ),
    ViewColumn(
        "room",
        "room",
        6,
        Kind.COUNT,
        lambda row: row.room,
        "max_connections without the connections kept for superusers and reserved roles.",
    ),
    ViewColumn(
        "use",
        "use",
        6,
        Kind.SHARE,
        lambda row: row.use,
        "Client backends over room.",
        tone=use_tone,
        letter="U",
    ),
    ViewColumn(
        "active", "active", 6, Kind.COUNT, lambda row: row.backends("active"), "Backends running a query."
    ),
    ViewColumn(
        "idle_in_xact",
        "in xact",
        7,
        Kind.COUNT,
        lambda row: row.backends("idle in transaction", "idle in transaction (aborted)"),
        "Backends idle in a transaction: each holds its locks, and a pool's server.",
        tone=lambda _: Tone.WARN,
        letter="X",
    ),
    ViewColumn(
        "lag",
        "lag",
        8,
        Kind.DURATION_US,
        _lag,
        "Replicas: time since the last replayed transaction; 0 when all received WAL is replayed. "
        "n/a on a primary.",
        tone=_lag_tone,
        letter="D",
    ),
    ViewColumn(
        "version",
        "version",
        8,
        Kind.TEXT,
        lambda row: f"{row.reading.version.major}.{row.reading.version.minor}" if row.reading else None,
        "server_version.",
    ),
    ViewColumn(
        "age",
        "age",
        6,
        Kind.DURATION_US,
        lambda row: None if (age := states.age_s(row.node.freshness)) is None else age * 1e6,
        "Age of the numbers.",
        cell=lambda row: states.age_cell(row.node.freshness),
        letter="A",
    ),
    ViewColumn("address", "address", 28, Kind.TEXT, lambda row: row.node.address, "Where it listens."),
)


def postgres_rows(snapshot: FleetSnapshot) -> list[PostgresRow]:
    """Return a row for every Postgres node, worst first, ties in the inventory's order."""
    return sorted(map(PostgresRow, snapshot.postgres), key=lambda row: states.rank(row.state))


def note(row: PostgresRow) -> Cell:
    """Explain a row in one line."""
    wrong = states.trouble(row.node.freshness)
    if wrong is not None:
        return Cell(f"{row.key}: {wrong}", Tone.BAD if row.state == "unreachable" else Tone.WARN)
    if row.role.endswith("(!)"):
        return Cell(f"{row.key}: is a {row.role[:-4]}; the inventory says {row.node.role}", Tone.WARN)
    standbys = ", ".join(row.reading.replicas) if row.reading else ""
    text = f"{row.key}: {row.node.address}"
    return Cell(f"{text}; standbys: {standbys}" if standbys else text, Tone.DIM)
