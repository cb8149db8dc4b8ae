"""Plans as documents: what `--plan --json` prints and `--save` writes, and how one compares with a new plan.

Pure: files are the command line's. A document is material from elsewhere: nothing in it is ever carried out,
it is only compared with what would be done now.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from console.errors import UsageError
from console.guard.verdict import Confirm, Verdict
from console.operations.observe import moved
from console.operations.plan import Plan, TargetPlan
from console.operations.registry import REGISTRY
from console.operations.rollout import Share

FORMAT = 1
"""Of the document; another number is not read."""
_HASH = re.compile(r"[0-9a-f]{64}")
_ROLLOUT_FLAGS = {
    "serial": "--serial",
    "max_unavailable": "--max-unavailable",
    "max_failed": "--max-failed",
    "soak_s": "--soak",
    "gate_timeout_s": "--gate-timeout",
    "max_wait_s": "--max-wait",
}


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan as it was when it was made."""

    op: str
    selector: str
    parameters: Mapping[str, Any]
    fleet: str
    environment: str
    rollout: Mapping[str, Any]
    hash: str
    made_at_s: float
    waves: tuple[tuple[str, ...], ...]
    targets: Mapping[str, Mapping[str, Any]]
    """By name: `statements`, `rescue`, `changes` and `facts`, as `Plan.as_dict` has them."""
    unreachable: Mapping[str, str]
    """Names, and why they could not be reached then."""
    user: str | None
    """Who made it, as the document itself says."""
    reason: str | None


def plan_document(
    plan: Plan, verdict: Verdict, *, user: str, command: str, reason: str | None
) -> dict[str, Any]:
    """Return a plan as JSON-able values, with how the guard would answer it.

    Args:
        plan: the plan.
        verdict: the guard's answer to who asks now.
        user: who makes it.
        command: the command it is the plan of.
        reason: what was given with `--reason`.
    """
    answer = {"kind": type(verdict).__name__.lower(), **asdict(verdict)}
    answer["tier"] = verdict.tier.name.lower()
    if isinstance(verdict, Confirm):
        answer["phrase"] = verdict.phrase
    return {
        "type": "plan",
        "format": FORMAT,
        "made_by": user,
        "command": command,
        "reason": reason,
        **plan.as_dict(),
        "verdict": answer,
    }


