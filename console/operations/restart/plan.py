"""How a pooler stands before a RESTART: method and reason, commands, what clients will see. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from console.guard.verdict import Tier
from console.operations.observe import Observation
from console.operations.process.supervision import Kind, Stop
from console.operations.reload_plan import what_would_change
from console.operations.restart.look import RestartLook
from console.operations.restart.methods import (
    CAN_KILL_CLIENTS,
    PREPARED_BY_DEFAULT,
    REFUSES_LOGINS_UNDER_WAY,
    TAKEOVER_DEPRECATED,
    Method,
    RestartParameters,
    Situation,
    Stragglers,
    version_fits,
)
from console.operations.spec import Ask, Standing, state_words
from console.operations.step import plural

WORDS = {
    Stragglers.WAIT: "wait on",
    Stragglers.KILL_IDLE: "cut those that are idle",
    Stragglers.GIVE_UP: "give up",
}
_CUTS = frozenset({Method.DRAIN, Method.PLAIN})


def restart_commands(ask: Ask[Observation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what stops the process, () where nothing needs to, and what starts it, as words."""
    found: RestartLook = ask.found
    supervision = found.supervision
    if found.choice.method is Method.TAKEOVER:
        return (), supervision.takeover()
    how = Stop.FOR_CLIENTS if found.choice.method is Method.ROLLING else Stop.NOW
    process = found.process.process
    stop = supervision.stop(how, ask.seen.version, process.pid) if process is not None else ()
    return stop, supervision.start()


def restart_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RESTART sends to the console and runs on the host."""
    found: RestartLook = ask.found
    stop, start = restart_commands(ask)
    where, process = found.process.where, found.process.process
    lines = [ask.dialect.pause(None)] if found.choice.method is Method.DRAIN else []
    lines += [f"on {where}: {shlex.join(stop)}"] if stop else []
    after = f", once process {process.pid} has ended" if stop and process is not None else ""
    limit_s, choice = ask.parameters.timeout_s, ask.parameters.stragglers
    if_asked = ", if that is answered then" if choice is Stragglers.ASK else ""
    kills = f"KILL_CLIENT of each client that is idle after {limit_s:g} s{if_asked}"
    late = [kills] if may_kill(ask) else []
    return (*lines, *late, f"on {where}{after}: {shlex.join(start)}")


def may_kill(ask: Ask[Observation]) -> bool:
    """Say whether clients that are idle at the deadline may be cut."""
    found: RestartLook = ask.found
    choice = ask.parameters.stragglers
    can = ask.seen.version >= CAN_KILL_CLIENTS
    wanted = choice is Stragglers.KILL_IDLE or (choice is Stragglers.ASK and can)
    return found.choice.method is Method.ROLLING and wanted


def restart_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what a guardian sends should we die while it is paused; () when nothing is paused."""
    found: RestartLook = ask.found
    return (ask.dialect.resume(None),) if found.choice.method is Method.DRAIN else ()


def restart_standing(ask: Ask[Observation]) -> Standing:
    """Return how a pooler stands before a RESTART."""
    found: RestartLook = ask.found
    method = found.choice.method
    clients = sum(pool.cl_active + pool.cl_waiting for pool in ask.seen.pools)
    cuts = method in _CUTS
    kills = may_kill(ask)
    return Standing(
        state_words(ask.target, ask.seen),
        blocked=_blocked(ask),
        warnings=tuple(_warnings(ask)),
        notes=tuple(_notes(ask, clients)),
        clients=clients if cuts or kills else 0,
        tier=Tier.CUT if cuts or kills else None,
    )


def _blocked(ask: Ask[Observation]) -> str | None:
    found: RestartLook = ask.found
    parameters: RestartParameters = ask.parameters
    reason = found.unable or found.choice.refused
    if reason is not None:
        return reason
    if ask.seen.state.suspended:
        return "the pooler is suspended: resume it first"
    then = found.process.program_version
    if parameters.expect_version and then is not None and not version_fits(then, parameters.expect_version):
        return f"the next start takes {then} ({found.process.program}), not {parameters.expect_version}"
    lint = found.files.lint
    same = then in (None, ask.seen.version)
    if lint is not None and lint.errors and same:
        errors = plural(len(lint.errors), "error")
        return f"it would not start again as it is: {errors} in its files: {lint.errors[0]}"
    if (
        parameters.stragglers is Stragglers.KILL_IDLE
        and found.choice.method is Method.ROLLING
        and ask.seen.version < CAN_KILL_CLIENTS
    ):
        return f"--stragglers kill-idle needs KILL_CLIENT, which 1.24 brings; this is {ask.seen.version}"
    return None


