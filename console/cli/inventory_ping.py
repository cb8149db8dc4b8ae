"""`pooldeck inventory ping`: tries each hop to each node and says which one fails, in which phase, and why.

Imported only when the command runs. It logs in and reads; it sends nothing that changes a node.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from console.cli.context import Globals, Stack, open_stack
from console.config.schema import Bouncer, PostgresNode
from console.config.selector import Selectable, parse_selector
from console.errors import NodeError, Phase, PooldeckError
from console.postgres.connect import PostgresConnector
from console.transport.ssh import HopProbe, SshTransport

_Node = Bouncer | PostgresNode


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing that was tried on the way to a node."""

    hop: str
    """`ssh NAME`, `console as USER` or `login as USER`."""
    address: str
    ok: bool | None
    """None: not tried, because a hop before it failed or the inventory does not ask for it."""
    elapsed_ms: float | None
    """None: not tried."""
    phase: str | None = None
    """The phase that failed; None when none did."""
    error: str | None = None
    hint: str | None = None
    detail: str | None = None
    """What answered, or why the hop was not tried."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All hops to one node, in the order they are passed."""

    name: str
    kind: str
    """`bouncer` or `postgres`."""
    hops: tuple[Hop, ...]

    @property
    def ok(self) -> bool:
        """True when no hop failed."""
        return all(hop.ok is not False for hop in self.hops)


async def ping_fleet(options: Globals, selector: str, *, as_json: bool) -> bool:
    """Try all chosen nodes at once, print what was found, and return whether every one answers.

    Raises:
        UsageError: no inventory, mistakes in it, or a selector that chooses nothing.
    """
    async with open_stack(options) as stack:
        nodes: list[Selectable] = [*stack.inventory.bouncers, *stack.inventory.postgres]
        names = {part.name for part in parse_selector(selector).select(nodes)}
        everything: list[_Node] = [*stack.inventory.bouncers, *stack.inventory.postgres]
        reports = await _Pinger(stack).ping([node for node in everything if node.name in names])
        inventory = stack.inventory
    ok = all(report.ok for report in reports)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "fleet": inventory.fleet,
                    "environment": inventory.environment,
                    "ok": ok,
                    "nodes": [_document(report) for report in reports],
                },
                indent=2,
                ensure_ascii=False,
            )
        )
    else:
        typer.echo(table(reports))
    return ok


