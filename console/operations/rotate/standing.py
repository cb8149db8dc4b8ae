"""How one pooler stands before a rotation, and what is sent to it. Pure; the fleet's side is `survey`'s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from console.config.scram import SecretKind
from console.guard.verdict import Tier
from console.operations.observe import Observation
from console.operations.pause import PauseParameters, pause_standing
from console.operations.reload_plan import ReloadParameters, reload_standing, what_would_change
from console.operations.rotate.layout import STAR, Method, ServerSecret
from console.operations.rotate.look import RotateLook
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.scheme import AtPooler
from console.operations.spec import Ask, Standing
from console.operations.step import plural

KEYS_MENDED = (1, 26, 0)
"""Before it, a client that was checked by a SCRAM secret leaves its keys in the place of a forced user's
password (fact 10c)."""
_POISONED = ((1, 25, 1), (1, 25, 2))
"""A first login that fails after RELOAD leaves these without keys (fact 10a)."""
_KILLS_ON_USER = ((1, 26, 0), (1, 26, 1))
"""A changed `user=` kills connected clients (fact 11)."""


def at_pooler(ask: Ask[Observation]) -> AtPooler:
    """Return the role on the pooler of `ask`."""
    found: RotateLook = ask.found
    version = ask.seen.version
    known = found.known
    has_entry = known is not None and known.entry is not None
    return AtPooler(
        ask.target.bouncer,
        (version.major, version.minor, version.patch),
        found.places,
        known.auth_file if known is not None and has_entry else None,
        found.users,
        found.inline,
    )


def is_poisonable(version: tuple[int, int, int]) -> bool:
    """Say whether a first login that fails after RELOAD costs the keys of SCRAM pass-through."""
    return _POISONED[0] <= version <= _POISONED[1]


def kills_on_user(version: tuple[int, int, int]) -> bool:
    """Say whether a live change of `user=` kills connected clients."""
    return _KILLS_ON_USER[0] <= version <= _KILLS_ON_USER[1]


def rotate_standing(ask: Ask[Observation]) -> Standing:
    """Return how a pooler stands before the role's secret is changed."""
    found: RotateLook = ask.found
    parameters: RotateParameters = ask.parameters
    here = at_pooler(ask)
    if found.why_not is not None:
        return Standing("not read", blocked=found.why_not)
    if not here.places:
        return Standing(f"{parameters.role} is not known here", already=True)
    paused = _pause(ask) if here.pauses else Standing("")
    reload = reload_before(ask) if here.writes_file else Standing("")
    blocked = _blocked(ask, here) or paused.blocked or reload.blocked
    if blocked is None and paused.already:
        blocked = "somebody paused it: that pause has to end first"
    return Standing(
        role_present(parameters.role, here),
        blocked=blocked,
        warnings=(*_warnings(ask, here), *paused.warnings, *reload.warnings, *reload.notes),
        notes=tuple(place.text for place in here.places),
        clients=None if here.pauses else 0,
        tier=Tier.FELT if here.pauses else Tier.HARMLESS,
    )


def role_present(role: str, here: AtPooler) -> str:
    """Return how a pooler knows a role, as words."""
    by_method: dict[Method, list[str]] = {}
    for place in here.places:
        by_method.setdefault(place.method, []).append("its console" if place.is_console else place.database)
    parts = [f"{method.runbook} {method.value} on {', '.join(at)}" for method, at in by_method.items()]
    return f"{role}: {'; '.join(parts)}"


def _pause(ask: Ask[Observation]) -> Standing:
    asked = ask.parameters
    parameters = PauseParameters(timeout_s=asked.timeout_s, hold_s=asked.hold_s)
    standing = pause_standing(replace(ask, parameters=parameters, found=ask.found.door))
    if standing.blocked is None:
        return standing
    return replace(standing, blocked=standing.blocked.replace("--for", "--hold"))


def reload_before(ask: Ask[Observation]) -> Standing:
    """Return what the RELOAD would do besides: it reads everything, and undoes what was SET."""
    found: RotateLook = ask.found
    asked = replace(ask, found=found.config, parameters=ReloadParameters())
    standing = reload_standing(asked)
    would = what_would_change(asked)
    if would is None or standing.blocked is not None:
        return Standing("", blocked=standing.blocked)
    if would.doomed_clients:
        cut = f"a RELOAD cuts {plural(would.doomed_clients, 'client')} now: reload it by itself first"
        return Standing("", blocked=cut)
    return Standing(
        "",
        warnings=would.warnings,
        notes=tuple(f"the RELOAD changes too: {line}" for line in would.changes),
    )


