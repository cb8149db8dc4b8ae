"""`[policy]` of the inventory: which operations are allowed, and how much is asked before they run.

Rules of `[policy]` hold everywhere; a table of the fleet's environment (`[policy.production]`) replaces what
it sets, tiers are merged. Judging by them is `console.guard`'s; what a verb does is `console.operations`':
here verbs are words only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from console.config.windows import EXAMPLE, Window, parse_window
from console.model.fleet import Environment

VERBS = (
    *("pause", "resume", "reload", "reconnect", "disable", "enable", "kill", "kill-client", "shutdown"),
    *("set", "cancel", "terminate", "mend", "rotate", "config set", "config push", "config rollback"),
    *("restart", "start", "switchover"),
)
"""Every verb that a rule can name. A rule for a verb that does not exist would protect nothing, unnoticed."""

TierName = Literal["harmless", "felt", "cut"]
_Flag = Annotated[bool, Field(strict=True)]


def _verb(word: str) -> str:
    if word in VERBS:
        return word
    near = get_close_matches(word.lower(), VERBS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"verbs are {', '.join(VERBS)}"
    raise PydanticCustomError("verb", "there is no verb {word}", {"word": repr(word), "hint": hint})


def _verbs(value: object, listed: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, bool):
        return VERBS if value else ()
    if isinstance(value, (list, tuple)):
        return listed(value)
    raise PydanticCustomError(
        "verbs", "must be a list of verbs, true or false", {"hint": 'as in ["pause", "kill"]'}
    )


def _window(text: str) -> str:
    try:
        parse_window(text)
    except ValueError as error:
        raise PydanticCustomError(
            "window", "{why}", {"why": str(error), "hint": f"as in {EXAMPLE}"}
        ) from None
    return text


VerbName = Annotated[str, AfterValidator(_verb)]
Verbs = Annotated[tuple[VerbName, ...], WrapValidator(_verbs)]
"""A list, `true` for every verb, `false` for none."""


class Rules(BaseModel):
    """One table of rules. None: this table says nothing of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    forbid: tuple[VerbName, ...] | None = None
    """Verbs that are never run."""
    max_targets: Annotated[int, Field(strict=True, ge=1)] | None = None
    """In one run."""
    max_pause_s: Annotated[float, Field(strict=True, gt=0, le=3600)] | None = None
    """The longest `pause --for`."""
    allow_long_pause: _Flag | None = None
    """A pause may last until clients are cut by query_wait_timeout."""
    require_reason: Verbs | None = None
    """Verbs that want `--reason`."""
    two_person: Verbs | None = None
    """Verbs whose plan must have been made by another user."""
    windows: tuple[Annotated[str, AfterValidator(_window)], ...] | None = None
    """When operations may run; empty: always."""
    tiers: dict[VerbName, TierName] = {}
    """How much is asked for a verb, instead of what it asks by itself."""


class Policies(Rules):
    """`[policy]` and its tables for each environment."""

    development: Rules = Rules()
    staging: Rules = Rules()
    production: Rules = Rules()

    def resolved(self, environment: Environment) -> Effective:
        """Return what holds in an environment."""
        own: Rules = getattr(self, environment)
        origin: dict[str, str] = {}

        def pick(key: str) -> Any:
            for table, title in ((own, f"policy.{environment}"), (self, "policy")):
                value = getattr(table, key)
                if value is not None:
                    origin[key] = f"{title}.{key}"
                    return value
            return None

        return Effective(
            forbid=frozenset(pick("forbid") or ()),
            max_targets=pick("max_targets"),
            max_pause_s=pick("max_pause_s"),
            allow_long_pause=bool(pick("allow_long_pause")),
            require_reason=frozenset(pick("require_reason") or ()),
            two_person=frozenset(pick("two_person") or ()),
            windows=tuple(parse_window(text) for text in pick("windows") or ()),
            tiers={**self.tiers, **own.tiers},
            origin=origin,
        )


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds in the fleet's environment."""

    forbid: frozenset[str] = frozenset()
    max_targets: int | None = None
    max_pause_s: float | None = None
    allow_long_pause: bool = False
    require_reason: frozenset[str] = frozenset()
    two_person: frozenset[str] = frozenset()
    windows: tuple[Window, ...] = ()
    tiers: Mapping[str, TierName] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    """Which key of which table a rule comes from, e.g. `forbid` → `policy.production.forbid`."""
