"""Every operation there is. Commands, palette entries and pages in docs/operations/ come from here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from console.guard.verdict import Tier
from console.operations import availability, backends, kill, kill_client, reconnect, settings, shutdown, verbs
from console.operations.closing import look_at_door
from console.operations.config_specs import CONFIG_SPECS
from console.operations.ending import carry_out_shutdown
from console.operations.mend import (
    carry_out_mend,
    look_for_left,
    mend_standing,
    mend_statements,
    mend_targets,
)
from console.operations.observe import Observation
from console.operations.pause import PauseParameters, pause_standing, pause_statements
from console.operations.reload import carry_out_reload
from console.operations.reload_files import look_at_files
from console.operations.reload_plan import (
    ReloadParameters,
    reload_rescue,
    reload_standing,
    reload_statements,
)
from console.operations.restart.operation import RESTART
from console.operations.resume import carry_out_resume, resume_standing, resume_statements
from console.operations.resume_suspended import (
    VERIFIED_BY,
    carry_out_suspended,
    suspended_facts,
    suspended_standing,
    suspended_statements,
)
from console.operations.rotate.spec import ROTATE_SPEC
from console.operations.signalling import carry_out_cancel, carry_out_terminate
from console.operations.spec import Absence, OpSpec, Parameters, Scope
from console.operations.start.operation import START
from console.operations.suspended import Suspended, look_outside
from console.operations.switchover.spec import SWITCHOVER
from console.operations.verb import Verb
from console.poolers.base import Capability

_POOLERS = frozenset({Scope.POOLER})
_DATABASES = frozenset({Scope.DATABASE})
_BOTH = frozenset({Scope.POOLER, Scope.DATABASE})
_NODES = frozenset({Scope.NODE})
_MODES = ("transaction", "statement", "session")


def _on_suspended(verb: Verb) -> OpSpec[Suspended]:
    """Return what a way out of a pause is on a pooler that is suspended and lets nobody in."""
    return OpSpec(
        verb=verb,
        tier=Tier.HARMLESS,
        parameters=Parameters,
        scopes=_POOLERS,
        effects=dict.fromkeys(_MODES, "clients go on: what they sent meanwhile is read now"),
        stand=suspended_standing,
        statements=suspended_statements,
        rescue=None,
        carry_out=carry_out_suspended,
        verified_by=VERIFIED_BY,
        undo=None,
        no_undo_reason="nothing suspends a bouncer for Pooldeck",
        rescues=True,
        facts=suspended_facts,
        in_shell=True,
        look_outside=look_outside,
    )


_PAUSE: OpSpec[Observation] = OpSpec(
    verb=verbs.PAUSE,
    tier=Tier.FELT,
    parameters=PauseParameters,
    scopes=_BOTH,
    effects={
        "transaction": "clients finish their transaction, then wait at the next one",
        "statement": "clients finish their statement, then wait at the next one",
        "session": "clients keep their server until they disconnect; PAUSE cannot finish while they stay",
    },
    stand=pause_standing,
    statements=pause_statements,
    rescue=resume_statements,
    carry_out=None,
    verified_by=(
        "the answer is PAUSE, no server connection of the target is left, its state reads paused; "
        "at the end it reads as running"
    ),
    undo="resume",
    no_undo_reason=None,
    holds=True,
    leased=True,
    absence=Absence.BRIEF,
    serial="100%",
    look=look_at_door,
)
_RESUME: OpSpec[Observation] = OpSpec(
    verb=verbs.RESUME,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    scopes=_BOTH,
    effects=dict.fromkeys(_MODES, "waiting clients go on at once"),
    stand=resume_standing,
    statements=resume_statements,
    rescue=None,
    carry_out=carry_out_resume,
    together=True,
    verified_by="its state reads as not paused",
    undo=None,
    no_undo_reason="pausing again would be a new pause, to be planned and confirmed as one",
    rescues=True,
    serial="100%",
    outside=_on_suspended(verbs.RESUME),
)
_RELOAD: OpSpec[Observation] = OpSpec(
    verb=verbs.RELOAD,
    tier=Tier.HARMLESS,
    parameters=ReloadParameters,
    scopes=_POOLERS,
    effects=dict.fromkeys(_MODES, "clients stay connected, unless their database left the file"),
    stand=reload_standing,
    statements=reload_statements,
    rescue=reload_rescue,
    carry_out=carry_out_reload,
    verified_by=(
        "settings, databases and peers read as the checked files say, none fell to its default, and a new "
        "login to the console is let in"
    ),
    undo=None,
    no_undo_reason="the file it read is the new truth; put the old file back and reload again",
    look=look_at_files,
)

_RECONNECT: OpSpec[Observation] = OpSpec(
    verb=verbs.RECONNECT,
    tier=Tier.FELT,
    parameters=reconnect.ReconnectParameters,
    scopes=_BOTH,
    effects={
        "transaction": "clients keep their server until their transaction ends; the next one gets a new one",
        "statement": "clients keep their server until their statement ends; the next one gets a new one",
        "session": "clients keep their old server until they disconnect",
    },
    stand=reconnect.reconnect_standing,
    statements=reconnect.reconnect_statements,
    rescue=None,
    carry_out=reconnect.carry_out_reconnect,
    verified_by=(
        "no server connection of before is left in SHOW SERVERS; then the pools in use have a new one each"
    ),
    undo=None,
    no_undo_reason="connections that are marked are closed when they are released, whatever is sent",
)
_DISABLE: OpSpec[Observation] = OpSpec(
    verb=verbs.DISABLE,
    tier=Tier.FELT,
    parameters=availability.DisableParameters,
    scopes=_DATABASES,
    effects=dict.fromkeys(_MODES, "connected clients go on; new ones are refused after their login"),
    stand=availability.disable_standing,
    statements=availability.disable_statements,
    rescue=None,
    carry_out=availability.carry_out_disable,
    verified_by="SHOW DATABASES says disabled",
    undo="enable",
    no_undo_reason=None,
    absence=Absence.LASTING,
    serial="100%",
    take_back=availability.take_back_disable,
)
_ENABLE: OpSpec[Observation] = OpSpec(
    verb=verbs.ENABLE,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    scopes=_DATABASES,
    effects=dict.fromkeys(_MODES, "new clients are let in again"),
    stand=availability.enable_standing,
    statements=availability.enable_statements,
    rescue=None,
    carry_out=availability.carry_out_enable,
    verified_by="SHOW DATABASES says not disabled",
    undo="disable",
    no_undo_reason=None,
    rescues=True,
    serial="100%",
)
_KILL: OpSpec[Observation] = OpSpec(
    verb=verbs.KILL,
    tier=Tier.CUT,
    parameters=Parameters,
    scopes=_DATABASES,
    effects=dict.fromkeys(
        _MODES, "every client is cut (FATAL database removed), in the middle of a transaction too"
    ),
    stand=kill.kill_standing,
    statements=kill.kill_statements,
    rescue=kill.kill_rescue,
    carry_out=kill.carry_out_kill,
    verified_by=(
        "SHOW POOLS has no client and no server of before while it is paused; then its state reads as not "
        "paused"
    ),
    undo=None,
    no_undo_reason="clients that are cut have to connect again by themselves",
    leased=True,
    absence=Absence.BRIEF,
    look=kill.look_for_linked,
)
_KILL_CLIENT: OpSpec[Observation] = OpSpec(
    verb=verbs.KILL_CLIENT,
    tier=Tier.CUT,
    parameters=kill_client.KillClientParameters,
    scopes=_POOLERS,
    effects=dict.fromkeys(
        _MODES,
        "the clients named are cut (FATAL admin forced disconnect), with the server they hold; others go on",
    ),
    stand=kill_client.kill_client_standing,
    statements=kill_client.kill_client_statements,
    rescue=None,
    carry_out=kill_client.carry_out_kill_client,
    verified_by="SHOW CLIENTS no longer has their ids",
    undo=None,
    no_undo_reason="clients that are cut have to connect again by themselves",
    needs=Capability.KILL_CLIENT,
    look=kill_client.look_for_clients,
)
_SHUTDOWN: OpSpec[Observation] = OpSpec(
    verb=verbs.SHUTDOWN,
    tier=Tier.CUT,
    parameters=shutdown.ShutdownParameters,
    scopes=_POOLERS,
    effects={
        "transaction": (
            "connected clients are cut at once (now), at their next transaction (wait-for-servers) or not at "
            "all (wait-for-clients); new ones are refused"
        ),
        "statement": (
            "connected clients are cut at once (now), at their next statement (wait-for-servers) or not at "
            "all (wait-for-clients); new ones are refused"
        ),
        "session": (
            "connected clients are cut at once (now) or stay until they disconnect; new ones are refused"
        ),
    },
    stand=shutdown.shutdown_standing,
    statements=shutdown.shutdown_statements,
    rescue=None,
    carry_out=carry_out_shutdown,
    verified_by="its sessions end and new logins are refused; while it waits: who is left, read until then",
    undo=None,
    no_undo_reason="a shutdown cannot be revoked; pooldeck start brings it up again",
    absence=Absence.LASTING,
    look=shutdown.look_for_consoles,
)
_SET: OpSpec[Observation] = OpSpec(
    verb=verbs.SET,
    tier=Tier.HARMLESS,
    parameters=settings.SetParameters,
    scopes=_POOLERS,
    effects=dict.fromkeys(_MODES, "as the setting says; nobody is disconnected by the change itself"),
    stand=settings.set_standing,
    statements=settings.set_statements,
    rescue=None,
    carry_out=settings.carry_out_set,
    verified_by="SHOW CONFIG has the new value",
    undo=None,
    no_undo_reason="no statement does, but the old value can be set again: the plan has the command",
    take_back=settings.take_back_set,
)
_CANCEL: OpSpec[backends.Seen] = OpSpec(
    verb=verbs.CANCEL,
    tier=Tier.FELT,
    parameters=backends.BackendParameters,
    scopes=_NODES,
    effects=dict.fromkeys(
        _MODES, "the client gets an error for its query, its transaction fails, and it stays connected"
    ),
    stand=backends.cancel_standing,
    statements=backends.cancel_statements,
    rescue=None,
    carry_out=carry_out_cancel,
    verified_by="pg_stat_activity shows that the query is over",
    undo=None,
    no_undo_reason="a query that is cancelled has to be run again by its client",
    observe_node=backends.observe_backends,
    facts=backends.cancel_facts,
)
_TERMINATE: OpSpec[backends.Seen] = OpSpec(
    verb=verbs.TERMINATE,
    tier=Tier.CUT,
    parameters=backends.BackendParameters,
    scopes=_NODES,
    effects={
        "transaction": "the client in a transaction there is cut; an idle backend is replaced unseen",
        "statement": "the client in a statement there is cut; an idle backend is replaced unseen",
        "session": "the client of that backend is cut",
    },
    stand=backends.terminate_standing,
    statements=backends.terminate_statements,
    rescue=None,
    carry_out=carry_out_terminate,
    verified_by="pg_stat_activity no longer has the backend",
    undo=None,
    no_undo_reason="its transaction is rolled back, and its client has to connect again",
    observe_node=backends.observe_backends,
    facts=backends.terminate_facts,
)

_MEND: OpSpec[Observation] = OpSpec(
    verb=verbs.MEND,
    tier=Tier.HARMLESS,
    parameters=Parameters,
    scopes=_BOTH,
    effects=dict.fromkeys(("transaction", "statement", "session"), "waiting clients go on at once"),
    stand=mend_standing,
    statements=mend_statements,
    rescue=None,
    carry_out=carry_out_mend,
    together=True,
    verified_by="its state reads as not paused, and settings read as before",
    undo=None,
    no_undo_reason="pausing again would be a new pause, to be planned and confirmed as one",
    rescues=True,
    serial="100%",
    look=look_for_left,
    spread=mend_targets,
    outside=_on_suspended(verbs.MEND),
)

_POOLER_VERBS: tuple[OpSpec[Observation], ...] = (
    *(_PAUSE, _RESUME, _RELOAD, _RECONNECT, _DISABLE, _ENABLE),
    *(_KILL, _KILL_CLIENT, _SHUTDOWN, _SET),
)
_NODE_VERBS: tuple[OpSpec[backends.Seen], ...] = (_CANCEL, _TERMINATE)
REGISTRY: Mapping[str, OpSpec[Any]] = MappingProxyType(
    {spec.name: spec for spec in _POOLER_VERBS}
    | {spec.name: spec for spec in _NODE_VERBS}
    | {_MEND.name: _MEND}
    | {ROTATE_SPEC.name: ROTATE_SPEC}
    | {spec.name: spec for spec in CONFIG_SPECS}
    | {RESTART.name: RESTART}
    | {START.name: START}
    | {SWITCHOVER.name: SWITCHOVER}
)
"""By command name, in the order of `verbs.VERBS`."""
