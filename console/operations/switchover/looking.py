"""The look of a switchover: both nodes, and what each bouncer's files would be. It only reads.

Nodes are read once for all bouncers that are looked at together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from console.config.pgbouncer_edit import apply_changes, changed_paths, in_force
from console.config.pgbouncer_ini import Entry, IniError
from console.config.pgbouncer_keys import Change, EditError, Key
from console.config.pgbouncer_lint_files import Lint, lint
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import ConfigTexts, scan
from console.config.schema import Bouncer
from console.errors import AdminError, NodeError
from console.model.switching import NodeState
from console.operations.closing import Door, look_at_door
from console.operations.reach import Reach
from console.operations.reload_check import expected_reload
from console.operations.reload_files import ConfigLook, file_facts, look_at_files
from console.operations.spec import Look
from console.operations.step import plural, why
from console.operations.switchover.by_patroni import Patronis, read_patronis
from console.operations.switchover.choosing import DEFAULT_PORT, leads_to
from console.operations.switchover.parameters import Address, SwitchoverParameters

_EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Pair:
    """Both nodes; one that did not answer is the reason why."""

    old: NodeState | str
    new: NodeState | str
    patroni: Patronis | str | None = None
    """None: it has no part in it."""

    @property
    def promoted(self) -> bool:
        """Whether the replica is a primary already: an earlier run came so far."""
        return isinstance(self.new, NodeState) and not self.new.in_recovery

    @property
    def facts(self) -> Mapping[str, str]:
        """What does not move by itself."""
        facts = {"node left": _fact(self.old), "node to take over": _fact(self.new)}
        if self.patroni is None:
            return facts
        return facts | {"Patroni": self.patroni if isinstance(self.patroni, str) else self.patroni.fact}


@dataclass(frozen=True, slots=True)
class SwitchLook:
    """What was found for one target. Implements `console.operations.spec.Found`."""

    pair: Pair
    bouncer: Bouncer
    probe_database: str | None
    """Where a client's login is tried; None: there is no `probe_user`."""
    config: ConfigLook | None = None
    """None: its files are not changed by us."""
    texts: ConfigTexts | None = None
    """As they are to be."""
    lint: Lint | None = None
    """Of `texts`."""
    changed: tuple[str, ...] = ()
    """Paths of the files that change."""
    lines: tuple[str, ...] = ()
    """What changes, for people."""
    problem: str | None = None
    """Why it cannot be done."""
    warnings: tuple[str, ...] = field(default=())
    door: Door = field(default_factory=Door)

    @property
    def facts(self) -> Mapping[str, str]:
        """The nodes, and the hashes of the files; no secrets."""
        texts = self.config.texts if self.config is not None else None
        return {**self.pair.facts, **self.door.facts, **({} if texts is None else file_facts(texts.files))}


async def read_pair(reach: Reach, parameters: SwitchoverParameters, *, timeout_s: float) -> Pair:
    """Read both nodes now."""
    nodes = reach.switching

    async def one(name: str) -> NodeState | str:
        if nodes is None:
            return "no Postgres node can be asked from here"
        try:
            return await nodes.state(name, timeout_s=timeout_s)
        except (NodeError, AdminError) as error:
            return why(error)

    (old, new), patroni = await asyncio.gather(
        asyncio.gather(*(one(node.name) for node in parameters.nodes)),
        read_patronis(reach, parameters, timeout_s=timeout_s),
    )
    return Pair(old, new, patroni)


async def look_for_switchover(look: Look) -> SwitchLook:
    """Look at the nodes and at the files of one bouncer."""
    bouncer, parameters = look.node, look.parameters
    assert isinstance(bouncer, Bouncer), "bouncers are held"
    assert isinstance(parameters, SwitchoverParameters), "of this verb"
    pair = await parameters.together(lambda: read_pair(look.reach, parameters, timeout_s=look.timeout_s))
    found = SwitchLook(pair, bouncer, _probe_database(look, bouncer), door=await look_at_door(look))
    if parameters.retarget != "config":
        return found
    config = await look_at_files(look)
    return await asyncio.to_thread(_with_files, found, look, config)


async def find_by_files(look: Look) -> tuple[str | None, ...] | str:
    """Find what leads there and is in no table: a line `*` that nobody has used since the start.

    Its bouncer is held as a whole. Only where files say where databases lead and are to be changed.
    """
    if look.parameters.retarget == "none":
        return ()
    config = await look_at_files(look)
    if config.texts is None:
        return f"whether a line * of it leads there is not known: {config.unread}"
    try:
        leading = dict(_leading(config.texts, look.parameters.old))
    except (EditError, IniError) as error:
        return f"whether a line * of it leads there is not known: {error.message}"
    return (None,) if _EVERYTHING in leading else ()


