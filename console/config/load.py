"""Finds and reads an inventory: all mistakes at once, each with its line; defaults and paths filled in.

It connects to nothing and does not look whether certificate or key files exist: an inventory is shared
between machines, and the phase that needs a file tells of its absence.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from console.config.checks import semantic_mistakes
from console.config.files import read_bounded
from console.config.lines import key_lines, line_of
from console.config.mistakes import Mistake, reader_key, validation_mistakes
from console.config.paths import XdgPaths
from console.config.schema import SYSTEM_ROOTS, Bouncer, Defaults, Inventory, Login, PostgresNode
from console.errors import InventoryError, Problem, UsageError

FLEET_VARIABLE = "POOLDECK_FLEET"
FILE_NAME = "fleet.toml"

_TOML_PLACE = re.compile(
    r"^(?P<message>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$"
)
_TLS_PATHS = ("sslrootcert", "sslcert", "sslkey")

_Node = TypeVar("_Node", Bouncer, PostgresNode)


def find_inventory(
    explicit: Path | None, *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Path:
    """Return the inventory to use: `--fleet`, `$POOLDECK_FLEET`, `./fleet.toml`, the XDG config folder.

    One that is named (`--fleet`, the variable) must exist: the next place is not tried instead.

    Args:
        explicit: what `--fleet` says; None: it was not given.
        environ: the environment; None: the process's own.
        folder: where `./fleet.toml` is looked for; None: the current folder.

    Raises:
        UsageError: there is none; the message names every place looked at.
    """
    environ = os.environ if environ is None else environ
    next_step = (
        "make one with `pooldeck inventory import /etc/pgbouncer/pgbouncer.ini -o fleet.toml`, "
        "or try a local fleet with `make demo`"
    )
    named = [(explicit, "--fleet")] if explicit else []
    if not named and environ.get(FLEET_VARIABLE):
        named = [(Path(environ[FLEET_VARIABLE]), f"${FLEET_VARIABLE}")]
    for path, origin in named:
        if not path.expanduser().exists():
            raise UsageError(f"{origin} names {path}, which does not exist", hint=next_step)
        return path.expanduser()
    places = [
        (Path.cwd() if folder is None else folder) / FILE_NAME,
        XdgPaths(environ).config_path / FILE_NAME,
    ]
    for path in places:
        if path.exists():
            return path
    looked = f"--fleet (not given), ${FLEET_VARIABLE} (not set), {places[0]}, {places[1]}"
    raise UsageError(f"there is no inventory; looked at {looked}", hint=next_step)


def load_inventory(path: Path) -> Inventory:
    """Read and check an inventory; what a node leaves out is taken from `[defaults]`.

    Local paths in the result are absolute: relative ones count from the inventory's folder, `~` is the
    home folder. `sslrootcert = "system"` is kept. Paths on a remote host stay as they are.

    Raises:
        InventoryError: the file cannot be read, or has mistakes: all of them, in file order.
    """
    text = _read(path)
    document = _parse(path, text)
    mistakes = semantic_mistakes(document)
    inventory = None
    try:
        inventory = Inventory.model_validate(document)
    except ValidationError as error:
        mistakes.extend(validation_mistakes(error))
    if mistakes or inventory is None:
        # `from None`: pydantic's error repeats input, which may be a password somebody wrote here.
        raise InventoryError(_placed(path, text, document, mistakes)) from None
    return _completed(inventory, path.absolute().parent)


def _read(path: Path) -> str:
    try:
        content = read_bounded(path)
    except FileNotFoundError:
        raise _whole_file(path, "the file does not exist", None) from None
    except IsADirectoryError:
        raise _whole_file(path, "is a folder, not a file", f"did you mean {path / FILE_NAME}?") from None
    except OSError as error:
        raise _whole_file(path, f"cannot be read: {error.strerror or error}", None) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(str(path), line, "", "is not UTF-8 text", "save the file as UTF-8")
        raise InventoryError((problem,)) from None


def _whole_file(path: Path, message: str, hint: str | None) -> InventoryError:
    return InventoryError((Problem(str(path), None, "", message, hint),))


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _whole_file(path, "not TOML we can read: its brackets nest too deeply", None) from None
    except tomllib.TOMLDecodeError as error:
        found = _TOML_PLACE.match(str(error))
        lines = text.splitlines() or [""]
        line = int(found["line"]) if found and found["line"] else len(lines)
        column = int(found["column"]) if found and found["column"] else len(lines[-1]) + 1
        message = found["message"] if found else str(error)
        problem = Problem(str(path), line, "", f"not TOML: {message}", _syntax_hint(lines, line), column)
        raise InventoryError((problem,)) from None


def _syntax_hint(lines: list[str], line: int) -> str | None:
    """The mistake people make most: a text without quotes."""
    text = lines[line - 1] if line <= len(lines) else ""
    _, equals, value = text.partition("=")
    word = value.strip()
    if equals and word and re.match(r"[A-Za-z/~]", word) and word not in ("true", "false"):
        return "texts stand in quotes"
    return None


def _placed(
    path: Path, text: str, document: Mapping[str, Any], mistakes: list[Mistake]
) -> tuple[Problem, ...]:
    lines = key_lines(text)
    problems = dict.fromkeys(
        Problem(
            file=str(path),
            line=line_of(lines, mistake.path),
            key=reader_key(mistake.path, document),
            message=mistake.message,
            hint=mistake.hint,
        )
        for mistake in mistakes
    )
    return tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.key)))


def _completed(inventory: Inventory, folder: Path) -> Inventory:
    defaults = inventory.defaults.model_copy(
        update=_local_paths(inventory.defaults, folder, _TLS_PATHS) | _sources(inventory.defaults, folder)
    )
    hosts = {
        name: host.model_copy(update=_local_paths(host, folder, ("identity_file", "known_hosts_file")))
        for name, host in inventory.hosts.items()
    }
    return inventory.model_copy(
        update={
            "defaults": defaults,
            "hosts": hosts,
            "bouncers": tuple(_complete_node(node, defaults, folder) for node in inventory.bouncers),
            "postgres": tuple(_complete_node(node, defaults, folder) for node in inventory.postgres),
        }
    )


def _complete_node(node: _Node, defaults: Defaults, folder: Path) -> _Node:
    update = _local_paths(node, folder, _TLS_PATHS) | _sources(node, folder)
    if node.unix is not None and node.host is None:
        update |= _local_paths(node, folder, ("unix",))
    update |= _from_defaults(node, defaults)
    return node.model_copy(update={**update, "labels": {**defaults.labels, **node.labels}})


def _from_defaults(node: _Node, defaults: Defaults) -> dict[str, Any]:
    keys = ["connect_timeout_s", "query_timeout_s", "password_from"]
    if isinstance(node, Bouncer):
        keys += ["monitor_user", "admin_user", "probe_user", "probe_database"]
        if node.password_from is None:
            # A node's own password_from beats the defaults' source for one of its users.
            keys += ["monitor_password_from", "admin_password_from", "probe_password_from"]
    if node.unix is None:
        # libpq speaks no TLS on a Unix socket, so a fleet-wide sslmode does not mean these nodes.
        keys += ["sslmode", *_TLS_PATHS]
    return {key: getattr(defaults, key) for key in keys if getattr(node, key) is None}


def _local_paths(model: BaseModel, folder: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Return the paths among `keys` made absolute; `system` and abstract sockets are no paths."""
    values = {key: getattr(model, key) for key in keys}
    return {
        key: _absolute(value, folder)
        for key, value in values.items()
        if value is not None and value != SYSTEM_ROOTS and not str(value).startswith("@")
    }


def _sources(login: Login | PostgresNode, folder: Path) -> dict[str, Any]:
    """Return the password sources that name a file, with that file made absolute."""
    keys = [key for key in type(login).model_fields if key.endswith("password_from")]
    values = {key: getattr(login, key) for key in keys}
    return {
        key: f"pgpass:{_absolute(Path(value.removeprefix('pgpass:')), folder)}"
        for key, value in values.items()
        if value is not None and value.startswith("pgpass:")
    }


def _absolute(path: Path, folder: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError:  # `~name` of a user this machine does not have
        return folder / path
