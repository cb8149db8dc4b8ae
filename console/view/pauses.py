"""What keeps clients of a bouncer waiting or out, in all its disguises, and who alive answers for it.

Pure: it reads a snapshot and what is known of leases. It must not decide what is to be done about it.
Source of the disguises: pgbouncer-admin.md, sections 2 and 6; what a sample cannot show is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from math import inf

from console.model.claims import Claim
from console.model.derive import application_pools
from console.model.fleet import PoolerSnapshot, PoolerState
from console.model.rows import Pool
from console.model.sample import Sample
from console.model.version import Version
from console.view import numbers, states
from console.view.cells import Cell, Tone

Place = tuple[str, str | None]
"""A bouncer, and one of its databases or None for the bouncer as a whole."""
NOTHING_SEEN: Mapping[Place, float] = {}
SHUTDOWN_MODES = Version(1, 23)
"""From here on a pause that is not drained may be a shutdown that waits for its servers."""


class Disguise(StrEnum):
    """How it shows."""

    SUSPENDED = "suspended"
    PAUSED = "paused"
    PENDING = "pausing"
    """Paused, and servers are still held: clients wait already, the pause is not complete."""
    INFERRED = "paused?"
    """Below 1.19 nothing says so: inferred from clients that wait where no server is left."""
    DISABLED = "disabled"
    """New clients are refused. Somebody's choice, not a pause."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that keeps clients waiting, or out."""

    bouncer: str
    database: str | None
    disguise: Disguise
    waiting: int
    cut_in_s: float | None
    """Until the client that waits longest is cut; inf: never; None: not known, or it is suspended."""
    may_shut_down: bool = False
    """A shutdown that waits for its servers looks the same."""

    @property
    def place(self) -> Place:
        """Where."""
        return self.bouncer, self.database

    @property
    def words(self) -> str:
        """What is so, e.g. `database app paused`."""
        seems = {
            Disguise.INFERRED: "seems paused",
            Disguise.PENDING: "pausing (servers are still held)",
        }
        word = seems.get(self.disguise, self.disguise.value)
        return word if self.database is None else f"database {self.database} {word}"


@dataclass(frozen=True, eq=False)
class Known:
    """What is known besides a snapshot."""

    claims: tuple[Claim, ...] | None = None
    """Of every lease on this machine; None: they could not be read, or nobody reads them."""
    own: tuple[Claim, ...] = ()
    """Of this session's runs."""
    read_s: float | None = None
    """Monotonic clock: when `claims` were asked for."""
    first_seen_s: Mapping[Place, float] = field(default_factory=lambda: NOTHING_SEEN)
    """Monotonic clock: since when this console sees each stop without a break."""


NOTHING_KNOWN = Known()


class Owner(Enum):
    """Who answers for a stop."""

    ALIVE = "a run or guardian that lives"
    DEAD = "a run that died"
    NOBODY = "nobody that this machine knows"
    UNKNOWN = "not looked up yet"
    CHOICE = "a choice, not a pause"


@dataclass(frozen=True, slots=True)
class Mark:
    """A stop and who answers for it."""

    stop: Stop
    owner: Owner
    claim: Claim | None
    age_s: float | None
    at_least: bool
    """It may be older: nobody knows when it began."""
    left_s: float | None
    """Until its owner ends it; None: nobody does."""

    @property
    def forgotten(self) -> bool:
        """Whether clients wait and nobody alive will let them go."""
        return self.owner in (Owner.DEAD, Owner.NOBODY)


def stops_of(pooler: PoolerSnapshot) -> tuple[Stop, ...]:
    """Return what the current sample shows, the bouncer as a whole first; () when there is none."""
    sample = states.current_sample(pooler)
    return () if sample is None else tuple(_stops(pooler, sample))


def _stops(pooler: PoolerSnapshot, sample: Sample) -> Iterator[Stop]:
    pools = application_pools(sample)
    name = pooler.info.name
    if sample.state.suspended:
        yield _stop(name, None, Disguise.SUSPENDED, sample, pools)
    elif sample.state.paused:
        yield _stop(name, None, _drained(pools), sample, pools)
    elif pooler.state is PoolerState.MAYBE_PAUSED:
        yield _stop(name, None, Disguise.INFERRED, sample, pools)
    for database in sample.databases:
        own = tuple(pool for pool in pools if pool.database == database.name)
        if database.paused:
            yield _stop(name, database.name, _drained(own), sample, own)
        if database.disabled:
            yield _stop(name, database.name, Disguise.DISABLED, sample, own)


def _drained(pools: tuple[Pool, ...]) -> Disguise:
    return Disguise.PENDING if any(pool.servers for pool in pools) else Disguise.PAUSED


def _stop(
    name: str, database: str | None, disguise: Disguise, sample: Sample, pools: tuple[Pool, ...]
) -> Stop:
    version = sample.version
    return Stop(
        bouncer=name,
        database=database,
        disguise=disguise,
        waiting=sum(pool.cl_waiting for pool in pools),
        cut_in_s=None if disguise is Disguise.SUSPENDED else _cut_in_s(sample, pools),
        may_shut_down=(
            disguise is Disguise.PENDING
            and database is None
            and version is not None
            and version >= SHUTDOWN_MODES
        ),
    )


