"""The steps of a rotation in order over the whole fleet, each with what is checked after it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from console.operations.rotate.layout import Place
from console.operations.rotate.scheme import AtPooler, Scheme
from console.operations.rotate.standing import is_poisonable
from console.operations.spec import WholeStep


@dataclass(frozen=True, slots=True)
class Wish:
    """How it is to be carried out."""

    timeout_s: float
    hold_s: float
    old_known: bool
    """The old secret is given."""
    back: bool = False
    """An interrupted rotation is taken back."""
    interrupted: bool = False
    """An interrupted rotation is gone on with, either way."""

    @property
    def secret(self) -> str:
        """Which one is to be good in the end."""
        return "old" if self.back else "new"


def steps_of(scheme: Scheme, wish: Wish) -> tuple[WholeStep, ...]:
    """Return the steps of a scheme."""
    return tuple(_same_role(scheme, wish))


# -- the same role, another secret: R2 to R6 -------------------------------------------------------


def _same_role(scheme: Scheme, wish: Wish) -> Iterator[WholeStep]:
    pausing = ", ".join(scheme.pausing)
    writing = [one for one in scheme.poolers if one.writes_file]
    yield _first(wish)
    for one in writing:
        yield WholeStep(
            one.bouncer,
            f"keep a copy of {' and '.join(file.path for file in one.files)} beside it",
            "it holds the same, with the same owner and mode",
        )
    if pausing:
        yield WholeStep(
            pausing,
            f"PAUSE, under a lease; for {wish.hold_s:g} s at the most after that",
            f"all drained within {wish.timeout_s:g} s, or RESUME everywhere and nothing has changed",
        )
    for one in writing:
        for file in one.files:
            same = f"that entry: {one.users} entries" if file.is_auth_file else "that"
            yield WholeStep(
                one.bouncer,
                f"{file.what(scheme.role)} in {file.path}: a new file, renamed; not read yet",
                f"it reads as before but for {same}, same owner and mode",
            )
    for reading in scheme.primaries:
        yield WholeStep(
            reading.node,
            f"ALTER ROLE \"{scheme.role}\" PASSWORD '{_shown(scheme)}'",
            "pg_authid has this verifier"
            if reading.stored is not None
            else "answered; pg_authid is not readable",
        )
    for replica, primary in scheme.replicas.items():
        yield WholeStep(replica, f"wait until it has replayed what {primary} wrote", "its replay position")
    if scheme.direct:
        yield WholeStep(
            ", ".join(map(str, scheme.direct)),
            f"log in as {scheme.role} with the {wish.secret} secret, without a pooler between",
            "let in, where pg_hba.conf lets us try",
        )
    for one in writing:
        yield WholeStep(
            one.bouncer,
            "RELOAD, over a session that is open",
            "settings and databases are as before, and the console lets us in",
        )
    yield from _canaries(scheme, wish)
    if pausing:
        yield WholeStep(pausing, "RESUME", "it reads as not paused; nobody waits longer than before")
    yield from _queries(scheme)
    if writing:
        yield WholeStep(_names(writing), "remove the copies of the old files", "they are gone")


def _canaries(scheme: Scheme, wish: Wish) -> Iterator[WholeStep]:
    for one in scheme.poolers:
        for place in one.places:
            if place.client_may_log_in:
                yield _canary(scheme.role, one, place, wish)


def _queries(scheme: Scheme) -> Iterator[WholeStep]:
    served = [
        f"{one.bouncer}/{place.database}"
        for one in scheme.poolers
        for place in one.places
        if place.needs_postgres and place.client_may_log_in
    ]
    if served:
        yield WholeStep(", ".join(served), f"a query as {scheme.role}", "it is answered by Postgres")
    unseen = [f"{one.bouncer}/{place.database}" for one in scheme.poolers for place in one.unproven]
    if unseen:
        yield WholeStep(
            ", ".join(unseen),
            f"a query as probe_user where that works now; else look for a server connection of {scheme.role}",
            "one has logged in wherever a client waited for it",
        )


def _canary(role: str, one: AtPooler, place: Place, wish: Wish) -> WholeStep:
    where = f"{one.bouncer}/{place.database}"
    first = "the first login after the RELOAD: " if is_poisonable(one.version) else ""
    what = f"{first}log in as {role} with the {wish.secret} secret"
    checked = "let in" if not one.pauses else "let in; after the RESUME where nobody has been yet"
    if wish.back:
        return WholeStep(where, f"{what}, where --old-from gives it", checked)
    if wish.old_known:
        return WholeStep(where, f"{what}, then with the old one", f"{checked}; the old one is refused")
    return WholeStep(where, what, f"{checked}; the old one is tried only where it is known")


def _first(wish: Wish) -> WholeStep:
    if wish.back:
        return WholeStep(
            "here",
            "take the old verifier from the file of the rotation that was interrupted",
            "the copies of the old files are of before it",
        )
    if wish.interrupted:
        return WholeStep(
            "here",
            "take the new verifier from the file of the rotation that was interrupted",
            "the secret that is given belongs to it",
        )
    return WholeStep(
        "here",
        "compute the new verifier, and write down what is begun",
        "the secret is strong and not the old one",
    )


def _shown(scheme: Scheme) -> str:
    return f"SCRAM-SHA-256${scheme.iterations}:…"


def _names(poolers: Iterable[AtPooler]) -> str:
    return ", ".join(one.bouncer for one in poolers)
