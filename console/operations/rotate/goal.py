"""What a run of a rotation is to bring about: the new secret everywhere, or the old one again.

Pure. A rotation, its `--resume` and its `--undo` are the same steps with another goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Goal:
    """How everything is to be in the end."""

    stored: Mapping[str, str | None] = field(repr=False)
    """The verifier by Postgres node; None: not known, so it cannot be brought about there."""
    contents: Mapping[str, Mapping[str, bytes]] = field(repr=False)
    """The files by pooler and path, as the pooler opens them."""
    secret: SecretStr | None
    """What opens it; None: not known here, so no login can be tried."""
    other: SecretStr | None
    """What must not open it any more; None: not known here."""
