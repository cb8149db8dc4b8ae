"""`[policy]` of the inventory: which operations are allowed, and how much is asked before they run.

Rules of `[policy]` hold everywhere; a table of the fleet's environment (`[policy.production]`) replaces what
it sets, tiers are merged. Judging by them is `console.guard`'s. Verbs are plain words here: which ones there
are is known above (`unknown_verbs` checks them).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from console.config.windows import Window, parse_window

Word = Annotated[str, StringConstraints(min_length=1)]
TierName = Literal["harmless", "felt", "cut"]
Environment = Literal["development", "staging", "production"]
_Flag = Annotated[bool, Field(strict=True)]


def _window(text: str) -> str:
    parse_window(text)
    return text


class Rules(BaseModel):
    """One table of rules. None: this table says nothing of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    forbid: tuple[Word, ...] | None = None
    """Verbs that are never run."""
    max_targets: Annotated[int, Field(strict=True, ge=1)] | None = None
    """In one run."""
    max_pause_s: Annotated[float, Field(strict=True, gt=0, le=3600)] | None = None
    """The longest `pause --for`."""
    allow_long_pause: _Flag | None = None
    """A pause may last until clients are cut by query_wait_timeout."""
    require_reason: _Flag | tuple[Word, ...] | None = None
    """Verbs that want `--reason`; true: every one."""
    two_person: _Flag | tuple[Word, ...] | None = None
    """Verbs whose plan must have been made by another user; true: every one."""
    windows: tuple[Annotated[str, AfterValidator(_window)], ...] | None = None
    """When operations may run; empty: always."""
    tiers: dict[Word, TierName] = {}
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
            require_reason=_verbs(pick("require_reason")),
            two_person=_verbs(pick("two_person")),
            windows=tuple(parse_window(text) for text in pick("windows") or ()),
            tiers={**self.tiers, **own.tiers},
            origin=origin,
        )


@dataclass(frozen=True, slots=True)
class Verbs:
    """Some verbs, or every one."""

    names: frozenset[str] = frozenset()
    every: bool = False

    def __contains__(self, verb: str) -> bool:
        return self.every or verb in self.names


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds in the fleet's environment."""

    forbid: frozenset[str] = frozenset()
    max_targets: int | None = None
    max_pause_s: float | None = None
    allow_long_pause: bool = False
    require_reason: Verbs = Verbs()
    two_person: Verbs = Verbs()
    windows: tuple[Window, ...] = ()
    tiers: Mapping[str, TierName] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    """Which key of which table a rule comes from, e.g. `forbid` → `policy.production.forbid`."""


def unknown_verbs(policies: Policies, known: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each verb of the rules that does not exist."""
    for title, table in (
        ("policy", policies),
        ("policy.development", policies.development),
        ("policy.staging", policies.staging),
        ("policy.production", policies.production),
    ):
        for key in ("forbid", "require_reason", "two_person", "tiers"):
            value = getattr(table, key)
            for verb in value if isinstance(value, (tuple, dict)) else ():
                if verb not in known:
                    near = get_close_matches(verb, known, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"verbs are {', '.join(known)}"
                    yield f"{title}.{key}: there is no verb {verb}; {hint}"


def _verbs(value: bool | tuple[str, ...] | None) -> Verbs:
    return Verbs(every=value) if isinstance(value, bool) else Verbs(frozenset(value or ()))
