"""Tells what is wrong with a parsed inventory: in words of the file, with the nearest right spelling.

Pure: a parsed TOML document in, mistakes out. Nothing here names a line (`lines` does), and no message
repeats a value that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from console.config.lines import KeyPath
from console.config.policy_schema import Policies, Rules
from console.config.schema import Bouncer, Defaults, Host, Inventory, PostgresNode, Process

_MODELS: Mapping[KeyPath, type[BaseModel]] = {
    (): Inventory,
    ("defaults",): Defaults,
    ("hosts", "*"): Host,
    ("bouncers", "*"): Bouncer,
    ("bouncers", "*", "process"): Process,
    ("postgres", "*"): PostgresNode,
    ("policy",): Policies,
    ("policy", "development"): Rules,
    ("policy", "staging"): Rules,
    ("policy", "production"): Rules,
}
"""Which model reads which table; `*` stands for any key or position."""

_OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "addr": ("tcp", "hostname"),
    "address": ("tcp", "hostname"),
    "listen_addr": ("tcp",),
    "listen_port": ("port",),
    "socket": ("unix",),
    "unix_socket_dir": ("unix",),
    "identity": ("identity_file",),
    "key_file": ("identity_file",),
    "jump": ("proxy_jump",),
    "jump_host": ("proxy_jump",),
    "ssh_host": ("host",),
    "ssh_port": ("port",),
    "known_hosts": ("known_hosts_file",),
    "tags": ("labels",),
    "group": ("peer_group",),
    "ssl": ("sslmode",),
    "tls": ("sslmode",),
    "ca_file": ("sslrootcert",),
    "stats_user": ("monitor_user",),
    "stats_users": ("monitor_user",),
    "admin_users": ("admin_user",),
    "dbname": ("databases",),
    "database": ("databases",),
    "env": ("environment",),
    "timeout": ("connect_timeout_s", "query_timeout_s"),
    "pools": ("bouncers",),
    "poolers": ("bouncers",),
    "servers": ("postgres",),
}
"""What people call things elsewhere, and our names for them."""

_SECRET_WORDS = re.compile(r"passw|passphrase|passwd|\bpwd\b|^pass$|secret|token", re.IGNORECASE)
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")

_SOURCES = "one of none, pgpass, pgpass:FILE, env:NAME, command:COMMAND LINE, keyring:SERVICE"
_VALUE_HINTS: Mapping[str, str] = {
    "password_from": _SOURCES,
    "monitor_password_from": _SOURCES,
    "probe_password_from": _SOURCES,
    "admin_password_from": _SOURCES,
}

_MISSING_HINTS: Mapping[KeyPath, str] = {
    ("fleet",): 'a name for the whole, as in fleet = "payments"',
    ("environment",): "development, staging or production: how strict the confirmations are",
    ("bouncers", "*", "name"): "a name of your choice, used in selectors",
    ("postgres", "*", "name"): "a name of your choice, used in selectors",
    ("postgres", "*", "role"): "primary or replica",
    ("bouncers", "*", "process", "kind"): "systemd, command, docker or swarm",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, at a place of the document."""

    path: KeyPath
    message: str
    hint: str | None = None


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` most likely meant, or None. `prod` means production."""
    lowered = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    if not close and len(word) > 2:
        close = [choice for choice in lowered if choice.startswith(word.lower())][:1]
    return lowered[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """Return `did you mean x?`, or None when nothing is near."""
    near = nearest(word, choices)
    return f"did you mean {near}?" if near is not None else None


def validation_mistakes(error: ValidationError) -> list[Mistake]:
    """Turn what pydantic found into mistakes. A key that is there but misspelt is not told as missing too."""
    found = [details for details in error.errors(include_url=False) if not _is_told_by_checks(details)]
    unknown = [tuple(details["loc"]) for details in found if details["type"] == "extra_forbidden"]
    meant = {(*path[:-1], nearest_key(str(path[-1]), path[:-1])) for path in unknown}
    return [
        _translated(details)
        for details in found
        if not (details["type"] == "missing" and tuple(details["loc"]) in meant)
    ]


def nearest_key(word: str, path: KeyPath) -> str | None:
    """Return the valid key of the table at `path` that `word` most likely meant, or None."""
    valid = keys_at(path)
    for other in _OTHER_WORDS.get(word.lower(), ()):
        if other in valid:
            return other
    return nearest(word, valid)


def keys_at(path: KeyPath) -> tuple[str, ...]:
    """Return the keys that are valid in the table at `path`; () where any key is."""
    model = _MODELS.get(_pattern(path))
    return tuple(model.model_fields) if model else ()


def reader_key(path: KeyPath, document: Mapping[str, Any]) -> str:
    """Write `path` as a reader of the file would: `bouncers[edge-1a].sslmode`, `hosts."db.1".port`.

    A table without a name is told by its place, counted from 1: `bouncers[#3]`.
    """
    text = ""
    value: Any = document
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
            name = value.get("name") if isinstance(value, dict) else None
            text += f"[{name}]" if isinstance(name, str) and name else f"[#{part + 1}]"
        else:
            value = value.get(part) if isinstance(value, dict) else None
            word = part if _BARE_KEY.match(part) else f'"{part}"'
            text += f".{word}" if text else word
    return text


def _is_told_by_checks(details: ErrorDetails) -> bool:
    """The schema's rules on whole tables run only where nothing else is wrong; `checks` tells them always."""
    return details["type"] == "value_error" and _pattern(tuple(details["loc"])) in _MODELS


def _translated(details: ErrorDetails) -> Mistake:
    path: KeyPath = tuple(details["loc"])
    hint = details.get("ctx", {}).get("hint")
    if hint is not None:
        # A rule of `policy_schema`, which says all there is to say.
        return Mistake(path[:-1] if path[-1] == "[key]" else path, details["msg"], hint)
    if path and path[-1] == "[key]":
        return Mistake(path[:-1], _key_name_message(path[:-1]))
    kind = details["type"]
    key = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return Mistake(path, "is missing", _MISSING_HINTS.get(_pattern(path)))
    if kind == "literal_error":
        return _not_one_of(path, details["input"])
    if kind == "string_pattern_mismatch":
        if key in _VALUE_HINTS:
            # The value may be the password itself: never shown.
            return Mistake(path, "does not say where the password comes from", _VALUE_HINTS[key])
        return Mistake(path, _NAME_RULE)
    return Mistake(path, _plain_message(details, path), _VALUE_HINTS.get(key))


_NAME_RULE = "must be letters, digits, '_', '-' and '.', beginning with a letter or digit"


def _key_name_message(path: KeyPath) -> str:
    if "labels" in path:
        return "a label's name must be letters, digits, '_', '-' and '.'"
    return f"the name {_NAME_RULE}"


def _unknown_key(path: KeyPath) -> Mistake:
    key = str(path[-1])
    table = path[:-1]
    if _SECRET_WORDS.search(key):
        return Mistake(
            path,
            "a password is never stored in the inventory; say with password_from where it comes from",
            'as in password_from = "pgpass"; change this password if the file was shared',
        )
    near = nearest_key(key, table)
    if near is not None:
        return Mistake(path, "unknown key", f"did you mean {near}?")
    homes = [
        _table_name(place)
        for place, model in _MODELS.items()
        # An environment's table of rules has no key that [policy] lacks.
        if key in model.model_fields and model is not Rules
    ]
    if homes:
        return Mistake(path, "unknown key here", f"it belongs in {' or '.join(homes)}")
    return Mistake(
        path, "unknown key", f"valid here: {', '.join(keys_at(table))}" if keys_at(table) else None
    )


def _not_one_of(path: KeyPath, value: object) -> Mistake:
    choices = _literal_choices(path)
    listed = ", ".join(choices)
    if not isinstance(value, str):
        return Mistake(path, "must be a text", f"one of {listed}")
    near = nearest(value, choices)
    hint = f"did you mean {near}? valid: {listed}" if near else f"valid: {listed}"
    return Mistake(path, f"{value!r} is not valid", hint)


def _literal_choices(path: KeyPath) -> tuple[str, ...]:
    table, key = path[:-1], path[-1]
    if _pattern(table) not in _MODELS:  # A table whose keys are free, such as `tiers`.
        table, key = table[:-1], table[-1]
    annotation = _MODELS[_pattern(table)].model_fields[str(key)].annotation
    members = (annotation, *get_args(annotation))
    for member in members:
        choices = get_args(member) if get_origin(member) is not None else ()
        if choices and all(isinstance(choice, str) for choice in choices):
            return tuple(str(choice) for choice in choices)
    return ()


_TYPE_MESSAGES: Mapping[str, str] = {
    "string_type": "must be a text in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long: at most 63 characters",
    "int_type": "must be a whole number, without quotes",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number of seconds, without quotes",
    "bool_type": "must be true or false, without quotes",
    "path_type": "must be a path in quotes",
    "too_short": "must not be empty",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": 'must be a list, as in ["a", "b"]',
}


_BOUNDS: Mapping[str, str] = {"port": "must be from 1 to 65535", "max_targets": "must be at least 1"}


def _plain_message(details: ErrorDetails, path: KeyPath) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "tuple_type" and path in (("bouncers",), ("postgres",)):
        return f"must be written [[{path[0]}]], with two brackets, once for each"
    if kind in ("model_type", "dict_type") and len(path) == 2 and isinstance(path[1], int):
        return f"must be a table: [[{path[0]}]]"
    if kind in ("greater_than", "greater_than_equal", "less_than_equal"):
        return _BOUNDS.get(str(path[-1]), "must be above 0 and at most 3600 seconds")
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    return _TYPE_MESSAGES.get(kind, details["msg"][:1].lower() + details["msg"][1:])


def _pattern(path: KeyPath) -> KeyPath:
    """Write `*` for positions and for host names, as `_MODELS` does."""
    return tuple(
        "*" if isinstance(part, int) or (place == 1 and path[0] == "hosts") else part
        for place, part in enumerate(path)
    )


def _table_name(pattern: KeyPath) -> str:
    if not pattern:
        return "the top of the file"
    words = ".".join("NAME" if part == "*" else str(part) for part in pattern)
    if pattern[0] == "hosts":
        return f"[{words}]"
    words = words.replace(".NAME", "")
    return f"[[{words}]]" if pattern[-1] == "*" else f"[{words}]"