class _Pinger:
    """One run of the command."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._postgres = PostgresConnector(stack.inventory, stack.transport, stack.credentials)
        self._hosts: dict[str, asyncio.Task[tuple[Hop, ...]]] = {}

    async def ping(self, nodes: Sequence[_Node]) -> list[NodeReport]:
        progress = _Progress([node.name for node in nodes])
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                if node.host is not None and node.host not in self._hosts:
                    # One probe for a host, however many nodes are behind it.
                    probe = self._probe(node.host, self._limit_s(node))
                    self._hosts[node.host] = group.create_task(probe)
            tasks = [group.create_task(self._node(node, progress)) for node in nodes]
        progress.clear()
        return [task.result() for task in tasks]

    async def _node(self, node: _Node, progress: _Progress) -> NodeReport:
        hops = list(await self._hosts[node.host]) if node.host is not None else []
        reached = all(hop.ok for hop in hops)
        for hop, act in self._logins(node):
            if act is None:
                hops.append(hop)
            elif not reached:
                hops.append(Hop(hop.hop, hop.address, None, None, detail="a hop before it failed"))
            else:
                hops.append(await _tried(hop, act))
        progress.done(node.name)
        return NodeReport(node.name, "bouncer" if isinstance(node, Bouncer) else "postgres", tuple(hops))

    def _logins(self, node: _Node) -> list[tuple[Hop, Callable[[], Awaitable[str]] | None]]:
        """Return the logins to try on a node; None in place of one the inventory does not ask for."""
        address = f"{node.host} -> {node.address}" if node.host else node.address
        if isinstance(node, PostgresNode):
            user = f"login as {node.user}" if node.user else "login"
            return [(Hop(user, address, None, None), lambda: self._postgres_login(node))]
        monitor = Hop(f"console as {node.monitor_user}", address, None, None)
        admin = Hop(f"console as {node.admin_user}", address, None, None)
        if node.admin_user is None:
            nobody = "no admin_user in the inventory: operations are refused"
            return [
                (monitor, lambda: self._console(node, as_admin=False)),
                (Hop("console as admin", address, None, None, detail=nobody), None),
            ]
        if node.admin_user == node.monitor_user:
            return [(monitor, lambda: self._console(node, as_admin=True))]
        return [
            (monitor, lambda: self._console(node, as_admin=False)),
            (admin, lambda: self._console(node, as_admin=True)),
        ]

    async def _probe(self, host: str, limit_s: float) -> tuple[Hop, ...]:
        transport = self._stack.transport
        assert isinstance(transport, SshTransport), "the inventory has a host, this one"
        try:
            probes = await transport.probe_hops(host, timeout_s=limit_s)
        except PooldeckError as error:
            return (_failed(Hop(f"ssh {host}", host, False, None), error, Phase.SSH),)
        return tuple(_ssh_hop(probe) for probe in probes)

    async def _console(self, bouncer: Bouncer, *, as_admin: bool) -> str:
        """Log in to the admin console and ask it something; return what it says it is."""
        limit_s = bouncer.query_timeout_s or self._stack.inventory.defaults.query_timeout_s
        reader = await self._stack.connector.reader(bouncer.name, as_admin=as_admin)
        try:
            if as_admin:
                config = await reader.show("CONFIG", timeout_s=limit_s)
                key, value = config.names.index("key"), config.names.index("value")
                _check_admin(bouncer, {row[key]: row[value] for row in config.rows})
            else:
                await reader.show("LISTS", timeout_s=limit_s)
            return reader.version_text
        finally:
            await reader.close()

    async def _postgres_login(self, node: PostgresNode) -> str:
        limit_s = node.query_timeout_s or self._stack.inventory.defaults.query_timeout_s
        reader = await self._postgres.reader(node.name)
        try:
            reading = await reader.read(timeout_s=limit_s)
        finally:
            await reader.close()
        role = "replica" if reading.in_recovery else "primary"
        differs = "" if role == node.role else f"; the inventory says {node.role}"
        version = f"{reading.version.major}.{reading.version.minor}"
        return f"PostgreSQL {version}, {role}{differs}"

    def _limit_s(self, node: _Node) -> float:
        return node.connect_timeout_s or self._stack.inventory.defaults.connect_timeout_s


async def _tried(hop: Hop, act: Callable[[], Awaitable[str]]) -> Hop:
    start_s = time.monotonic()
    try:
        detail = await act()
    except PooldeckError as error:
        elapsed_ms = _ms(time.monotonic() - start_s)
        return _failed(Hop(hop.hop, hop.address, False, elapsed_ms), error, Phase.PROTOCOL)
    return Hop(hop.hop, hop.address, True, _ms(time.monotonic() - start_s), detail=detail)


def _check_admin(bouncer: Bouncer, config: dict[str | None, str | None]) -> None:
    """A role of stats_users alone logs in as well, and is refused at the first operation."""
    admins = (config.get("admin_users") or "").replace(",", " ").split()
    # PgBouncer lets the user `pgbouncer` of its own OS account in as admin without a list.
    if bouncer.admin_user not in (*admins, "pgbouncer"):
        raise NodeError(
            Phase.AUTH,
            f"{bouncer.admin_user} may log in but is no admin here: operations would be refused",
            where=bouncer.name,
            hint=f"list {bouncer.admin_user} in admin_users of the pooler, then RELOAD it",
        )


def _ssh_hop(probe: HopProbe) -> Hop:
    elapsed_ms = None if probe.elapsed_s is None else _ms(probe.elapsed_s)
    hop = Hop(f"ssh {probe.name}", probe.address, probe.ok, elapsed_ms)
    if probe.error is not None:
        return _failed(hop, probe.error, Phase.SSH)
    return hop


def _failed(hop: Hop, error: PooldeckError, otherwise: Phase) -> Hop:
    phase = error.phase if isinstance(error, NodeError) else otherwise
    return Hop(hop.hop, hop.address, False, hop.elapsed_ms, str(phase), error.message, error.hint)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _document(report: NodeReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "kind": report.kind,
        "ok": report.ok,
        "hops": [asdict(hop) for hop in report.hops],
    }


def table(reports: Sequence[NodeReport]) -> str:
    """Return the report for people: a line for each hop, the error and what to do below one that failed."""
    rows = [("NODE", "HOP", "ADDRESS", "RESULT", "TIME", "")]
    below: dict[int, list[str]] = {}
    for report in reports:
        for place, hop in enumerate(report.hops):
            rows.append(
                (
                    report.name if place == 0 else "",
                    hop.hop,
                    hop.address,
                    _result(hop),
                    "" if hop.elapsed_ms is None else f"{hop.elapsed_ms:.0f} ms",
                    hop.detail or "",
                )
            )
            if hop.error is not None:
                hint = [f"next: {hop.hint}"] if hop.hint else []
                below[len(rows) - 1] = [hop.error, *hint]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for place, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=False)]
        lines.append("  ".join((*cells, row[4].rjust(widths[4]), row[5])).rstrip())
        lines.extend(f"{'':{widths[0]}}    {text}" for text in below.get(place, ()))
    failed = [report.name for report in reports if not report.ok]
    answer = len(reports) - len(failed)
    told = f"; not {', '.join(failed)}" if failed else ""
    lines += ["", f"{answer} of {len(reports)} node{'' if len(reports) == 1 else 's'} answer{told}"]
    return "\n".join(lines)


def _result(hop: Hop) -> str:
    if hop.ok is None:
        return "not tried"
    return "ok" if hop.ok else f"FAILED: {hop.phase}"


class _Progress:
    """A line on a terminal's standard error that says who has not answered yet; nothing anywhere else."""

    def __init__(self, names: Sequence[str]) -> None:
        self._waiting = list(dict.fromkeys(names))
        self._total = len(names)
        self._is_terminal = sys.stderr.isatty()
        self._show()

    def done(self, name: str) -> None:
        """Take a node off the line."""
        if name in self._waiting:
            self._waiting.remove(name)
        self._show()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _show(self) -> None:
        if not self._is_terminal:
            return
        named = ", ".join(self._waiting[:4]) + (" …" if len(self._waiting) > 4 else "")
        sys.stderr.write(f"\r\x1b[K{self._total - len(self._waiting)} of {self._total}; waiting for {named}")
        sys.stderr.flush()