def _cut_in_s(sample: Sample, pools: tuple[Pool, ...]) -> float | None:
    setting = sample.config.value.get("query_wait_timeout") if sample.config is not None else None
    try:
        limit_s = None if setting is None or setting.value is None else float(setting.value)
    except ValueError:
        limit_s = None
    if limit_s is None:
        return None
    if not limit_s:
        return inf
    return max(0.0, limit_s - max((pool.maxwait_us for pool in pools), default=0) / 1_000_000)


def marks_of(pooler: PoolerSnapshot, known: Known, *, wall_s: float, monotonic_s: float) -> tuple[Mark, ...]:
    """Return what stops clients on a bouncer, the most urgent first.

    Args:
        pooler: as in the snapshot.
        known: what is known besides.
        wall_s: the snapshot's wall clock.
        monotonic_s: the snapshot's monotonic clock.
    """
    marks = [_mark(stop, known, wall_s, monotonic_s) for stop in stops_of(pooler)]
    return tuple(sorted(marks, key=lambda mark: (not mark.forgotten, mark.owner is Owner.CHOICE)))


def _mark(stop: Stop, known: Known, wall_s: float, monotonic_s: float) -> Mark:
    claim = _claim(stop, known)
    first_s = known.first_seen_s.get(stop.place)
    owner = _owner(stop, known, claim, first_s)
    age_s = None if first_s is None else max(0.0, monotonic_s - first_s)
    if claim is not None:
        age_s = max(0.0, wall_s - claim.since_wall_s)
    return Mark(
        stop=stop,
        owner=owner,
        claim=claim,
        age_s=age_s,
        at_least=claim is None,
        left_s=max(0.0, claim.until_wall_s - wall_s) if claim is not None and claim.alive else None,
    )


def _claim(stop: Stop, known: Known) -> Claim | None:
    if stop.disguise is Disguise.DISABLED:
        return None
    claims = [
        claim
        for claim in (*known.own, *(known.claims or ()))
        if (claim.bouncer, claim.database) == stop.place
    ]
    return max(claims, key=lambda one: (one.alive, one.since_wall_s), default=None)


def _owner(stop: Stop, known: Known, claim: Claim | None, first_s: float | None) -> Owner:
    if stop.disguise is Disguise.DISABLED:
        return Owner.CHOICE
    if claim is not None:
        return Owner.ALIVE if claim.alive else Owner.DEAD
    # A pause that began after the leases were read may be under one of which we do not know yet.
    looked_up = known.claims is not None and known.read_s is not None
    if not looked_up or first_s is None or known.read_s is None or known.read_s < first_s:
        return Owner.UNKNOWN
    return Owner.NOBODY


def mark_cell(mark: Mark) -> Cell:
    """Return what the state column says: `! paused` forgotten, `‖ held 23 s` owned, else as the state."""
    word = mark.stop.disguise.value
    if mark.stop.database is not None:
        word = f"db {word}"
    if mark.forgotten:
        return Cell(f"! {word}", Tone.BAD)
    if mark.owner is Owner.ALIVE and mark.left_s is not None and mark.stop.disguise is not Disguise.PENDING:
        return Cell(f"‖ held {_short(mark.left_s)}", Tone.WARN)
    cell = states.state_cell(word)
    return cell if mark.stop.disguise is not Disguise.PENDING else Cell(f"‖ {word}", Tone.WARN)


def _short(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def mark_note(mark: Mark) -> Cell:
    """Explain a mark: for how long, by whom, and when clients are cut."""
    stop = mark.stop
    if mark.owner is Owner.CHOICE:
        return Cell(f"{stop.words}: new clients are refused", Tone.WARN)
    if mark.owner is Owner.ALIVE and mark.claim is not None:
        claim = mark.claim
        return Cell(
            f"{stop.words}, held by {claim.who} ({claim.title}), {numbers.age(mark.left_s)} left", Tone.WARN
        )
    parts = [f"{stop.words}{_since(mark)}, {_by(mark)}", _cut(stop)]
    if stop.may_shut_down:
        parts.append("or it is shutting down: RESUME is then refused")
    if stop.disguise is Disguise.INFERRED:
        parts.append("inferred: clients wait and no server is left")
    parts.append("M plans its mend" if mark.forgotten else "R plans the resume")
    return Cell("; ".join(parts), Tone.BAD if mark.forgotten else Tone.WARN)


def _since(mark: Mark) -> str:
    if mark.age_s is None:
        return ""
    return f" for at least {numbers.age(mark.age_s)}" if mark.at_least else f" {numbers.age(mark.age_s)}"


def _by(mark: Mark) -> str:
    if mark.owner is Owner.UNKNOWN:
        return "by whom is not known here"
    if mark.claim is not None:
        return f"by nobody alive ({mark.claim.title} of {mark.claim.who} is dead)"
    return "by nobody alive that this machine knows"


def _cut(stop: Stop) -> str:
    if stop.disguise is Disguise.SUSPENDED:
        # It reads from nobody, so nobody counts as waiting, and query_wait_timeout rests (seen on 1.24).
        return (
            "clients that wait are cut within suspend_timeout"
            if stop.waiting
            else "no client is cut, what they send is not read"
        )
    if stop.cut_in_s is None:
        return "when clients are cut is not known"
    if stop.cut_in_s == inf:
        return "clients are never cut (query_wait_timeout is 0)"
    if not stop.waiting:
        return f"no client waits yet, each is cut after {numbers.age(stop.cut_in_s)}"
    return f"clients are cut in {numbers.age(stop.cut_in_s)}"
