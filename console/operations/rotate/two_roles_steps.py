"""The steps of a rotation with two roles in order, each with what is checked after it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from console.operations.observe import Observation
from console.operations.rotate.layout import Method, Place
from console.operations.rotate.two_roles import Half, TwoRolesScheme
from console.operations.rotate.two_roles_look import TwoRolesLook
from console.operations.rotate.two_roles_standing import tried
from console.operations.spec import Ask, WholeStep


def two_roles_steps(
    scheme: TwoRolesScheme, asks: Sequence[Ask[Observation]], *, old_known: bool
) -> tuple[WholeStep, ...]:
    """Return the steps of one half; `asks`: poolers in the order in which they are changed."""
    if scheme.half is Half.FINISH:
        return tuple(_finish(scheme, asks, old_known=old_known))
    if scheme.half is Half.UNDO:
        return tuple(_undo(scheme, asks, old_known=old_known))
    return tuple(_let_in(scheme, asks, old_known=old_known))


def _let_in(
    scheme: TwoRolesScheme, asks: Sequence[Ask[Observation]], *, old_known: bool
) -> Iterator[WholeStep]:
    role, to = scheme.role, scheme.to
    yield WholeStep(
        "here",
        f"compute the verifier of {to}, and write down what is begun",
        "the secret is strong, and a copy of each file that will be changed lies beside it",
    )
    for node, pair in scheme.pairs.items():
        what = "ALTER ROLE" if pair.exists else "CREATE ROLE"
        grants = pair.grants(role)
        member = f", GRANT {', '.join(grants)} TO {to}" if grants else ""
        yield WholeStep(
            node,
            f'{what} "{to}" LOGIN with the verifier{member}',
            f"a direct login as {to} to {', '.join(scheme.databases.get(node, ())) or 'it'}",
        )
    for asked in scheme.auth_queries:
        yield WholeStep(f"{asked.node}/{asked.database}", f"the auth_query, as {to}", "it may ask that")
    for replica, primary in scheme.base.replicas.items():
        yield WholeStep(replica, f"wait until it has replayed what {primary} wrote", "its replay position")
    for ask in asks:
        found: TwoRolesLook = ask.found
        if found.paths:
            yield WholeStep(
                ask.target.bouncer,
                f"{'; '.join(found.lines)} (new files, renamed), then RELOAD over a session that is open",
                "settings, databases and force_user are as the files say, and the console lets us in",
            )
        else:
            yield WholeStep(ask.target.bouncer, "nothing to change", "the logins below")
        yield from _proofs(scheme, ask, old_known=old_known)
    yield WholeStep(
        "applications",
        f"move them from {role} to {to}, at leisure; both work. Then: --finish",
        f"no client of {role} on any pooler",
    )


def _proofs(scheme: TwoRolesScheme, ask: Ask[Observation], *, old_known: bool) -> Iterator[WholeStep]:
    role, to, name = scheme.role, scheme.to, ask.target.bouncer
    found: TwoRolesLook = ask.found
    inline = [place.database for place in found.places if place.method is Method.INLINE]
    if inline:
        yield WholeStep(
            f"{name}/{', '.join(inline)}",
            "wait until no server connection is marked to be closed any more",
            f"a query is answered by {to}",
        )
    names = _databases(tried(ask))
    if names:
        also = f", then as {role}" if old_known else ""
        checked = f"let in, and a query answered{'' if old_known else f'; as {role} only with --old-from'}"
        yield WholeStep(f"{name}/{names}", f"log in as {to}{also}", checked)
    users = [place.database for place in found.places if place.method is Method.AUTH_USER]
    if users:
        yield WholeStep(
            f"{name}/{', '.join(users)}",
            "the login of a user who is not in the auth_file: probe_user, where it is such a one",
            f"{to} asks for it, and is answered",
        )


def _finish(
    scheme: TwoRolesScheme, asks: Sequence[Ask[Observation]], *, old_known: bool
) -> Iterator[WholeStep]:
    role = scheme.role
    yield WholeStep(
        ", ".join(ask.target.bouncer for ask in asks),
        f"look for clients of {role}",
        "there is none; else nothing is changed",
    )
    for node in scheme.pairs:
        yield WholeStep(node, f'ALTER ROLE "{role}" NOLOGIN', "it reads back so")
    for replica, primary in scheme.base.replicas.items():
        yield WholeStep(replica, f"wait until it has replayed what {primary} wrote", "its replay position")
    for ask in asks:
        found: TwoRolesLook = ask.found
        if found.paths:
            yield WholeStep(
                ask.target.bouncer,
                f"give {role} a random secret, RELOAD, then take its entry out, RELOAD (from 1.25 on a user "
                "who is gone can log in until a restart)",
                "settings and databases are as the files say",
            )
        names = _databases(tried(ask))
        if names and old_known:
            yield WholeStep(f"{ask.target.bouncer}/{names}", f"log in as {role}", "it is refused")
    yield WholeStep("here", "remove the copies and the rotation's file", "they are gone")


def _undo(
    scheme: TwoRolesScheme, asks: Sequence[Ask[Observation]], *, old_known: bool
) -> Iterator[WholeStep]:
    role, to = scheme.role, scheme.to
    yield WholeStep(
        ", ".join(ask.target.bouncer for ask in asks),
        f"look for clients of {to}",
        "there is none; else nothing is changed",
    )
    for node in scheme.pairs:
        yield WholeStep(node, f'ALTER ROLE "{role}" LOGIN, where it was shut out', "it reads back so")
    for ask in reversed(asks):
        yield WholeStep(
            ask.target.bouncer,
            f"give {to} a random secret, RELOAD, then put back what the files said of both roles, RELOAD",
            "settings, databases and force_user are as the files say",
        )
        names = _databases(tried(ask))
        if names and old_known:
            yield WholeStep(f"{ask.target.bouncer}/{names}", f"log in as {role}", "let in")
    for node in scheme.pairs:
        yield WholeStep(
            node,
            f"take {to} out: DROP ROLE, or its former secret and rights",
            "it answered, without an error",
        )
    yield WholeStep("here", "remove the copies and the rotation's file", "they are gone")


def _databases(places: Sequence[Place]) -> str:
    return ", ".join(place.database for place in places)
