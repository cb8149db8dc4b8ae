"""How one pooler stands before a half of a rotation with two roles, and what is done to it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from console.guard.verdict import Tier
from console.model.derive import ADMIN_DATABASE
from console.model.rows import Client
from console.operations.observe import Observation
from console.operations.rotate.layout import Check, Place
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.standing import at_pooler, kills_on_user, reload_before, role_present
from console.operations.rotate.two_roles import Half, half_of
from console.operations.rotate.two_roles_look import TwoRolesLook
from console.operations.spec import Ask, Standing
from console.operations.step import plural

_SHOWN = 6
_GO_ON = "clients go on, connected ones and new ones"
_EFFECTS = {
    "transaction": f"{_GO_ON}; where user= changes, a server is replaced at the end of a transaction",
    "statement": f"{_GO_ON}; where user= changes, a server is replaced at the end of a statement",
    "session": f"{_GO_ON}; where user= changes, each keeps its server until it disconnects",
}


def tried(ask: Ask[Observation]) -> tuple[Place, ...]:
    """Return where logins of both roles are tried: one place a database, disabled ones left out."""
    found: TwoRolesLook = ask.found
    disabled = {row.name for row in ask.seen.databases if row.disabled}
    by_database = {place.database: place for place in (*found.new_places, *found.places)}
    return tuple(
        place for place in by_database.values() if place.client_may_log_in and place.database not in disabled
    )


def is_known(ask: Ask[Observation]) -> bool:
    """Say whether either role matters on a pooler."""
    found: TwoRolesLook = ask.found
    if half_of(ask.parameters) is Half.FIRST:
        return bool(found.places)
    return bool(found.places or found.new_places)


def two_roles_standing(ask: Ask[Observation]) -> Standing:
    """Return how a pooler stands before a second role is let in, or a role is taken out."""
    found: TwoRolesLook = ask.found
    asked: RotateParameters = ask.parameters
    if found.why_not is not None:
        return Standing("not read", blocked=found.why_not)
    if not is_known(ask):
        return Standing(f"{asked.role} is not known here", already=True)
    reload = reload_before(ask)
    blocked = next(_blocked(ask), None) or reload.blocked
    return Standing(
        _present(ask),
        blocked=blocked,
        warnings=(*_warnings(ask), *reload.warnings, *reload.notes),
        notes=(*found.lines, *(place.text for place in found.places)),
        clients=0,
        tier=Tier.HARMLESS,
        effects=_EFFECTS,
    )


def _present(ask: Ask[Observation]) -> str:
    here = at_pooler(ask)
    found: TwoRolesLook = ask.found
    both = ((ask.parameters.role, found.places), (ask.parameters.to, found.new_places))
    return "; ".join(role_present(role, replace(here, places=places)) for role, places in both if places)


def _blocked(ask: Ask[Observation]) -> Iterator[str]:
    found: TwoRolesLook = ask.found
    half = half_of(ask.parameters)
    if ask.seen.state.paused or ask.seen.state.suspended:
        yield "it is paused, so no login through it would be served"
    if ask.seen.paused_databases:
        names = ", ".join(ask.seen.paused_databases)
        yield f"paused on their own: {names}; a login through them would not be served"
    if found.refused is not None:
        yield found.refused
    for path in found.paths:
        obstacle = found.config.good.obstacles.get(path)
        if obstacle is not None:
            yield f"{path} cannot be replaced: {obstacle}"
    if half.lets_in:
        yield from _cannot_let_in(ask)
    elif half is Half.FINISH:
        yield from _cannot_finish(ask)
    else:
        yield from _cannot_undo(ask)


def _cannot_let_in(ask: Ask[Observation]) -> Iterator[str]:
    found: TwoRolesLook = ask.found
    asked: RotateParameters = ask.parameters
    for place in found.places:
        if place.problem is not None:
            yield f"{place.database}: {place.problem}"
    if found.hba_names_it:
        yield f"rules of its auth_hba_file are for {asked.role} by name: give {asked.to} the same first"
    yield from _kills(ask, asked.role)


def _kills(ask: Ask[Observation], role: str) -> Iterator[str]:
    """Yield why `user=` cannot be changed from a role to the other while clients are connected (fact 11)."""
    seen = ask.seen
    if not kills_on_user((seen.version.major, seen.version.minor, seen.version.patch)):
        return
    forced = {row.name for row in seen.databases if row.force_user == role}
    if sum(pool.cl_active + pool.cl_waiting for pool in seen.pools if pool.database in forced):
        yield (
            f"{seen.version} kills every connected client of a database whose user= changes (invalid "
            "server parameter): rotate the same role behind a pause, or make a new database line"
        )


def _cannot_finish(ask: Ask[Observation]) -> Iterator[str]:
    found: TwoRolesLook = ask.found
    asked: RotateParameters = ask.parameters
    bouncer = found.bouncer
    own = {bouncer.probe_user: "probe_user", bouncer.admin_user: "admin_user"}
    own[bouncer.monitor_user] = "monitor_user"
    if asked.role in own:
        yield (
            f"{asked.role} is the inventory's {own[asked.role]} of it: put {asked.to} there first, or nobody "
            "could act on it any more"
        )
    if found.forces:
        yield f"its files still name {asked.role} ({', '.join(found.forces)}): --undo, then begin again"
    if found.known is not None and found.known.entry is not None and not found.new_listed:
        yield f"{asked.to} has no entry in its auth_file, and {asked.role} has: --undo, then begin again"
    yield from _still_there(found.clients, asked.role)


def _cannot_undo(ask: Ask[Observation]) -> Iterator[str]:
    found: TwoRolesLook = ask.found
    asked: RotateParameters = ask.parameters
    yield from _still_there(found.clients, asked.to)
    yield from _kills(ask, asked.to)


def _still_there(clients: Iterable[Client], role: str) -> Iterator[str]:
    text = who_uses(clients, role)
    if text is not None:
        yield f"{text}; move them first"


def who_uses(clients: Iterable[Client], role: str) -> str | None:
    """Return who is logged in as a role, by application and address; None: nobody."""
    counts = Counter(
        (one.application_name or "no application_name", one.addr or "unix", one.database)
        for one in clients
        if one.user == role
    )
    if not counts:
        return None
    listed = [
        f"{application} from {addr} on {'its console' if database == ADMIN_DATABASE else database} ({count})"
        for (application, addr, database), count in counts.most_common(_SHOWN)
    ]
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    return f"{plural(counts.total(), 'client')} of {role}: {', '.join(listed)}{more}"


def _warnings(ask: Ask[Observation]) -> Iterator[str]:
    found: TwoRolesLook = ask.found
    asked: RotateParameters = ask.parameters
    half = half_of(asked)
    forced = [
        place.database for place in found.places if not place.client_may_log_in and not place.is_console
    ]
    if half.lets_in and forced and found.bouncer.probe_user is None:
        yield (
            f"without a probe_user nobody can be let in on {', '.join(forced)} as a test: that {asked.to} "
            "serves there is seen from server connections only, once there are some"
        )
    if half is Half.FINISH and not asked.old_from:
        yield f"without --old-from no login as {asked.role} is tried, to see that it is refused"
    queried = any(place.check is Check.QUERY for place in found.places)
    if half is Half.FINISH and queried:
        yield f"auth_query must not give the secret of a role without LOGIN, or {asked.role} gets in here"


def two_roles_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is done to a pooler, in order."""
    found: TwoRolesLook = ask.found
    half = half_of(ask.parameters)
    reload = ask.dialect.reload()
    if half is Half.UNDO:
        return ("write the files as they were, as far as they name the second role", reload)
    lines = [f"write {path}" for path in found.paths]
    if half is Half.FINISH and lines:
        # Scrambled first, then taken out.
        return (*lines, reload, *lines, reload)
    if lines:
        lines.append(reload)
    names = [place.database for place in tried(ask)]
    if half.lets_in and names:
        lines.append(f"log in as {ask.parameters.to}: {', '.join(names)}")
    return tuple(lines)


def two_roles_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is done besides when it does not go well."""
    found: TwoRolesLook = ask.found
    if not found.paths:
        return ()
    return (*(f"write {path} as it was" for path in found.paths), ask.dialect.reload())
