"""Secrets that a person types before a run is agreed to, and the wallet that hands them to that run alone.

A verb declares them (`OpSpec.secrets`); a driver with a screen asks for them. They are nowhere but in the
wallet of the run they were typed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from console.config.secret_policy import Judgement
from console.errors import UsageError
from console.operations.roles import Wallet

PROMPT = "prompt"
"""The source of a secret that is typed."""


@dataclass(frozen=True, slots=True)
class SecretWanted:
    """One secret that a verb's parameters call for."""

    which: str
    """`new` or `old`, as `Wallet.secret` is asked."""
    role: str
    parameter: str
    """The field that says where it comes from, e.g. `secret_from`."""
    source: str
    """What that field says; "": nothing."""
    purpose: str = ""
    """Why it is asked for, in a few words."""
    twice: bool = False
    """It is typed again, since nobody could tell a slip of the finger later."""
    judge: Callable[[str], Judgement] | None = None
    """What it must be like; None: it is as it is."""

    @property
    def is_typed(self) -> bool:
        """Whether it must be typed."""
        return self.source == PROMPT

    @property
    def may_be_typed(self) -> bool:
        """Whether it can be typed: it must be, or nobody says where it comes from."""
        return self.source in (PROMPT, "")


class RunWallet:
    """The secrets of one run: those typed for it, all others from the driver's wallet. A `Wallet`.

    Each is asked for once; with the run they are gone, so that the next one is never given the same.
    """

    def __init__(self, typed: Mapping[str, SecretStr], driver: Wallet | None) -> None:
        """`typed` is by `SecretWanted.which`."""
        self._typed = dict(typed)
        self._driver = driver
        self._had: dict[tuple[str, str, str], SecretStr] = {}

    async def secret(self, source: str, *, role: str, which: str) -> SecretStr:
        """See `Wallet.secret`."""
        if source == PROMPT and which in self._typed:
            return self._typed[which]
        key = (source, role, which)
        if key not in self._had:
            self._had[key] = await self._other.secret(source, role=role, which=which)
        return self._had[key]

    async def hand_over(self, where: str, secret: SecretStr, *, role: str) -> None:
        """See `Wallet.hand_over`."""
        await self._other.hand_over(where, secret, role=role)

    @property
    def _other(self) -> Wallet:
        if self._driver is None:
            raise UsageError("this session has no source of secrets but what is typed")
        return self._driver
