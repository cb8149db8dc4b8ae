"""The second role's secret, and what each pooler's files are to be. Secrets leave as `SecretStr` only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from console.config.pgbouncer_edit import changed_paths
from console.config.pgbouncer_texts import ConfigTexts
from console.config.scram import SecretKind, Verifier, opens, scram_verifier, secret_kind
from console.config.secret_policy import judge_secret
from console.errors import UsageError
from console.operations.roles import Wallet
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.two_roles import TwoRolesScheme
from console.operations.rotate.two_roles_edit import NewSecret, Pooler, scrambled, with_second, without
from console.operations.rotate.two_roles_file import Hashes
from console.operations.rotate.two_roles_side import TwoRolesSide


@dataclass(frozen=True, slots=True)
class TwoSecrets:
    """What the user brought."""

    new: NewSecret | None = field(repr=False)
    """The second role's; None: it is not needed."""
    old: SecretStr | None
    """The first role's; None: not given."""
    warnings: tuple[str, ...] = ()
    is_there: bool = False
    """The second role has this secret already."""


async def two_secrets(asked: RotateParameters, scheme: TwoRolesScheme, wallet: Wallet) -> TwoSecrets:
    """Get the secrets, judge the new one, and compute its verifier.

    Raises:
        CredentialError: one could not be had. UsageError: the new one is not good, or is another than the
        open rotation's.
    """
    old = await wallet.secret(asked.old_from, role=scheme.role, which="old") if asked.old_from else None
    if not scheme.half.lets_in:
        return TwoSecrets(None, old)
    new = await wallet.secret(asked.secret_from, role=scheme.to, which="new")
    clear = new.get_secret_value()
    if scheme.left is not None:
        known = Verifier.parse(scheme.left.verifier)
        if known is None or not known.opens_with(clear):
            raise UsageError(f"that is not the secret of {scheme.to} in the rotation that is open")
        return TwoSecrets(NewSecret(new, scheme.left.verifier), old)
    judged = judge_secret(clear, scheme.to)
    if judged.refused is not None:
        raise UsageError(f"the new secret is not taken: {judged.refused}")
    if old is not None and old.get_secret_value() == clear:
        raise UsageError(f"the secret of {scheme.to} is the one of {scheme.role}")
    for reading in scheme.base.primaries:
        if reading.stored and opens(reading.stored, clear, scheme.role):
            raise UsageError(f"{scheme.role} has that secret on {reading.node}: {scheme.to} needs its own")
    if asked.secret_to:
        await wallet.hand_over(asked.secret_to, new, role=scheme.to)
    there = {pair.stored for pair in scheme.pairs.values()}
    kept = there.pop() if len(there) == 1 else None
    if kept and secret_kind(kept) is SecretKind.SCRAM and opens(kept, clear, scheme.to):
        return TwoSecrets(NewSecret(new, kept), old, judged.warnings, is_there=True)
    verifier = scram_verifier(clear, iterations=scheme.base.iterations)
    return TwoSecrets(NewSecret(new, verifier), old, judged.warnings)


def let_in(sides: Iterable[TwoRolesSide], secret: NewSecret) -> dict[str, ConfigTexts]:
    """Return each pooler's files with the second role in them.

    Raises:
        UsageError: one cannot be changed so.
    """
    return {side.name: with_second(side.texts, side.pooler, side.role, side.to, secret) for side in sides}


def shut_out(texts: ConfigTexts, pooler: Pooler, role: str) -> tuple[ConfigTexts, ConfigTexts]:
    """Return the files with a random secret for a role, and then without it; the same where it has no entry.

    Raises:
        UsageError: they cannot be changed so.
    """
    first = scrambled(texts, pooler, role)
    return first, without(first, pooler, role)


def file_states(side: TwoRolesSide, made: ConfigTexts) -> Mapping[str, Hashes]:
    """Return what the run's file says of the files of one pooler that change."""
    return {
        path: Hashes(side.texts.file(path).sha256 or "", made.file(path).sha256 or "")
        for path in changed_paths(side.texts, made)
    }


def gone_on(known: Mapping[str, Hashes], fresh: Mapping[str, Hashes]) -> dict[str, Hashes]:
    """Return the files of a pooler where something was done before; what they held first stays known."""
    files = dict(known)
    for path, hashes in fresh.items():
        before = known[path].before if path in known else hashes.before
        files[path] = replace(hashes, before=before)
    return files
