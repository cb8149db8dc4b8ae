"""RESTART of one pooler, by the method that its plan chose."""

from __future__ import annotations

from console.operations.control import Stopped, insist
from console.operations.outcome import TargetReceipt
from console.operations.restart.comeback import Comeback, clients_of
from console.operations.restart.coming_back import coming_back
from console.operations.restart.drain import carry_out_drain
from console.operations.restart.look import RestartLook
from console.operations.restart.methods import Method
from console.operations.restart.rolling import carry_out_rolling
from console.operations.restart.takeover import carry_out_takeover
from console.operations.sessions import close_quietly
from console.operations.step import Step


async def carry_out_restart(step: Step) -> TargetReceipt:
    """Restart the pooler of `step`.

    Raises:
        NodeError: it could not be made sure of; nothing was sent. Stopped: likewise.
    """
    found: RestartLook = step.ask.found
    by_method = {
        Method.ROLLING: carry_out_rolling,
        Method.TAKEOVER: carry_out_takeover,
        Method.DRAIN: carry_out_drain,
    }
    return await by_method.get(found.choice.method, _plain)(step)


async def _plain(step: Step) -> TargetReceipt:
    """Stop and start."""
    watch = await step.connector.reader(step.target.bouncer)
    try:
        await step.check_process(watch)
    finally:
        await insist(lambda: close_quietly(watch))
    if step.control.stopped:
        raise Stopped
    comeback = Comeback(step, coming_back(step), cut=clients_of(step))

    async def act() -> TargetReceipt:
        return await comeback.launch() or await _to_the_end(comeback)

    return await insist(act)


async def _to_the_end(comeback: Comeback) -> TargetReceipt:
    limit_s = comeback.step.parameters.start_timeout_s
    return await comeback.until_ended(limit_s) or await comeback.complete()
