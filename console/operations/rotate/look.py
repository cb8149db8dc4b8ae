"""The look of a rotation on one pooler: its files and settings, read into a layout. It only asks.

It rests on RELOAD's look, which reads and judges every file that a RELOAD would; contents stay in memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from console.config.pgbouncer_ini import Entry, IniError
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import HostFile, scan
from console.config.schema import Bouncer
from console.config.scram import SecretKind
from console.model.rows import Setting
from console.operations.closing import Door, look_at_door
from console.operations.observe import Observation
from console.operations.reload_files import ConfigLook, look_at_files
from console.operations.rotate.layout import STAR, Known, Line, Place, places_of
from console.operations.rotate.secret_files import SecretFile, inline_files, why_not_editable
from console.operations.spec import Look

_HBA_METHOD = re.compile(
    rb"(?m)^\s*(?:local|host|hostssl|hostnossl)\s[^#\n]*?\s([a-z0-9-]+)\s*(?:map=\S+\s*)?(?:#.*)?$"
)


@dataclass(frozen=True, slots=True)
class RotateLook:
    """What was found. Implements `console.operations.spec.Found`."""

    config: ConfigLook
    bouncer: Bouncer
    places: tuple[Place, ...] = ()
    known: Known | None = None
    """None: its files could not be read or are not good, and `why_not` says why."""
    why_not: str | None = None
    auth_file: HostFile | None = None
    users: int = 0
    """Entries of the auth_file."""
    door: Door = field(default_factory=Door)
    """Whether it shuts down: then it must not be paused."""
    entry_hash: str | None = None
    """SHA-256 of the role's secret in it; good for nothing but telling whether two are the same."""
    inline: tuple[SecretFile, ...] = ()
    """The ini files with the role's password."""
    uneditable: str | None = None
    """Why these cannot be changed by machine; None: they can."""

    @property
    def facts(self) -> Mapping[str, str]:
        """The files' hashes, and the layout; no secrets."""
        layout = {f"role at {place.database}": place.text for place in self.places}
        return {**self.config.facts, **self.door.facts, **layout}


async def look_at_role(look: Look) -> RotateLook:
    """Read how the target knows the role.

    Raises:
        NodeError: the pooler did not answer. What is wrong with its host is in what is returned.
    """
    assert isinstance(look.node, Bouncer), "a rotation is planned on poolers"
    config = await look_at_files(look)
    why_not = _unusable(config)
    if why_not is not None:
        return RotateLook(config, look.node, why_not=why_not)
    role, seen = look.parameters.role, look.observation
    known = known_of(role, config, seen)
    assert config.texts is not None, "read, or it would be unusable"
    assert config.lint is not None, "judged, or it would be unusable"
    users = config.lint.users
    entry = users.by_name.get(role) if users is not None else None
    inline = inline_files(config.texts, role)
    return RotateLook(
        config,
        look.node,
        places_of(known, seen.databases),
        known,
        None,
        config.texts.files.get(known.auth_file) if known.auth_file is not None else None,
        len(users.users) if users is not None else 0,
        await look_at_door(look),
        entry.fingerprint if entry is not None else None,
        inline,
        await asyncio.to_thread(why_not_editable, config.texts, inline),
    )


def _unusable(config: ConfigLook) -> str | None:
    if config.unread is not None:
        return f"its files cannot be read: {config.unread}"
    lint = config.lint
    assert lint is not None, "read, so judged"
    for found, what in ((lint.errors, "an error"), (lint.unread, "something unread")):
        if found:
            return f"its files have {what}, so a RELOAD would not do what is meant: {found[0]}"
    return None


def known_of(role: str, config: ConfigLook, seen: Observation) -> Known:
    """Return what the files and settings say of a role; they were read and judged."""
    texts, lint = config.texts, config.lint
    assert texts is not None, "read before"
    assert lint is not None, "judged before"
    found, _ = scan(texts)
    settings = seen.config
    own_auth_user = _value(settings, "auth_user") or None
    lines = {entry.key: _line(entry, own_auth_user) for entry in found.ini.effective("databases").values()}
    path = _value(settings, "auth_file")
    entry = lint.users.by_name.get(role) if lint.users is not None else None
    hba = _value(settings, "auth_hba_file")
    content = texts.file(hba).content if hba and _value(settings, "auth_type") == "hba" else None
    return Known(
        role=role,
        auth_type=_value(settings, "auth_type"),
        entry=None if entry is None else SecretKind.EMPTY if entry.empty else entry.kind,
        lines={name: line for name, line in lines.items() if name != STAR},
        star=lines.get(STAR),
        hba_methods=frozenset(method.decode() for method in _HBA_METHOD.findall(content or b"")),
        console_users=_names(settings, "admin_users") | _names(settings, "stats_users"),
        auth_file=texts.absolute(path) if path else None,
    )


def _line(entry: Entry, own_auth_user: str | None) -> Line:
    try:
        pairs = dict(connection_pairs(entry))
    except IniError:
        pairs = {}
    return Line(
        name=entry.key,
        force_user=pairs.get("user"),
        has_password="password" in pairs,
        auth_user=pairs.get("auth_user") or own_auth_user,
        host=pairs.get("host"),
        port=int(port) if (port := pairs.get("port", "")).isascii() and port.isdigit() else None,
        dbname=pairs.get("dbname"),
    )


def _value(settings: Mapping[str, Setting], key: str) -> str:
    found = settings.get(key)
    return (found.value or "") if found is not None else ""


def _names(settings: Mapping[str, Setting], key: str) -> frozenset[str]:
    return frozenset(re.split(r"[\s,]+", _value(settings, key))) - {""}
