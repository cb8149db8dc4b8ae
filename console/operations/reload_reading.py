"""A pooler read back after a RELOAD: what changed, what is not as the files say, who is still let in.

It only asks; what is done about it is decided by whoever sent the RELOAD.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.config.pgbouncer_expect import Expected
from console.errors import NodeError, Phase
from console.operations.observe import Observation, observe
from console.operations.reload_changes import Changes, changes_between
from console.operations.reload_check import mismatches, read_peers
from console.operations.reload_files import ConfigLook
from console.operations.sessions import WriteSession, close_quietly
from console.operations.step import Step, plural, why
from console.poolers.base import Capability

FAILED_RELOAD = "F0000"
"""SQLSTATE of a RELOAD that 1.25 and later know to have failed."""
_NAMES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Reading:
    """A pooler after a RELOAD, against what its files say."""

    after: Observation
    changes: Changes
    """Since before the run."""
    mismatches: tuple[str, ...]
    locked_out: str | None
    """Why a new login to the console is refused; None: it is let in, or that could not be tried."""
    notes: tuple[str, ...] = ()

    @property
    def must_be_mended(self) -> bool:
        """Whether the pooler is worse off than before."""
        return self.changes.fell_to_defaults or self.locked_out is not None

    def problem(self) -> str | None:
        """What is wrong, as a clause; None: all is as the files say."""
        fallen = self.changes.fallen
        if self.changes.fell_to_defaults:
            names = ", ".join(fallen[:_NAMES_SHOWN]) + (", …" if len(fallen) > _NAMES_SHOWN else "")
            return (
                f"{plural(len(fallen), 'setting')} fell back to the compiled default ({names}): "
                "the file could not be read whole"
            )
        if self.locked_out is not None:
            return f"a new login to its console is refused: {self.locked_out}"
        if self.mismatches:
            count = plural(len(self.mismatches), "difference")
            return f"{count} from what the files say: {'; '.join(self.mismatches[:_NAMES_SHOWN])}"
        return None


async def read_after(
    step: Step, session: WriteSession, look: ConfigLook, expected: Expected | None, *, lost: bool
) -> Reading:
    """Read the pooler back.

    Raises:
        NodeError, AdminError: it could not be read.
    """
    fresh = await step.connector.writer(step.target.bouncer) if lost else None
    over = fresh or session
    try:
        limit_s = step.query_timeout_s
        after = await observe(over, step.dialect, step.target.bouncer, timeout_s=limit_s, prober=over)
        peers = None
        if look is not None and look.peers is not None and step.dialect.has(after.version, Capability.PEERS):
            peers = read_peers(await over.show("PEERS", timeout_s=limit_s))
    finally:
        await close_quietly(fresh)
    locked_out, notes = await _try_login(step)
    return Reading(
        after,
        changes_between(step.before, after, expected),
        mismatches(expected, step.before, after, peers) if expected is not None else (),
        locked_out,
        notes,
    )


async def _try_login(step: Step) -> tuple[str | None, tuple[str, ...]]:
    """Log in to the console anew: a reload may have locked its admins out."""
    try:
        session = await step.connector.writer(step.target.bouncer)
    except NodeError as error:
        if error.phase is Phase.AUTH:
            return error.message, ()
        return None, (f"whether a new login is let in could not be tried: {why(error)}",)
    await close_quietly(session)
    return None, ()
