"""How a pooler that lets nobody in stands before a START: what is in the way, and what is run. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator

from console.operations.process.supervision import Kind
from console.operations.restart.methods import version_fits
from console.operations.spec import Ask, Standing
from console.operations.start.look import Down
from console.operations.start.parameters import StartParameters
from console.operations.step import plural


def down_facts(ask: Ask[Down]) -> dict[str, str]:
    """Return what a permit is bound to."""
    return ask.seen.facts


def down_statements(ask: Ask[Down]) -> tuple[str, ...]:
    """Return the command that is run on its host."""
    found = ask.seen.process
    assert found.supervision is not None, "refused before"
    return (f"on {found.where}: {shlex.join(found.supervision.start())}",)


def down_standing(ask: Ask[Down]) -> Standing:
    """Return how it stands before it is started."""
    seen = ask.seen
    return Standing(
        _present(seen),
        evidence=tuple(_evidence(seen)),
        blocked=_in_the_way(seen) or _blocked(ask),
        warnings=tuple(_warnings(seen)),
        notes=tuple(_notes(seen)),
        clients=0,
    )


def _present(seen: Down) -> str:
    if seen.living is not None:
        return f"process {seen.living.pid} runs and lets nobody in"
    return "not running" if seen.process.host is not None else "it lets nobody in"


def _evidence(seen: Down) -> Iterator[str]:
    yield f"no login: {seen.silence}"
    if seen.process.why is not None:
        yield f"no process: {seen.process.why}"
    if seen.listening is not None:
        who = plural(seen.listening.sockets, "socket") if seen.listens else "nobody"
        yield f"listening on {seen.address} on {seen.process.where}: {who}"
    state = seen.process.unit.get("ActiveState")
    if state:
        yield f"its unit is {state} ({seen.process.unit.get('SubState', 'not known')})"


def _in_the_way(seen: Down) -> str | None:
    """Say that a process, its own or another one, is in the way; None: none is seen."""
    name, where = seen.bouncer.name, seen.process.where
    if seen.living is not None and seen.listening is not None and not seen.listens:
        return (
            f"its process {seen.living.pid} on {where} has not ended and takes no connection any more: it "
            f"shuts down; start it once it has ended (pooldeck process {name})"
        )
    if seen.living is not None:
        return (
            f"its process {seen.living.pid} on {where} runs and lets nobody in: look at it first (pooldeck "
            f"process {name}; if it is suspended, pooldeck resume {name})"
        )
    if not seen.listens or seen.listening is None:
        return None
    pids = ", ".join(str(one.process.pid) for one in seen.listening.found)
    return f"{f'process {pids}' if pids else 'somebody else'} listens on {seen.address} on {where} already"


def _blocked(ask: Ask[Down]) -> str | None:
    seen, found = ask.seen, ask.seen.process
    parameters: StartParameters = ask.parameters
    if found.cannot_start is not None:
        return found.cannot_start
    assert found.supervision is not None, "told by cannot_start"
    if found.supervision.kind is Kind.SWARM:
        name = found.supervision.name
        return (
            f"Swarm starts the tasks of a service itself: docker service ps {name} tells why it does not; of "
            f"one that has none: docker service scale {name}=1"
        )
    settings = seen.files.settings
    if found.starts_as_root and settings is not None and not settings.get("user"):
        return (
            f"its start command would run as root on {found.where}, which PgBouncer refuses: begin it with "
            "setpriv --reuid=USER --clear-groups, or set user in its file"
        )
    then, wanted = found.program_version, parameters.expect_version
    if wanted and then is not None and not version_fits(then, wanted):
        return f"the start takes {then} ({found.program}), not {wanted}"
    lint = seen.files.lint
    if lint is not None and lint.errors:
        return f"it would not start: {plural(len(lint.errors), 'error')} in its files: {lint.errors[0]}"
    return None


def _warnings(seen: Down) -> Iterator[str]:
    lint = seen.files.lint
    if lint is None:
        yield f"its files are not checked beforehand: {seen.files.unread}"
    elif lint.unread:
        yield f"not all of its files could be checked: {lint.unread[0]}"
    for one in seen.process.earlier:
        yield f"of a restart: {one.words}"


def _notes(seen: Down) -> Iterator[str]:
    found, files = seen.process, seen.files
    if found.supervision is not None:
        yield f"supervised by: {found.supervision.words}"
    if found.program_version is not None:
        yield f"version: {found.program_version} ({found.program})"
    if files.texts is not None and files.lint is not None and not files.lint.errors:
        names = ", ".join(posixpath.basename(path) for path in files.texts.files)
        yield f"checked for it: {files.texts.root} ({names})"
    yield "who shut it down, and why, may be in the audit log: pooldeck audit log"
