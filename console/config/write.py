"""Writes an inventory as a `fleet.toml` that people can read on.

It never replaces a file unless told to, and leaves either the old text or the whole new one. An inventory
holds no secret, so the file's mode is what the umask allows.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from console.config.schema import Inventory
from console.errors import UsageError

_FIRST_KEYS = ("name", "role", "host", "tcp", "unix", "port")
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


def inventory_toml(inventory: Inventory, *, comments: Sequence[str] = ()) -> str:
    """Return `inventory` as TOML: only what is set and differs from the schema's defaults.

    Args:
        inventory: what to write.
        comments: lines to stand at the top, without `#`.
    """
    lines = [f"# {comment}".rstrip() for comment in comments]
    blocks = ["\n".join(lines) + "\n"] if lines else []
    blocks.append(_pairs({"fleet": inventory.fleet, "environment": inventory.environment}))
    blocks.extend(_table("[defaults]", "defaults", _set_values(inventory.defaults)))
    for name, host in inventory.hosts.items():
        key = name if _BARE_KEY.match(name) else f'"{name}"'
        values = _set_values(host)
        blocks.extend(_table(f"[hosts.{key}]", "", values) or [f"[hosts.{key}]\n"])
    blocks.extend(_table("[policy]", "policy", _set_values(inventory.policy)))
    nodes: list[tuple[str, BaseModel]] = [("bouncers", node) for node in inventory.bouncers]
    nodes += [("postgres", node) for node in inventory.postgres]
    for array, node in nodes:
        blocks.extend(_table(f"[[{array}]]", array, _set_values(node)))
    return "\n".join(blocks)


def write_inventory(
    path: Path, inventory: Inventory, *, force: bool = False, comments: Sequence[str] = ()
) -> None:
    """Write `inventory` to `path`, whole or not at all.

    Raises:
        UsageError: the file exists and `force` is False, or it cannot be written.
    """
    target = path.resolve() if force else path
    draft = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        _write_new(draft, inventory_toml(inventory, comments=comments))
        if force:
            draft.replace(target)
        else:
            # A link fails where a rename would replace a file that appeared meanwhile.
            os.link(draft, target)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already, and nothing was written",
            hint="name another file with -o, or add --force",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            draft.unlink()


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _set_values(model: BaseModel) -> dict[str, Any]:
    values = model.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    first = {key: values[key] for key in _FIRST_KEYS if key in values}
    return first | values


def _table(header: str, name: str, values: Mapping[str, Any]) -> Iterable[str]:
    """Return a table and the tables inside it; nothing when it is empty."""
    if not values:
        return []
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    inner = {key: value for key, value in values.items() if isinstance(value, dict)}
    blocks = [f"{header}\n{_pairs(plain)}"] if plain or header.startswith("[[") else []
    for key, value in inner.items():
        blocks += _table(f"[{name}.{key}]", f"{name}.{key}", value)
    return blocks


def _pairs(values: Mapping[str, Any]) -> str:
    return tomli_w.dumps(values, multiline_strings=False)
