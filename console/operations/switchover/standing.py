"""How a target stands before a switchover, and the steps in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from console.config.schema import PostgresNode
from console.model.switching import NodeState
from console.operations.observe import Observation
from console.operations.pause import pause_standing
from console.operations.spec import Ask, Standing
from console.operations.switchover.by_patroni import Patronis
from console.operations.switchover.commands import place_of
from console.operations.switchover.looking import Pair, SwitchLook
from console.operations.switchover.parameters import SwitchoverParameters

FENCE_SQL = "ALTER SYSTEM SET default_transaction_read_only = on, and a reload"
UNFENCE_SQL = "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf();"


def switchover_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is sent to a bouncer when all goes well; the RESUME is of its rescue."""
    return (ask.dialect.pause(ask.target.database), ask.dialect.reload())


def switchover_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a switchover."""
    found: SwitchLook = ask.found
    standing = pause_standing(replace(ask, found=found.door))
    blocked = standing.blocked or why_not(found.pair, ask.parameters) or found.problem
    if blocked is None and standing.already:
        blocked = "somebody else paused it: resume it first"
    if blocked is None and found.probe_database is None and not ask.parameters.no_probe:
        blocked = (
            "the inventory names no probe_user for it, so whether its clients reach the new primary could "
            "not be tried; --no-probe goes without"
        )
    warnings = (*standing.warnings, *found.warnings, *_warnings(ask, found))
    notes = (*_steps(ask.parameters, found), *found.lines)
    return replace(standing, already=False, blocked=blocked, warnings=warnings, notes=notes)


def why_not(pair: Pair, parameters: SwitchoverParameters) -> str | None:
    """Say why the nodes are not fit for it; None: they are."""
    left, follower = parameters.nodes
    old, new = pair.old, pair.new
    if isinstance(new, str):
        return f"{follower.name} cannot be read: {new}"
    if isinstance(old, str):
        # A primary that is gone is a failover, unless an earlier run has promoted already.
        return None if pair.promoted else f"{left.name} cannot be read: {old}; this is for planned moves"
    if old.system_id is not None and new.system_id is not None and old.system_id != new.system_id:
        return f"{follower.name} is no replica of {left.name}: they are two different clusters"
    if pair.promoted:
        if old.in_recovery:
            return None
        return None if old.read_only else f"{left.name} and {follower.name} both take writes"
    if old.in_recovery:
        return f"{left.name} is a replica itself"
    if not new.streams:
        return f"{follower.name} does not stream: its WAL receiver does not run"
    if isinstance(pair.patroni, str):
        return f"Patroni cannot be asked: {pair.patroni}"
    if pair.patroni is not None:
        return pair.patroni.why_not(parameters)
    return _not_allowed(old, new, parameters)


def _not_allowed(old: NodeState, new: NodeState, parameters: SwitchoverParameters) -> str | None:
    if parameters.fence == "read-only" and not old.may_fence and not old.read_only:
        return (
            f"{old.role} may not fence {old.name}: give the node an admin_user in the inventory, a superuser "
            "or one with GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only (15 and later) and "
            "GRANT EXECUTE ON FUNCTION pg_reload_conf()"
        )
    if not parameters.promote_command and not new.may_promote:
        return (
            f"{new.role} may not promote {new.name}: GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer)"
        )
    for command, node in (
        (parameters.promote_command, parameters.nodes[1]),
        (parameters.stop_command, parameters.nodes[0]),
    ):
        if command and place_of(node) is None:
            return f"the inventory names no host for {node.name}, so no command can be run there"
    return None


def _steps(parameters: SwitchoverParameters, found: SwitchLook) -> Iterator[str]:
    left, follower = parameters.nodes
    if found.pair.promoted:
        yield f"{follower.name} is a primary already: only the bouncers are moved"
    else:
        limit = f"within {parameters.catch_up_s:g} s"
        yield f"1. once all are held, {follower.name} replays all of {left.name} {limit}"
        yield f"2. {_fence_words(parameters, left)}"
        yield f"3. {_promote_words(parameters, found.pair)}; UNTIL HERE all is undone if anything fails"
        yield "   after it there is no way back: what is left is finished whatever fails"
    yield f"4. {_retarget_words(parameters, found)}, RELOAD, read back"
    probe = (
        "not tried (--no-probe)"
        if parameters.no_probe or found.probe_database is None
        else (f"as {found.bouncer.probe_user} on {found.probe_database}, answered by {follower.name}")
    )
    yield f"5. RESUME; a client's login through it: {probe}"


def _fence_words(parameters: SwitchoverParameters, left: PostgresNode) -> str:
    match parameters.fence:
        case "read-only":
            return f"{left.name} is fenced: {FENCE_SQL}; undone if {parameters.to} is not promoted"
        case "stop":
            return f"{left.name} is stopped {place_of(left)}: {parameters.stop_command}; NOT undone"
        case "patroni":
            return f"{left.name} is stopped by Patroni before it promotes, and then made a replica"
        case _:
            return f"{left.name} is NOT fenced: whoever writes there without a bouncer loses those writes"


def _promote_words(parameters: SwitchoverParameters, pair: Pair) -> str:
    left, follower = parameters.nodes
    if isinstance(pair.patroni, Patronis) and None not in (pair.patroni.old.name, pair.patroni.new.name):
        leader, candidate = pair.patroni.names
        return f"Patroni switches over: POST {left.patroni}/switchover, {leader} to {candidate}"
    if parameters.promote_command:
        return f"{follower.name} is promoted {place_of(follower)}: {parameters.promote_command}"
    return f"{follower.name} is promoted: SELECT pg_promote(false)"


def _retarget_words(parameters: SwitchoverParameters, found: SwitchLook) -> str:
    host, port = parameters.new
    match parameters.retarget:
        case "config":
            return f"its databases lead to {host}:{port} ({', '.join(found.changed) or 'they do already'})"
        case "command":
            return f"its databases are moved by a command: {parameters.retarget_command}"
        case _:
            return "where its databases lead is left as it is (a name or a service moves)"


def _warnings(ask: Ask[Observation], found: SwitchLook) -> Iterator[str]:
    parameters: SwitchoverParameters = ask.parameters
    if parameters.fence == "none" and not found.pair.promoted:
        yield (
            f"{parameters.nodes[0].name} is not fenced: two servers would take writes, and only what comes "
            "through the bouncers named here is kept out of it"
        )
    if parameters.retarget != "config":
        ttl_s = ask.seen.seconds("dns_max_ttl")
        if ttl_s:
            yield f"it remembers a name's address for up to {ttl_s:g} s (dns_max_ttl)"