def _probe_database(look: Look, bouncer: Bouncer) -> str | None:
    if bouncer.probe_user is None:
        return None
    old = look.parameters.old
    leading = [one.name for one in look.observation.databases if leads_to(one, old)]
    wanted = bouncer.probe_database
    return wanted if wanted in leading or not leading else leading[0]


# -- the files --------------------------------------------------------------------------------------


def _with_files(found: SwitchLook, look: Look, config: ConfigLook) -> SwitchLook:
    def but(problem: str) -> SwitchLook:
        return replace(found, config=config, problem=problem)

    if config.texts is None or config.lint is None or config.host is None:
        return but(f"its files cannot be changed: {config.unread}; see --retarget")
    if config.lint.errors or config.lint.unread:
        wrong = (*config.lint.errors, *config.lint.unread)
        return but(f"its files are not fit for a RELOAD: {wrong[0]}")
    parameters, seen = look.parameters, look.observation
    try:
        leading = dict(_leading(config.texts, parameters.old))
        moved = dict(_leading(config.texts, frozenset({parameters.new})))
        texts = apply_changes(config.texts, _changes(leading, parameters.new), _sticky(look))
    except (EditError, IniError) as error:
        return but(error.message)
    missing = [
        one.name
        for one in seen.databases
        if leads_to(one, parameters.old)
        and not {one.name, _EVERYTHING} & leading.keys()
        and one.name not in moved  # an earlier run wrote it and came no further
    ]
    if missing:
        return but(
            f"it runs with {', '.join(missing)} leading there, its files do not say so: reload it first"
        )
    if look.target.database is not None and _EVERYTHING in leading:
        return but("its line * leads there too, and cannot be held apart from databases that lead elsewhere")
    elsewhere = [one.name for one in seen.databases if not leads_to(one, parameters.old)]
    if look.target.database is None and _EVERYTHING in leading and elsewhere and not found.pair.promoted:
        return but(
            f"its line * leads there and {', '.join(elsewhere)} elsewhere, and neither can be held without "
            "the other; --bouncers leaves it out"
        )
    judged = lint(
        texts,
        seen.config,
        seen.version,
        admin_user=found.bouncer.admin_user,
        monitor_user=found.bouncer.monitor_user,
    )
    if judged.errors:
        return but(f"changed as wanted, its files would have an error: {judged.errors[0]}")
    would = expected_reload(seen, judged.expected, peers=config.peers)
    if would.doomed_clients:
        return but(
            f"the RELOAD would cut {plural(would.doomed_clients, 'client')}: its files changed otherwise too"
        )
    changed = changed_paths(config.texts, texts)
    return replace(
        found,
        config=config,
        texts=texts,
        lint=judged,
        changed=changed,
        lines=tuple(would.changes),
        problem=_not_writable(config, changed),
        warnings=would.warnings,
    )


def _not_writable(config: ConfigLook, changed: tuple[str, ...]) -> str | None:
    for path in changed:
        if path in config.good.obstacles:
            return f"{path} cannot be replaced: {config.good.obstacles[path]}"
    return None


def _sticky(look: Look) -> tuple[str, ...]:
    return tuple(key for key, one in look.observation.config.items() if one.default is None)


def _leading(texts: ConfigTexts, known: frozenset[Address]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the lines of `[databases]` that lead to one of some addresses, and their options."""
    for (section, name), entry in in_force(scan(texts)[0]).items():
        if section == "databases":
            options = dict(connection_pairs(entry))
            hosts = options.get("host", "").split(",")
            port = _port(options, entry)
            leads = [(host, port) in known for host in hosts]
            if any(leads) and len(hosts) > 1:
                raise EditError(f"{name} has a list of hosts", where=str(entry.place))
            if any(leads):
                yield name, options


def _port(options: Mapping[str, str], entry: Entry) -> int:
    try:
        return int(options.get("port", DEFAULT_PORT))
    except ValueError:
        raise EditError(f"the port of {entry.key} is no number", where=str(entry.place)) from None


def _changes(leading: Mapping[str, Mapping[str, str]], new: Address) -> Iterator[Change]:
    host, port = new
    for name, options in leading.items():
        if options.get("host") != host:
            yield Change(Key("databases", name, "host"), host)
        if options.get("port", str(DEFAULT_PORT)) != str(port):
            yield Change(Key("databases", name, "port"), str(port))


def _fact(node: NodeState | str) -> str:
    if isinstance(node, str):
        return f"no answer: {node}"
    kind = "replica" if node.in_recovery else "primary"
    return f"{kind}{', read-only' if node.read_only else ''}, up since {node.started}"
