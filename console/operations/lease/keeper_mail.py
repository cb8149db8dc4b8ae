"""What is asked on one host at about the same time goes there as one command.

Each command is a login, a shell and a Python that reads the program: on a host with dozens of bouncers, with
a keeper of each to be renewed every few seconds, one for each would take the poolers' own CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from console.errors import NodeError, Phase
from console.operations.lease.keeper_program import run_program
from console.transport.base import Transport

GATHER_S = 0.02
"""How long a question waits for others to the same host."""


@dataclass(frozen=True, slots=True)
class _Letter:
    name: str
    task: Mapping[str, Any]
    timeout_s: float
    answer: asyncio.Future[dict[str, Any]]


@dataclass(slots=True)
class _Post:
    """What goes to one host as one command."""

    letters: list[_Letter] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None


class KeeperMail:
    """Asks the keepers' program on hosts. Safe to call concurrently."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._gathering: dict[str, _Post] = {}

    async def ask(self, host: str, name: str, task: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Carry out one task on a host and return its answer; `name` is for the process list there.

        Raises:
            NodeError: no way there, no python3, or what the task itself says. DeadlineError: likewise.
        """
        post = self._gathering.get(host)
        if post is None:
            post = self._gathering[host] = _Post()
            post.sending = asyncio.create_task(self._send(host, post), name=f"keepers on {host}")
        letter = _Letter(name, task, timeout_s, asyncio.get_running_loop().create_future())
        post.letters.append(letter)
        try:
            answer = await letter.answer
        finally:
            if all(each.answer.done() for each in post.letters) and post.sending is not None:
                # Nobody waits for it any more.
                post.sending.cancel()
        error = answer.get("error")
        if error is not None:
            raise NodeError(Phase(answer["phase"]), str(error), where=f"keeper on {host}")
        return answer

    async def _send(self, host: str, post: _Post) -> None:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            del self._gathering[host]
        letters = [letter for letter in post.letters if not letter.answer.done()]
        try:
            answers = await self._answers(host, letters)
        except Exception as error:
            for letter in letters:
                if not letter.answer.done():
                    letter.answer.set_exception(error)
            return
        for letter, answer in zip(letters, answers, strict=True):
            if not letter.answer.done():
                letter.answer.set_result(answer)

    async def _answers(self, host: str, letters: Sequence[_Letter]) -> list[dict[str, Any]]:
        if len(letters) == 1:
            (one,) = letters
            return [await run_program(self._transport, host, one.name, one.task, timeout_s=one.timeout_s)]
        found = await run_program(
            self._transport,
            host,
            f"{len(letters)} keepers",
            {"task": "several", "tasks": [letter.task for letter in letters]},
            timeout_s=max(letter.timeout_s for letter in letters),
        )
        if "error" in found:
            return [found] * len(letters)
        answers: list[dict[str, Any]] = found["answers"]
        return answers
