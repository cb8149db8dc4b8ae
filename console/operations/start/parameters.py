"""What START is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from console.operations.spec import Parameters


class StartParameters(Parameters):
    """`timeout_s`: from its start until it serves."""

    timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    expect_version: Annotated[str, Field(pattern=r"^(\d+\.\d+(\.\d+)?)?$")] = ""
    """What it must be, e.g. `1.26`; "": what the start takes."""

    @property
    def start_timeout_s(self) -> float:
        """As RESTART calls it."""
        return self.timeout_s
