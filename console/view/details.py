"""Everything known of one row, as sections of labelled lines: for the detail screen and its raw form.

Here, and only here, the last numbers of a bouncer that does not answer are shown, under their age.
Settings come from the pooler's own SHOW CONFIG, which holds no password. No IO.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from console.model.advisories import advisories
from console.model.derive import application_pools
from console.model.fleet import PoolerSnapshot, PostgresSnapshot
from console.model.rows import Setting
from console.model.sample import Sample
from console.view import numbers, states
from console.view.cells import Cell, Tone
from console.view.fleet import BouncerRow, address
from console.view.numbers import NOT_AVAILABLE, needs

NEVER_READ = "not read yet"


@dataclass(frozen=True, slots=True)
class Section:
    """A title and (label, value) lines."""

    title: str
    lines: tuple[tuple[str, Cell], ...]


def bouncer_details(
    pooler: PoolerSnapshot, *, config_file: str | None = None, monitor: str | None = None
) -> tuple[Section, ...]:
    """Describe a bouncer: what it is, how it is reached, what it lacks, and its settings.

    Args:
        pooler: as in the snapshot.
        config_file: the path the inventory gives, used until SHOW CONFIG has told its own.
        monitor: the role that reads.
    """
    sections = [_identity(pooler, config_file, monitor), _condition(pooler)]
    sample = pooler.sample
    if sample is not None:
        sections += [_unread(sample), _numbers(pooler, sample), _databases(sample)]
        sections += [_flaws(sample), _missing(sample), _settings(sample)]
    return tuple(section for section in sections if section.lines)


def _identity(pooler: PoolerSnapshot, config_file: str | None, monitor: str | None) -> Section:
    info, sample = pooler.info, pooler.sample
    version = sample.version if sample else None
    read = _setting(sample, "conffile")
    labels = " ".join(f"{key}={value}" for key, value in info.labels.items())
    return Section(
        "Bouncer",
        (
            ("name", Cell(info.name, Tone.STRONG)),
            ("kind", Cell(info.kind)),
            ("version", Cell(str(version) if version else NOT_AVAILABLE)),
            ("address", Cell(address(info))),
            ("labels", Cell(labels or "none", Tone.PLAIN if labels else Tone.DIM)),
            ("peer group", Cell(info.peer_group or "none", Tone.PLAIN if info.peer_group else Tone.DIM)),
            ("config file", Cell(read or config_file or NOT_AVAILABLE)),
            ("read as", Cell(monitor or NOT_AVAILABLE)),
        ),
    )


def _condition(pooler: PoolerSnapshot) -> Section:
    lines: list[tuple[str, Cell]] = [
        ("state", states.state_cell(pooler.state)),
        ("age of numbers", states.age_cell(pooler.freshness)),
    ]
    wrong = states.trouble(pooler.freshness)
    if wrong:
        lines.append(("trouble", Cell(wrong, Tone.BAD if pooler.state == "unreachable" else Tone.WARN)))
    if pooler.sample is not None:
        taken = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(pooler.sample.taken_at_s))
        lines.append(("last read", Cell(taken)))
        lines.append(("answer time", Cell(numbers.duration_us(pooler.sample.answer_us))))
    return Section("Condition", tuple(lines))


def _flaws(sample: Sample) -> Section:
    """Name the flaws that the version has; a package may carry the fix all the same (trap T27)."""
    found = advisories(sample.version) if sample.version is not None else ()
    return Section(
        "Flaws of this version, unless its package has the fix",
        tuple((one.name, Cell(f"{one.allows}; fixed in {one.fixed}", Tone.WARN)) for one in found),
    )


def _unread(sample: Sample) -> Section:
    """Say what could not be read and why: numbers that rest on it are of an earlier reading, or n/a."""
    return Section(
        "Not read",
        tuple((f"SHOW {what}", Cell(why, Tone.WARN)) for what, why in sorted(sample.unread.items())),
    )


def _numbers(pooler: PoolerSnapshot, sample: Sample) -> Section:
    row = BouncerRow(pooler)
    known = row.sample is not None
    pools = application_pools(sample)
    tone = Tone.PLAIN if known and not row.old else Tone.DIM
    rates = row.rates
    lines = (
        ("clients active", Cell(numbers.count(sum(pool.cl_active for pool in pools)), tone)),
        ("clients waiting", Cell(numbers.count(sum(pool.cl_waiting for pool in pools)), tone)),
        ("longest wait", Cell(numbers.duration_us(max((p.maxwait_us for p in pools), default=0)), tone)),
        ("servers", Cell(numbers.count(sum(pool.servers for pool in pools)), tone)),
        ("transactions/s", Cell(numbers.rate(rates.xact_per_s if rates else None), tone)),
        ("queries/s", Cell(numbers.rate(rates.query_per_s if rates else None), tone)),
        ("mean query", Cell(numbers.duration_us(rates.mean_query_time_us if rates else None), tone)),
        ("mean wait", Cell(numbers.duration_us(rates.mean_wait_time_us if rates else None), tone)),
        ("log-ins under way", Cell(numbers.count(sample.lists.get("login_clients")), tone)),
    )
    if known:
        return Section("Numbers", lines)
    return Section(f"Numbers, {numbers.age(states.age_s(pooler.freshness))} old, not current", lines)


def _databases(sample: Sample) -> Section:
    lines = []
    for database in sample.databases:
        if database.name == "pgbouncer":
            continue
        target = f"{database.host or 'local socket'}:{database.port or NOT_AVAILABLE}/{database.database}"
        flags = [word for word, on in (("PAUSED", database.paused), ("DISABLED", database.disabled)) if on]
        size = NOT_AVAILABLE if database.pool_size is None else f"{database.pool_size:,}"
        text = " ".join([*flags, f"{database.pool_mode or NOT_AVAILABLE} mode, size {size}, {target}"])
        lines.append((database.name, Cell(text, Tone.WARN if flags else Tone.PLAIN)))
    return Section("Databases", tuple(lines))


def _missing(sample: Sample) -> Section:
    return Section(
        "Not in this version",
        tuple((name, Cell(needs(version), Tone.DIM)) for name, version in sorted(sample.missing.items())),
    )


def _settings(sample: Sample) -> Section:
    if sample.config is None:
        return Section("Settings", (("SHOW CONFIG", Cell(NEVER_READ, Tone.DIM)),))
    return Section(
        "Settings (SHOW CONFIG)",
        tuple((key, _setting_cell(setting)) for key, setting in sorted(sample.config.value.items())),
    )


def _setting_cell(setting: Setting) -> Cell:
    text = setting.value if setting.value else '""'
    changed = setting.default is not None and (setting.value or "") != setting.default
    if changed:
        text += f"   (default {setting.default or chr(34) * 2})"
    if setting.changeable is False:
        text += "   needs a restart"
    return Cell(text, Tone.STRONG if changed else Tone.PLAIN)


def _setting(sample: Sample | None, key: str) -> str | None:
    if sample is None or sample.config is None:
        return None
    setting = sample.config.value.get(key)
    return setting.value if setting else None


def postgres_details(node: PostgresSnapshot) -> tuple[Section, ...]:
    """Describe a Postgres node."""
    lines: list[tuple[str, Cell]] = [
        ("name", Cell(node.name, Tone.STRONG)),
        ("role in the inventory", Cell(node.role)),
        ("address", Cell(node.address)),
        ("state", states.state_cell(node.state)),
        ("age of numbers", states.age_cell(node.freshness)),
    ]
    wrong = states.trouble(node.freshness)
    if wrong:
        lines.append(("trouble", Cell(wrong, Tone.BAD if node.state == "unreachable" else Tone.WARN)))
    sections = [Section("Postgres", tuple(lines))]
    reading = node.reading
    if reading is not None:
        old = states.is_old(node.freshness)
        title = "Connections" if not old else f"Connections, {numbers.age(states.age_s(node.freshness))} old"
        counts = [(state, Cell(numbers.count(n))) for state, n in sorted(reading.backends_by_state.items())]
        sections.append(
            Section(
                title,
                (
                    ("version", Cell(str(reading.version.text or reading.version))),
                    ("max_connections", Cell(numbers.count(reading.max_connections))),
                    ("kept for superusers", Cell(numbers.count(reading.superuser_reserved_connections))),
                    ("kept for reserved roles", _reserved(reading.reserved_connections)),
                    *counts,
                    ("standbys", Cell(", ".join(reading.replicas) or "none")),
                ),
            )
        )
    return tuple(sections)


def _reserved(value: int | None) -> Cell:
    return Cell(needs("PostgreSQL 16"), Tone.DIM) if value is None else Cell(numbers.count(value))


def raw_sections(sample: Sample, database: str | None = None, user: str | None = None) -> tuple[Section, ...]:
    """Return what was read, column by column under the console's own names; of one pool when it is named."""
    pools = [
        pool
        for pool in sample.pools
        if database is None or (pool.database == database and (user is None or pool.user == user))
    ]
    databases = [row for row in sample.databases if database is None or row.name == database]
    sections = [Section(f"SHOW POOLS: {p.database}/{p.user}", _fields(p, sample, "pools")) for p in pools]
    sections += [Section(f"SHOW DATABASES: {d.name}", _fields(d, sample, "databases")) for d in databases]
    if sample.stats is not None:
        rows = [row for row in sample.stats.value if database is None or row.database == database]
        sections += [Section(f"SHOW STATS: {row.database}", _fields(row, sample, "stats")) for row in rows]
    if database is None:
        lists = tuple((name, Cell(str(value))) for name, value in sample.lists.items())
        sections += [
            Section("SHOW STATE", _fields(sample.state, sample, "state")),
            Section("SHOW LISTS", lists),
        ]
    return tuple(sections)


def _fields(row: object, sample: Sample, show: str) -> tuple[tuple[str, Cell], ...]:
    lines = []
    for field in dataclasses.fields(row):  # type: ignore[arg-type]
        value = getattr(row, field.name)
        if field.name == "extra":
            lines += [(name, Cell(text or "")) for name, text in value.items()]
        elif value is None:
            version = sample.missing.get(f"{show}.{field.name}")
            lines.append((field.name, Cell(needs(version) if version else "NULL", Tone.DIM)))
        else:
            lines.append((field.name, Cell(str(value))))
    return tuple(lines)


def as_text(sections: Sequence[Section]) -> str:
    """Write sections as plain text, for copying."""
    return "\n".join(_lines(sections))


def _lines(sections: Sequence[Section]) -> Iterable[str]:
    for section in sections:
        yield section.title
        width = max((len(label) for label, _ in section.lines), default=0)
        for label, cell in section.lines:
            yield f"  {label:<{width}}  {cell.text}"