def _notes(ask: Ask[Observation], clients: int) -> Iterator[str]:
    found: RestartLook = ask.found
    choice, process = found.choice, found.process
    yield f"method: {choice.method} ({choice.because})" if choice.because else f"method: {choice.method}"
    yield f"clients: {_clients_see(ask, clients)}"
    if process.supervision is not None:
        yield f"supervised by: {process.supervision.words}"
    unit = process.unit
    if unit and choice.method is not Method.ROLLING:
        signal, limit = unit.get("KillSignal", "n/a"), unit.get("TimeoutStopUSec", "n/a")
        yield f"the unit stops by signal {signal}, and by SIGKILL after {limit}"
    now, then = ask.seen.version, process.program_version
    if then is not None and then != now:
        yield f"version: {now} → {then} ({process.program})"
    would = what_would_change(_as_reload(ask))
    if would is not None:
        yield from would.changes
        yield from (f"{line}, undoing a SET" for line in would.undone)
        yield from would.restart
    if choice.method in (Method.ROLLING, Method.DRAIN, Method.PLAIN):
        yield "once it is begun its host brings it back, whatever becomes of this process or the network"


def choices(ask: Ask[Observation]) -> tuple[Stragglers, ...]:
    """Return what can be answered at the deadline, the most patient first."""
    kill = (Stragglers.KILL_IDLE,) if may_kill(ask) else ()
    return (Stragglers.WAIT, *kill, Stragglers.GIVE_UP)


def _clients_see(ask: Ask[Observation], clients: int) -> str:
    found: RestartLook = ask.found
    method, limit_s = found.choice.method, ask.parameters.timeout_s
    if method is Method.ROLLING:
        answers = ", ".join(WORDS[one] for one in choices(ask))
        left = {
            Stragglers.WAIT: "is waited for on",
            Stragglers.KILL_IDLE: "is cut if it is idle",
            Stragglers.GIVE_UP: "is left alone: the run ends, the shutdown goes on",
            Stragglers.ASK: f"is shown, and you are asked: {answers}",
        }[ask.parameters.stragglers]
        refused = ask.seen.version >= REFUSES_LOGINS_UNDER_WAY
        login = " and is told that the pooler is shutting down" if refused else ""
        return (
            f"{plural(clients, 'client')} go on until they leave by themselves; new ones go to "
            f"{', '.join(found.peers)}; who connects at that instant may have to try again{login}; "
            f"who is still there after {limit_s:g} s {left}"
        )
    if method is Method.TAKEOVER:
        return (
            f"{plural(clients, 'client')} stay connected, their open transactions with them; consoles are cut"
        )
    if method is Method.DRAIN:
        who = plural(clients, "client")
        return (
            f"transactions end within {limit_s:g} s, or nothing is restarted; then {who} are cut between "
            "transactions and have to connect again; waiting ones lose their connection too"
        )
    return (
        f"{plural(clients, 'client')} are cut at once, open transactions with them, and have to connect again"
    )


def _warnings(ask: Ask[Observation]) -> Iterator[str]:
    found: RestartLook = ask.found
    method, at = found.choice.method, found.situation
    lint = found.files.lint
    if lint is None:
        yield f"its files are not checked beforehand: {found.files.unread}"
    elif lint.errors:
        yield f"{ask.seen.version} would not take its files: {lint.errors[0]}"
    elif lint.unread:
        yield f"not all of its files could be checked: {lint.unread[0]}"
    yield from _of_the_method(ask, method, at)
    disabled = [database.name for database in ask.seen.databases if database.disabled]
    if disabled:
        yield f"disabled databases are enabled again by it: {', '.join(disabled)}"
    if found.supervision_is(Kind.SWARM):
        yield "every task of the service is replaced, not only this one"


def _of_the_method(ask: Ask[Observation], method: Method, at: Situation) -> Iterator[str]:
    if method is Method.TAKEOVER and at.version >= TAKEOVER_DEPRECATED:
        yield f"{at.version} calls -R deprecated; 1.26 has none"
    if method is Method.TAKEOVER and at.prepared:
        yield (
            f"{plural(at.prepared, 'client')} with prepared statements fail at their next use of one "
            "(prepared statement did not exist)"
        )
    elif method is Method.TAKEOVER and at.version >= PREPARED_BY_DEFAULT:
        yield "clients that prepare statements meanwhile fail at their next use of one"
    if method is Method.DRAIN and at.session_servers:
        held = plural(at.session_servers, "server connection")
        yield f"{held} of session pools: PAUSE waits until their clients leave"
    weak = [name for name, serves in at.peers.items() if not serves]
    if method is Method.ROLLING and weak:
        yield f"peers that do not serve now: {', '.join(weak)}"
    if method is Method.ROLLING and ask.seen.version < CAN_KILL_CLIENTS:
        yield "an exporter's admin console keeps it from ending; 1.23 cannot cut one"


def _as_reload(ask: Ask[Observation]) -> Ask[Observation]:
    """Return the same, as RELOAD's own functions take it."""
    found: RestartLook = ask.found
    return Ask(ask.target, ask.seen, ask.parameters, ask.dialect, found.files)