def _blocked(ask: Ask[Observation], here: AtPooler) -> str | None:
    asked: RotateParameters = ask.parameters
    for place in here.places:
        if place.problem is not None:
            return f"{place.database}: {place.problem}"
    if ask.seen.paused_databases:
        names = ", ".join(ask.seen.paused_databases)
        return f"paused on their own: {names}; a login through them would not be served"
    wanted = Method(asked.method) if asked.method != "auto" else None
    found = {place.method for place in here.places}
    if wanted not in (None, Method.AB) and found - {wanted}:
        others = ", ".join(sorted(method.value for method in found if method is not wanted))
        return f"--method {wanted}: the role is known otherwise here ({others}), and Postgres changes for all"
    return _unwritable(ask.found, here)


def _unwritable(found: RotateLook, here: AtPooler) -> str | None:
    """Say why a file with the role's secret cannot be changed; None: all can."""
    assert found.known is not None, "a pooler whose files are not known is refused before"
    if found.uneditable is not None:
        return f"its password= cannot be changed by machine: {found.uneditable}"
    lines = {name for file in here.inline for name in file.lines}
    for place in here.places:
        name = place.database if place.database in found.known.lines else STAR
        if place.secret is ServerSecret.INLINE and name not in lines:
            return (
                f"{place.database}: it runs with the forced user {found.known.role}, and its line has no "
                "user= any more, so whose password= it is cannot be told"
            )
    for file in here.files:
        obstacle = found.config.good.obstacles.get(file.path)
        if obstacle is not None:
            return f"{file.path} cannot be replaced: {obstacle}"
    return None


def _warnings(ask: Ask[Observation], here: AtPooler) -> Iterator[str]:
    asked: RotateParameters = ask.parameters
    found: RotateLook = ask.found
    entry = found.known.entry if found.known is not None else None
    if entry is SecretKind.MD5:
        yield (
            "its auth_file entry is md5 and becomes a SCRAM secret: clients whose driver knows md5 only can "
            "no longer log in"
        )
    if entry is SecretKind.PLAINTEXT:
        yield "its auth_file entry is plaintext, and stays so: whoever reads that file has the password"
    for file in here.inline:
        yield (
            f"its password= stands in clear in {file.path}, and so will the new one: whoever reads that file "
            "has it"
        )
    yield from _passed_over(ask, here)
    if here.passes_keys and not (asked.old_from or asked.undo):
        yield (
            "without --old-from a rotation that is taken back late leaves its server logins failing until a "
            "client logs in with the old secret"
        )
    if is_poisonable(here.version) and any(place.method is Method.SCRAM for place in here.places):
        yield (
            f"{ask.seen.version} loses the keys of SCRAM pass-through when the first login after a RELOAD "
            "fails: the canary is tried first, and again after another RELOAD where a client was quicker"
        )
    own = {found.bouncer.admin_user: "admin_user", found.bouncer.monitor_user: "monitor_user"}
    if asked.role in own:
        yield (
            f"it is the inventory's {own[asked.role]}: put the new secret where password_from finds it when "
            "this is over, or Pooldeck cannot log in"
        )
    if found.known is not None and found.known.auth_type == "hba":
        methods = ", ".join(sorted(found.known.hba_methods))
        yield f"auth_type is hba ({methods}): which rule a client meets depends on its address"
    disabled = [row.name for row in ask.seen.databases if row.disabled]
    hit = [place.database for place in here.places if place.database in disabled]
    if hit:
        yield f"disabled, so no login can be tried there: {', '.join(hit)}"


def _passed_over(ask: Ask[Observation], here: AtPooler) -> Iterator[str]:
    """Warn of what works by other means than the role's own login."""
    found: RotateLook = ask.found
    asking = [place.database for place in here.places if place.method is Method.AUTH_USER]
    if asking:
        yield (
            f"it is the auth_user of {', '.join(asking)}: logins that auth_query checks wait until the RESUME"
        )
    users = found.config.lint.users if found.config.lint is not None else None
    scram = [user.name for user in users.users if user.kind is SecretKind.SCRAM] if users is not None else []
    inline = [place.database for place in here.places if place.secret is ServerSecret.INLINE]
    if inline and here.version < KEYS_MENDED and set(scram) - {ask.parameters.role}:
        yield (
            "before 1.26 a client with a SCRAM secret leaves its own keys in the place of the password= of "
            f"{', '.join(inline)}, and server logins fail there; SCRAM secrets in the auth_file: {len(scram)}"
        )


def rotate_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is sent to a pooler, and done to its files, in order."""
    here = at_pooler(ask)
    lines = []
    if here.pauses:
        lines.append(ask.dialect.pause(None))
    if here.writes_file:
        lines += [f"write {file.path}: {file.what(ask.parameters.role)}" for file in here.files]
        lines.append(ask.dialect.reload())
    tried = [place.database for place in here.places if place.client_may_log_in]
    if tried:
        lines.append(f"log in as {ask.parameters.role}: {', '.join(tried)}")
    if here.pauses:
        lines.append(ask.dialect.resume(None))
    return tuple(lines)


def rotate_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what a guardian sends should the run die before Postgres has the new verifier."""
    return (ask.dialect.resume(None),) if at_pooler(ask).pauses else ()
