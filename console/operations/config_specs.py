"""The specs of `config set`, `push` and `rollback`: they differ in where their texts come from."""

from __future__ import annotations

from typing import Any

from console.guard.verdict import Tier
from console.operations import config_sources, verbs_config
from console.operations.config_plan import change_rescue, change_standing, change_statements
from console.operations.config_run import carry_out_change, take_back_change
from console.operations.observe import Observation
from console.operations.spec import OpSpec, Scope

_COMMON: dict[str, Any] = {
    "tier": Tier.FELT,
    "scopes": frozenset({Scope.POOLER}),
    "effects": dict.fromkeys(
        ("transaction", "statement", "session"),
        "as the settings say; clients stay connected, unless their database leaves the file",
    ),
    "stand": change_standing,
    "statements": change_statements,
    "rescue": change_rescue,
    "carry_out": carry_out_change,
    "take_back": take_back_change,
    "verified_by": (
        "settings, databases and peers read as the new files say, none fell to its default, and a new login "
        "to the console is let in"
    ),
    "undo": "config rollback",
    "no_undo_reason": None,
}
CONFIG_SPECS: tuple[OpSpec[Observation], ...] = (
    OpSpec(
        verb=verbs_config.CONFIG_SET,
        parameters=config_sources.ConfigSetParameters,
        look=config_sources.look_for_set,
        **_COMMON,
    ),
    OpSpec(
        verb=verbs_config.CONFIG_PUSH,
        parameters=config_sources.ConfigPushParameters,
        look=config_sources.look_for_push,
        **_COMMON,
    ),
    OpSpec(
        verb=verbs_config.CONFIG_ROLLBACK,
        parameters=config_sources.ConfigRollbackParameters,
        look=config_sources.look_for_rollback,
        **_COMMON,
    ),
)
