"""Version numbers of poolers and servers, ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """`1.24.1`, compared as numbers. `text` is what the product called itself and does not count."""

    major: int
    minor: int
    patch: int = 0
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """Read the first `X.Y[.Z]` in a text such as `PgBouncer 1.24.1`.

        >>> str(Version.parse("PgBouncer 1.24.1"))
        '1.24.1'
        >>> Version.parse("no number") is None
        True
        """
        found = _NUMBER.search(text)
        if found is None:
            return None
        return cls(int(found[1]), int(found[2]), int(found[3] or 0), text=text)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
