"""The look of a rotation with two roles on one pooler: both roles' layouts, who uses them, the edit.

It only asks. The real secret is not known yet, so the edit is tried with another one: whether it can be made,
and whether what comes out is good, does not depend on that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace

from console.config.pgbouncer_edit import changed_paths
from console.config.pgbouncer_texts import ConfigTexts
from console.errors import UsageError
from console.model.rows import Client, Server
from console.operations.config_files import HostFiles
from console.operations.reload_files import ConfigReader
from console.operations.rotate.layout import Place, places_of
from console.operations.rotate.look import RotateLook, known_of, look_at_role
from console.operations.rotate.parameters import RotateParameters
from console.operations.rotate.two_roles import Half, half_of
from console.operations.rotate.two_roles_edit import (
    Pooler,
    ini_changes,
    is_listed,
    scrambled,
    stand_in_secret,
    told,
    with_second,
    without,
)
from console.operations.spec import Look

_USER = 2
"""The column of a rule that says who."""


@dataclass(frozen=True, slots=True)
class TwoRolesLook(RotateLook):
    """What was found; all that it inherits is of the first role. Implements `spec.Found`."""

    new_places: tuple[Place, ...] = ()
    """Of the second role."""
    new_listed: bool = False
    """The second role has an entry of the auth_file."""
    paths: tuple[str, ...] = ()
    """Files that are changed; of an undo, those that may be."""
    lines: tuple[str, ...] = ()
    """What is changed in them, for people."""
    forces: tuple[str, ...] = ()
    """Options of ini files that name the first role now."""
    hba_names_it: bool = False
    """A rule of the auth_hba_file names the first role and none the second."""
    refused: str | None = None
    """Why the files cannot be changed."""
    clients: tuple[Client, ...] = ()
    """Of either role."""
    servers: tuple[Server, ...] = ()
    """Likewise."""
    pooler: Pooler | None = None
    """For the edit; None: the files were not read."""


async def look_at_two_roles(look: Look) -> TwoRolesLook:
    """Read how the target knows both roles.

    Raises:
        NodeError: the pooler did not answer. What is wrong with its host is in what is returned.
    """
    asked: RotateParameters = look.parameters
    seen = look.observation
    old = await look_at_role(look)
    found = TwoRolesLook(**{one.name: getattr(old, one.name) for one in fields(old)})
    if old.why_not is not None or old.config.texts is None:
        return found
    clients = look.dialect.parse_clients(await look.session.show("CLIENTS", timeout_s=look.timeout_s))
    servers = look.dialect.parse_servers(await look.session.show("SERVERS", timeout_s=look.timeout_s))
    roles = {asked.role, asked.to}
    pooler = Pooler(seen.version, seen.config)
    texts = old.config.texts
    found = replace(
        found,
        pooler=pooler,
        new_places=places_of(known_of(asked.to, old.config, seen), seen.databases),
        new_listed=is_listed(texts, pooler, asked.to),
        hba_names_it=_hba_names(texts, pooler, asked),
        clients=tuple(one for one in clients if one.user in roles),
        servers=tuple(one for one in servers if one.user in roles),
    )
    try:
        return await _edited(look, found, texts, pooler)
    except UsageError as error:
        where = f"{error.where}: " if error.where else ""
        return replace(found, refused=f"{where}{error.message}")


async def _edited(look: Look, found: TwoRolesLook, texts: ConfigTexts, pooler: Pooler) -> TwoRolesLook:
    asked: RotateParameters = look.parameters
    secret = stand_in_secret()
    changes = ini_changes(texts, pooler, asked.role, asked.to, secret.clear)
    found = replace(found, forces=tuple(str(change.key) for change in changes if change.value == asked.to))
    half = half_of(asked)
    if half is Half.UNDO:
        return found
    if half is Half.FINISH:
        made = await asyncio.to_thread(
            lambda: without(scrambled(texts, pooler, asked.role), pooler, asked.role)
        )
        lines: tuple[str, ...] = ()
    else:
        made = await asyncio.to_thread(with_second, texts, pooler, asked.role, asked.to, secret)
        lines = told(changes)
    paths = changed_paths(texts, made)
    own = pooler.auth_file(texts)
    if own in paths:
        word = f"the entry of {asked.role} goes" if half is Half.FINISH else f"an entry of {asked.to}"
        lines = (f"{own}: {word}", *lines)
    reader = ConfigReader(_host(found), look.observation, found.bouncer, found.config.timeout_s)
    judged = await reader.judge(await reader.gather(made))
    wrong = (*judged.errors, *judged.unread)
    refused = f"the files as they would be have an error: {wrong[0]}" if wrong else None
    return replace(found, paths=paths, lines=lines, refused=refused)


def _host(found: RotateLook) -> HostFiles:
    assert found.config.host is not None, "its files were read"
    return found.config.host


def _hba_names(texts: ConfigTexts, pooler: Pooler, asked: RotateParameters) -> bool:
    """Say whether rules are for the first role by its name; those for the second would be missing."""
    path = pooler.value("auth_hba_file")
    content = texts.file(path).content if path and pooler.value("auth_type") == "hba" else None
    rules = (
        line.partition("#")[0].split()
        for line in (content or b"").decode("utf-8", "surrogateescape").splitlines()
    )
    users = (name.strip('"') for rule in rules if len(rule) > _USER for name in rule[_USER].split(","))
    words = set(users)
    return asked.role in words and asked.to not in words
