"""Starts guardians: each a child in a session of its own, at the other end of a socket pair.

No order and no secret is in its arguments; it finds passwords where the inventory says, as this process does.
What is said to it is `conversation`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from console.audit.actor import Actor
from console.config.schema import Inventory
from console.errors import DeadlineError, NodeError, Phase
from console.operations.lease.base import LeaseOrder, Tell
from console.operations.lease.conversation import GuardianLease
from console.operations.lease.protocol import Hello, Limits
from console.operations.lease.store import LeaseStore, ProcessMark

ARM_SHARE = 0.75
"""Of the time for arming, so much is for sessions and keepers; the rest for the process to start."""
LOG_MAX_BYTES = 262_144


class GuardianLeases:
    """Starts guardians; a `Leases`."""

    def __init__(
        self,
        inventory: Inventory,
        command: Sequence[str],
        state_dir: Path,
        *,
        actor: Actor,
        limits: Limits | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            inventory: the fleet.
            command: argv of the guardian; the number of its end of the socket pair is added to it, and
                the word `ssh` when bouncers are reached so.
            state_dir: where its log goes, and its lease files are.
            actor: this process.
            limits: how patient it is; None: as patient as it should be.
        """
        self._inventory = inventory
        self._command = tuple(command)
        self._needs = ("ssh",) if any(bouncer.host for bouncer in inventory.bouncers) else ()
        """What it had better load before its order comes."""
        self._log_path = state_dir / "guardian.log"
        self._store = LeaseStore(state_dir)
        self._actor = actor
        self._limits = limits or Limits()
        self._spare: asyncio.Future[tuple[socket.socket, _Guardian]] | None = None

    def prepare(self) -> None:
        """Start a guardian that waits for an order, e.g. while a plan is read; arming is quicker then.

        It ends by itself when this process does, or when no order comes. Safe to call often.
        """
        if self._spare is None:
            self._spare = asyncio.ensure_future(asyncio.to_thread(self._start))

    def dismiss(self) -> None:
        """End one that was started ahead and is not wanted; safe to call often."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.add_done_callback(_hang_up)

    async def arm(
        self,
        order: LeaseOrder,
        tell: Tell,
        *,
        timeout_s: float,
        progress: Callable[[str], None] | None = None,
    ) -> GuardianLease:
        """See `Leases.arm`."""
        ends_s = asyncio.get_running_loop().time() + timeout_s
        link, process = await self._started()
        lease = GuardianLease(order, tell, link, process.pid, self._store, progress)
        try:
            async with asyncio.timeout_at(ends_s):
                await lease.begin(self._hello(order, timeout_s))
        except TimeoutError:
            lease.abandon()
            raise DeadlineError(
                Phase.CONNECT,
                f"the guardian did not stand by within {timeout_s:g} s",
                limit_s=timeout_s,
                hint=f"its log is {self._log_path}",
            ) from None
        except NodeError as error:
            lease.abandon()
            error.hint = error.hint or f"its log is {self._log_path}"
            raise
        except BaseException:
            lease.abandon()
            raise
        return lease

    async def _started(self) -> tuple[socket.socket, _Guardian]:
        """Return the one that was started ahead if it still waits, else a new one.

        Raises:
            NodeError: none can be started.
        """
        while True:
            ahead = self._spare is not None
            self.prepare()
            starting, self._spare = self._spare, None
            assert starting is not None, "prepared"
            try:
                link, process = await asyncio.shield(starting)
            except OSError as error:
                raise NodeError(
                    Phase.CONNECT, f"the guardian cannot be started: {error.strerror or error}"
                ) from error
            except asyncio.CancelledError:
                starting.add_done_callback(_hang_up)
                raise
            if ahead and process.returncode is not None:
                link.close()  # it waited for too long
                continue
            return link, process

    def _hello(self, order: LeaseOrder, timeout_s: float) -> Hello:
        covered = {cover.target.bouncer for cover in order.covers}
        bouncers = tuple(one for one in self._inventory.bouncers if one.name in covered)
        inventory = self._inventory.model_copy(update={"bouncers": bouncers, "postgres": ()})
        limits = replace(self._limits, arm_s=min(self._limits.arm_s, timeout_s * ARM_SHARE))
        owner = asdict(ProcessMark.of(self._actor))
        return Hello(order, inventory.model_dump(mode="json"), limits, owner)

    def _start(self) -> tuple[socket.socket, _Guardian]:
        """Start the process; blocks.

        Raises:
            OSError: it cannot be started.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with its, self._log_file() as log:
            try:
                process = _Guardian(
                    [*self._command, str(its.fileno()), *self._needs],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(its.fileno(),),
                    # No terminal's signals, no shell's job control: it outlives whoever started it.
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        # It is reaped whenever it ends, also long after its lease was handed over.
        threading.Thread(target=process.wait, name=f"guardian-{process.pid}", daemon=True).start()
        ours.setblocking(False)
        return ours, process

    def _log_file(self) -> BinaryIO:
        """Return the guardians' log, opened to append to; a long one is put aside first."""
        with contextlib.suppress(FileNotFoundError):
            if self._log_path.stat().st_size > LOG_MAX_BYTES:
                self._log_path.replace(self._log_path.with_suffix(".log.old"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return open(os.open(self._log_path, flags, 0o600), "ab")


class _Guardian(subprocess.Popen[bytes]):
    """A child that outlives us on purpose, so no warning about that when the object goes."""

    def __del__(self) -> None:
        return


def _hang_up(starting: asyncio.Future[tuple[socket.socket, _Guardian]]) -> None:
    """End a guardian that was started for nobody any more: it ends when it is hung up on."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result()[0].close()