def read_plan(text: str, *, where: str) -> SavedPlan:
    """Read a document.

    Raises:
        UsageError: it is none of ours, or of another format.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _not_ours(where) from None
    if not isinstance(values, dict) or values.get("type") != "plan":
        raise _not_ours(where)
    if values.get("format") != FORMAT:
        raise UsageError(
            f"it is a plan of format {values.get('format')!r}, and this Pooldeck reads {FORMAT}",
            where=where,
            hint="make the plan anew with --plan --save",
        )
    try:
        saved = SavedPlan(
            op=_text(values["op"]),
            selector=_text(values["selector"]),
            parameters=dict(values["parameters"]),
            fleet=_text(values["fleet"]),
            environment=_text(values["environment"]),
            rollout=dict(values["rollout"]),
            hash=_text(values["hash"]),
            made_at_s=_number(values["made_at"]),
            waves=tuple(tuple(_text(name) for name in wave) for wave in values["waves"]),
            targets={_text(item["target"]): _decisive(item) for item in values["targets"]},
            unreachable={_text(out["name"]): _text(out["reason"]) for out in values["unreachable"]},
            user=_text(values["made_by"]),
            reason=None if values.get("reason") is None else _text(values["reason"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _not_ours(where) from None
    if _HASH.fullmatch(saved.hash) is None:
        raise _not_ours(where)
    return saved


def asked_otherwise(saved: SavedPlan, plan: Plan) -> tuple[str, ...]:
    """Say in which ways a saved plan is the plan of another command than `plan` is; () when of the same."""
    now = json.loads(json.dumps(plan.as_dict()))
    lines = [
        f"{key}: {saved_value}, not {now[key]}"
        for key, saved_value in (("op", saved.op), ("fleet", saved.fleet), ("selector", saved.selector))
        if saved_value != now[key]
    ]
    if lines and saved.op != plan.op:
        return tuple(lines)
    flags = _parameter_flags(plan.op)
    lines += [
        f"{flags.get(key, key)}: {_shown(then)}, not {_shown(here)}"
        for key, then, here in _differing(saved.parameters, now["parameters"])
    ]
    lines += [
        f"{_ROLLOUT_FLAGS.get(key, key)}: {_share(then)}, not {_share(here)}"
        for key, then, here in _differing(saved.rollout, now["rollout"])
    ]
    return tuple(lines)


def what_moved(saved: SavedPlan, plan: Plan) -> tuple[str, ...]:
    """Say what of a saved plan is no longer so, target by target; () only when the hashes agree."""
    if saved.hash == plan.hash:
        return ()
    lines = list(_moved(saved, plan))
    return tuple(lines) or ("nothing that can be named: another Pooldeck may have made it",)


def _moved(saved: SavedPlan, plan: Plan) -> Iterator[str]:
    if saved.environment != plan.environment:
        yield f"environment: {saved.environment} → {plan.environment}"
    now = {str(item.target): item for item in plan.targets}
    gone = {out.name: out.reason for out in plan.unreachable}
    for name, item in now.items():
        then = saved.targets.get(name)
        if then is not None:
            yield from _target_moved(name, then, item)
        elif name in saved.unreachable:
            yield f"{name}: could not be reached then ({saved.unreachable[name]}), and can now"
        else:
            yield f"{name}: was not in the plan"
    for name in saved.targets:
        if name not in now and not _among(name, gone):
            yield f"{name}: is not there any more"
    for name, reason in gone.items():
        if name not in saved.unreachable:
            yield f"{name}: cannot be reached now: {reason}"
    for name in saved.unreachable:
        if name not in gone and not any(_among(target, {name: ""}) for target in now):
            yield f"{name}: is not chosen any more"
    waves = tuple(tuple(str(target) for target in wave) for wave in plan.waves)
    if waves != saved.waves and now.keys() == saved.targets.keys():
        yield f"waves: {_waves(saved.waves)} → {_waves(waves)}"


def _target_moved(name: str, then: Mapping[str, Any], item: TargetPlan) -> Iterator[str]:
    for line in moved(then["facts"], item.facts):
        yield f"{name}: {line}"
    for key, here in (("statements", item.statements), ("rescue", item.rescue)):
        if then[key] != here:
            label = "would be sent" if key == "statements" else "would be sent if it goes wrong"
            yield f"{name}: {label}: {_statements(then[key])} → {_statements(here)}"
    if then["changes"] != item.changes:
        yield f"{name}: {'it was so already' if item.changes else 'it is so already'}"


def _among(name: str, bouncers: Mapping[str, str]) -> bool:
    """Say whether a target belongs to one of these: what cannot be reached is named as it was selected."""
    return name in bouncers or name.split("/", 1)[0] in {one.split("/", 1)[0] for one in bouncers}


def _statements(statements: tuple[str, ...]) -> str:
    return "; ".join(statements) or "nothing"


def _waves(waves: tuple[tuple[str, ...], ...]) -> str:
    return " | ".join(", ".join(wave) for wave in waves)


def _parameter_flags(op: str) -> dict[str, str]:
    spec = REGISTRY.get(op)
    options = spec.verb.options if spec is not None else ()
    return {"timeout_s": "--timeout", **{one.field: one.flag or one.metavar for one in options}}


def _differing(then: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(then.keys() | here.keys()):
        if then.get(key) != here.get(key):
            yield key, then.get(key), here.get(key)


def _share(value: Any) -> str:
    """Return a value of a rollout as it would be typed."""
    if isinstance(value, list):
        return ",".join(_share(part) for part in value)
    if isinstance(value, dict) and value.keys() == {"number", "is_percent"}:
        return str(Share(value["number"], value["is_percent"]))
    return _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _decisive(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "statements": tuple(_text(one) for one in item["statements"]),
        "rescue": tuple(_text(one) for one in item["rescue"]),
        "changes": bool(item["changes"]),
        "facts": {_text(key): _text(value) for key, value in item["facts"].items()},
    }


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _not_ours(where: str) -> UsageError:
    return UsageError("it is no plan of Pooldeck's", where=where, hint="write one with --plan --save FILE")
