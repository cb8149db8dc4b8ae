"""MEND: end every pause that nobody alive owns, and put back what a dead run left changed.

It is RESUME, aimed by what the pooler shows: paused or suspended as a whole, databases paused on their own
(PAUSE or KILL). A pause that a living run holds is left to it. DISABLE is a choice that somebody made, not a
pause, and a shutdown cannot be taken back: both are told, not touched (field-notes.md, 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from console.model.claims import Claim, claim_on
from console.model.unended import Unended
from console.operations.observe import Observation
from console.operations.outcome import Outcome, TargetReceipt
from console.operations.resume import carry_out_resume, resume_standing, resume_statements
from console.operations.sessions import close_quietly
from console.operations.shield import RETRY_SETTING
from console.operations.spec import Ask, Look, Standing
from console.operations.step import Step
from console.operations.target import Target
from console.operations.unended import look_at

_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Left:
    """What is on record of one target."""

    claim: Claim | None = None
    """Of its lease; None: no run of this machine has one."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """To be put back: key → value."""
    over: tuple[str | None, ...] = ()
    """Targets on this bouncer that a dead run held and that read as running: its books can be closed."""
    unended: tuple[Unended, ...] = ()
    """What dead runs began on this bouncer and left no end of on record."""

    @property
    def facts(self) -> Mapping[str, str]:
        """A pause that changed hands since the plan is not mended by it."""
        return {"lease": self.claim.lease_id if self.claim is not None else "none"}


async def look_for_left(look: Look) -> Left:
    """Read what is on record of a target."""
    past = look.reach.past
    if past is None:
        return Left()
    target = look.target
    claims = [claim for claim in await past.claims() if claim.bouncer == target.bouncer]
    claim = claim_on(claims, target.bouncer, target.database)
    if target.database is not None:
        return Left(claim)
    ended = {one.database for one in claims if not one.alive} | set(await past.unfinished(target.bouncer))
    ended -= {one.database for one in claims if one.alive}
    over = {name for name in ended if look.observation.paused(Target(target.bouncer, name)) is False}
    settings = _wrong(look.observation, await past.leftover_settings(target.bouncer))
    unended = tuple(one for one in await past.unended() if one.bouncer == target.bouncer)
    return Left(claim, settings, tuple(over), unended)


def _wrong(observation: Observation, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that still are what a dead run made them; only ones we ever change."""
    return {
        key: value
        for key, value in settings.items()
        if key == RETRY_SETTING and _NUMBER.fullmatch(value) and observation.seconds(key) == 0 != float(value)
    }


def mend_targets(observation: Observation, _: object) -> tuple[str | None, ...]:
    """Return what is paused on a bouncer: None for the pooler itself, and databases.

    The pooler itself is always looked at: a setting may be left to be put back.
    """
    return (None, *observation.paused_databases)


def mend_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before it is mended."""
    found: Left = ask.found if ask.found is not None else Left()
    standing = resume_standing(ask)
    advice = tuple(_advice(ask))
    claim = found.claim
    if claim is not None and claim.alive and not standing.already:
        return Standing(
            standing.present,
            already=True,
            warnings=(f"{claim.title} of {claim.who} holds it and will end it; it is left alone", *advice),
        )
    notes = []
    if not standing.already:
        notes.append(
            f"left behind by {claim.title} of {claim.who}, whose run and guardian are dead"
            if claim is not None
            else "paused by nobody that this machine knows of: ask before you end it"
        )
    notes += [_told(one, over=one.database in found.over) for one in found.unended]
    notes += [f"{key} was left at 0 and is put back to {value}" for key, value in found.settings.items()]
    return Standing(
        standing.present,
        already=standing.already and not found.settings,
        blocked=standing.blocked,
        # Of the pooler itself the databases are targets of their own here.
        warnings=(*(w for w in standing.warnings if "pause of its own" not in w), *advice),
        notes=tuple(notes),
    )


def _told(one: Unended, *, over: bool) -> str:
    look = look_at(one)
    seen = f" ({look})" if look is not None else ""
    end = "; that its end is not known is recorded" if over and look is not None else ""
    return f"{one.words}, left no end on record{seen}{end}"


def _advice(ask: Ask[Observation]) -> Iterator[str]:
    if ask.target.database is not None:
        return
    for database in ask.seen.databases:
        if database.disabled:
            name = Target(ask.target.bouncer, database.name)
            yield f"database {database.name} is disabled: new logins are refused; {name.command('enable')}"


def mend_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is sent when all goes well."""
    found: Left = ask.found if ask.found is not None else Left()
    resumes = () if resume_standing(ask).already else resume_statements(ask)
    return (*resumes, *(f"SET {key} = {value}" for key, value in found.settings.items()))


async def carry_out_mend(step: Step) -> TargetReceipt:
    """Mend the target of `step`."""
    found: Left = step.ask.found if step.ask.found is not None else Left()
    if step.reach.past is not None:
        for database in found.over:
            await step.reach.past.settled(step.target.bouncer, database)
    if step.already:
        return step.receipt(Outcome.NO_CHANGE, "nothing to mend", step.present)
    receipt: TargetReceipt | None = None
    if not resume_standing(step.ask).already:
        receipt = await carry_out_resume(step)
    if found.settings and (receipt is None or receipt.outcome in (Outcome.OK, Outcome.NO_CHANGE)):
        receipt = await _put_back(step, found.settings)
    assert receipt is not None, "a target that is not `already` has something to mend"
    past = step.reach.past
    if past is not None and receipt.outcome in (Outcome.OK, Outcome.NO_CHANGE):
        await past.settled(step.target.bouncer, step.target.database)
    return receipt


async def _put_back(step: Step, settings: Mapping[str, str]) -> TargetReceipt:
    session = await step.connector.writer(step.target.bouncer)
    try:
        await step.check_process(session)
        for key, value in settings.items():
            await step.send(session, f"SET {key} = {value}", step.parameters.timeout_s)
        config = step.dialect.parse_config(await session.show("CONFIG", timeout_s=step.query_timeout_s))
    finally:
        await close_quietly(session)
    wrong = [
        key for key, value in settings.items() if (config[key].value if key in config else None) != value
    ]
    if wrong:
        return step.receipt(Outcome.FAILED, f"{', '.join(wrong)} still is not as it was", step.present)
    return step.receipt(
        Outcome.OK,
        "put back " + ", ".join(f"{key} = {value}" for key, value in settings.items()),
        "running",
        verified=("SHOW CONFIG reads as before",),
    )
