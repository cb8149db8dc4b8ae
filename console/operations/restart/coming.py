"""A process that is to come up: how it is brought there, and by what it will be known. Values only.

A restart and a start differ in nothing else: what is watched, verified and told is `comeback`'s and
`arrival`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from console.config.schema import Bouncer
from console.operations.observe import Observation
from console.operations.process.finding import ProcessLook
from console.operations.process.supervision import Supervision


@dataclass(frozen=True, slots=True)
class Coming:
    """One of them."""

    bouncer: Bouncer
    look: ProcessLook
    """As found before; it has a host and a supervision."""
    command_timeout_s: float
    """For each command on its host."""
    stop: tuple[str, ...]
    """What makes the old process end; (): nothing has to."""
    start: tuple[str, ...]
    identity: Mapping[str, Collection[str]]
    """The values that settings may have; with another one it is another process that answers."""
    differences: Callable[[Observation], tuple[str, ...]]
    """Says what of it is not as it should be."""
    as_wanted: str
    """Said when nothing is, e.g. `settings and databases read as before`."""
    was_down: bool = False
    """There is no old process."""
    has_gap: bool = True
    """Nobody serves for a moment; False: the old process goes on until the new one has taken over."""
    is_gentle: bool = False
    """Nobody waits for it, so only the time between end and start is told."""
    start_in: str | None = None
    """The working folder of the start where there is no old process; None: any."""

    @property
    def supervision(self) -> Supervision:
        """How it is supervised."""
        assert self.look.supervision is not None, "refused before"
        return self.look.supervision

    @property
    def done(self) -> str:
        """What was done to it."""
        return "started" if self.was_down else "restarted"

    @property
    def counted_from(self) -> str:
        """From when the time to the first login counts, for people."""
        return "the stop" if self.has_gap and not self.was_down else "the start"
