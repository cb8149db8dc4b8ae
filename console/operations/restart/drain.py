"""Drain: PAUSE under a lease until no transaction is open, then stop and start.

The pause ends with the process, so nothing is resumed when all goes well. Until the stop the guardian and the
keeper stand by as for every pause; afterwards they find another process, and leave it alone (trap T21).
"""

from __future__ import annotations

from dataclasses import replace

from console.errors import AdminError, NodeError
from console.operations.control import Stopped, insist
from console.operations.lease.base import Lease
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.pausing import Ending, NotHeld, PauseRefused, Pausing
from console.operations.restart.comeback import Comeback, clients_of
from console.operations.restart.coming_back import coming_back
from console.operations.step import Step, why


async def carry_out_drain(step: Step) -> TargetReceipt:
    """PAUSE under a lease, then stop and start: the new process is not paused, so nothing is resumed."""
    lease = step.lease
    assert lease is not None, "a guardian stands by for what has a rescue"
    pausing = Pausing(step)
    exposed = False
    try:
        await step.control.wait(pausing.open())
        lease.expose([step.target])
        exposed = True
        return await insist(lambda: _drained(step, pausing, lease))
    finally:
        await insist(pausing.close)
        if not exposed:
            await insist(lambda: lease.release([step.target]))


async def _drained(step: Step, pausing: Pausing, lease: Lease) -> TargetReceipt:
    ending = await _pause(pausing)
    if ending is None:
        lease.held([step.target])
        ending = await _still_held(pausing, lease)
    if ending is not None:
        return await _resumed(step, pausing, lease, ending)
    step.tell(EventKind.HELD, "paused and drained: no transaction is open")
    comeback = Comeback(step, coming_back(step), cut=clients_of(step))
    receipt = await comeback.launch() or await comeback.until_ended(step.parameters.start_timeout_s)
    if receipt is None:
        if comeback.ended:
            # The pause ended with its process; the new one has none.
            await lease.release([step.target])
        receipt = await comeback.complete()
        if comeback.ended or receipt.outcome is Outcome.OK:
            await lease.release([step.target])
            return receipt
    undone = await _resumed(step, pausing, lease, Ending(receipt.detail, interrupted=receipt.interrupted))
    return replace(undone, log=receipt.log, next_steps=(*receipt.next_steps, *undone.next_steps))


async def _pause(pausing: Pausing) -> Ending | None:
    """Pause; None when it is held."""
    try:
        await pausing.pause()
    except PauseRefused as error:
        pausing.refused = True
        return Ending(f"PAUSE was refused: {error}")
    except NotHeld as error:
        return Ending(str(error))
    except (NodeError, AdminError) as error:
        return Ending(why(error))
    except Stopped:
        return Ending("interrupted", interrupted=True)
    return None


async def _still_held(pausing: Pausing, lease: Lease) -> Ending | None:
    """Look once more right before the stop, which would cut whoever is served by now."""
    step = pausing.step
    if step.control.stopped:
        return Ending("interrupted", interrupted=True)
    if lease.lost.is_set():
        return Ending("its guardian ended")
    try:
        held = await pausing.still_paused()
    except (NodeError, AdminError) as error:
        return Ending(why(error))
    return None if held else Ending("somebody resumed it meanwhile")


async def _resumed(step: Step, pausing: Pausing, lease: Lease, ending: Ending) -> TargetReceipt:
    receipt = await pausing.end(ending)
    if receipt.after is not None and receipt.after != "paused":
        await lease.release([step.target])
    if receipt.outcome is Outcome.SKIPPED:
        return receipt
    return step.late(receipt)
