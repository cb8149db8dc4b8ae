"""From what was asked to a goal: the new secret everywhere, an interrupted rotation's, or the old one again.

Secrets come in here and leave as `SecretStr` and verifiers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from console.config.pgbouncer_texts import ConfigTexts
from console.config.scram import Verifier, opens, scram_verifier
from console.config.secret_policy import judge_secret
from console.errors import UsageError
from console.operations.outcome import EventKind
from console.operations.roles import Wallet
from console.operations.rotate.goal import Goal
from console.operations.rotate.host_files import sha256
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.pooler_side import PoolerSide
from console.operations.rotate.run_file import FileState, RunState
from console.operations.rotate.scheme import Scheme
from console.operations.rotate.secret_files import (
    clear_secret_in,
    contents_with,
    verifier_in,
    with_contents,
)

if TYPE_CHECKING:
    from console.operations.job import Job


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the user brought."""

    new: SecretStr | None
    verifier: str = field(repr=False)
    old: SecretStr | None
    warnings: tuple[str, ...] = ()


class Old(NamedTuple):
    """The secret of before; what opens everything again once it is taken back."""

    given: SecretStr | None
    """By the user."""
    known: SecretStr | None
    """That one, or what a file has in clear."""


async def secrets_of(
    asked: RotateParameters, scheme: Scheme, wallet: Wallet, left: RunState | None
) -> Secrets:
    """Get the secrets, judge the new one, and compute its verifier.

    Raises:
        CredentialError: one could not be had. UsageError: the new one is not good, or is another than the
        interrupted rotation's.
    """
    old = None
    if asked.old_from:
        old = await wallet.secret(asked.old_from, role=scheme.role, which="old")
    if asked.undo:
        assert left is not None, "--undo needs one"
        return Secrets(None, left.verifier, old)
    new = await wallet.secret(asked.secret_from, role=scheme.role, which="new")
    clear = new.get_secret_value()
    if left is not None:
        known = Verifier.parse(left.verifier)
        if known is None or not known.opens_with(clear):
            raise UsageError("that is not the new secret of the rotation that was interrupted")
        return Secrets(new, left.verifier, old)
    judged = judge_secret(clear, scheme.role)
    if judged.refused is not None:
        raise UsageError(f"the new secret is not taken: {judged.refused}")
    for reading in scheme.primaries:
        if reading.stored and opens(reading.stored, clear, scheme.role):
            raise UsageError(f"the new secret is the one that {reading.node} has already")
    if old is not None and old.get_secret_value() == clear:
        raise UsageError("the new secret is the old one")
    if asked.secret_to:
        await wallet.hand_over(asked.secret_to, new, role=scheme.role)
    verifier = scram_verifier(clear, iterations=scheme.iterations)
    return Secrets(new, verifier, old, judged.warnings)


async def goal_of(
    job: Job,
    asked: RotateParameters,
    scheme: Scheme,
    sides: Sequence[PoolerSide],
    secrets: Secrets,
    left: RunState | None,
) -> tuple[Goal, RunState]:
    """Return what is to be brought about, and what the run's file begins with.

    Raises:
        NodeError: a file cannot be read. UsageError: one cannot be changed as it must.
    """
    for text in secrets.warnings:
        job.tell(f"the new secret: {text}", EventKind.WARNING)
    if asked.undo:
        assert left is not None, "--undo needs one"
        return await _undone(sides, secrets, left, scheme), left
    assert secrets.new is not None, "only --undo goes without"
    contents = {
        side.name: contents_with(
            side.texts,
            side.here.files,
            side.step.before.version,
            scheme.role,
            verifier=secrets.verifier,
            secret=secrets.new,
        )
        for side in sides
        if side.files
    }
    stored: dict[str, str | None] = {one.node: secrets.verifier for one in scheme.primaries}
    goal = Goal(stored, contents, secrets.new, secrets.old or _clear_before(sides, scheme.role, secrets))
    if left is not None:
        for side in sides:
            for file in side.files:
                # What was kept is of before the first attempt; a copy made now might be of the new file.
                state = left.file(side.name, file.name)
                file.keeps_copy = state is not None and sha256(file.original) != state.before
        return goal, left
    return goal, _begun(job, scheme, sides, secrets, contents)


def _begun(
    job: Job,
    scheme: Scheme,
    sides: Sequence[PoolerSide],
    secrets: Secrets,
    contents: Mapping[str, Mapping[str, bytes]],
) -> RunState:
    known = next((found for side in sides if (found := _verifier_at(side, scheme.role))), None)
    return RunState(
        run_id=job.run_id,
        fleet=job.plan.fleet,
        role=scheme.role,
        selector=job.plan.selector,
        begun_at_s=job.clock.wall_s(),
        verifier=secrets.verifier,
        # Where pg_authid may not be read, the SCRAM secret of an auth_file is the same by pass-through.
        before={one.node: one.stored or known for one in scheme.primaries},
        files={
            side.name: tuple(
                FileState(
                    file.name, file.at.path, sha256(file.original), sha256(contents[side.name][file.name])
                )
                for file in side.files
            )
            for side in sides
            if side.files
        },
    )


async def _undone(sides: Sequence[PoolerSide], secrets: Secrets, left: RunState, scheme: Scheme) -> Goal:
    contents = {side.name: await _contents_before(side, left) for side in sides}
    old = secrets.old or _clear_in(
        ((side, with_contents(side.texts, contents[side.name])) for side in sides), scheme.role
    )
    stored = {one.node: left.before.get(one.node) for one in scheme.primaries}
    missing = [node for node, verifier in stored.items() if verifier is None]
    if missing and old is not None:
        clear = old.get_secret_value()
        stored |= {node: scram_verifier(clear, iterations=scheme.iterations) for node in missing}
    elif missing:
        raise UsageError(
            f"the old verifier of {', '.join(missing)} is not known: give the secret by --old-from"
        )
    return Goal(stored, contents, old, None)


async def _contents_before(side: PoolerSide, left: RunState) -> dict[str, bytes]:
    """Return a pooler's files as they were before the interrupted rotation, from the copies kept of them."""
    contents = {}
    for file in side.files:
        state = left.file(side.name, file.name)
        if state is None:
            continue
        file.keeps_copy = True
        found = sha256(file.original)
        if found == state.before:
            contents[file.name] = file.original
            continue
        if found != state.after:
            raise UsageError(
                f"{side.name}: {state.path} was changed since by somebody else, and the copy of before the "
                "rotation has not that: complete it with --resume, or put the old secret there by hand"
            )
        kept = await file.at.kept()
        if sha256(kept) != state.before:
            raise UsageError(f"{side.name}: the copy kept beside {state.path} is not of before the rotation")
        contents[file.name] = kept
    return contents


def _verifier_at(side: PoolerSide, role: str) -> str | None:
    return verifier_in(side.texts, side.here.files, side.step.before.version, role)


def _clear_before(sides: Sequence[PoolerSide], role: str, secrets: Secrets) -> SecretStr | None:
    """Return the old secret where a file has it in clear; a resumed run may find the new one there."""
    return _clear_in(((side, side.texts) for side in sides), role, other_than=secrets.new)


def _clear_in(
    texts: Iterable[tuple[PoolerSide, ConfigTexts]], role: str, *, other_than: SecretStr | None = None
) -> SecretStr | None:
    for side, files in texts:
        found = clear_secret_in(files, side.here.files, side.step.before.version, role)
        if found is not None and found != other_than:
            return found
    return None
