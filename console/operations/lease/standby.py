"""The keepers of one lease, in its guardian's hand: armed together, renewed while it lives, then let go.

A keeper is a second net (see `keepers`): where none can be had the lease is weaker, and says so; nothing
fails. While the guardian lifts a target it no longer renews that target's keeper, so that this one helps
should the guardian not get through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from pydantic import SecretStr

from console.config.credentials import Passwords
from console.config.schema import Bouncer, Inventory
from console.errors import NodeError, PooldeckError
from console.model.derive import ADMIN_DATABASE
from console.operations.lasting import Tally
from console.operations.lease.base import LeaseOrder
from console.operations.lease.keeper_order import order_for
from console.operations.lease.keepers import (
    Keeper,
    KeeperOutcome,
    KeeperOver,
    KeeperResult,
    Keepers,
)
from console.operations.lease.store import LeasePhase
from console.operations.lease.watch import Guarded
from console.operations.step import why
from console.transport.base import Transport

RENEWALS = 4
"""In the time that a keeper waits for its guardian, so that one that is lost or late does no harm."""
_log = logging.getLogger(__name__)


class Standby:
    """The keepers of one lease, by the place of their cover."""

    def __init__(
        self,
        inventory: Inventory,
        order: LeaseOrder,
        transport: Transport,
        passwords: Passwords,
        ttl_s: float,
        tell: Callable[[int, str], None],
    ) -> None:
        """`ttl_s` is `Limits.keeper_s`; `tell` is called with the place of a cover and a text."""
        self._inventory = inventory
        self._bouncers = {bouncer.name: bouncer for bouncer in inventory.bouncers}
        self._order = order
        self._keepers = Keepers(transport)
        self._passwords = passwords
        self._ttl_s = ttl_s
        self._tell = tell
        self._armed: dict[int, Keeper] = {}
        self._silent: set[int] = set()
        """Whose last renewal failed."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Host and key of each."""
        return tuple((keeper.host, keeper.key) for keeper in self._armed.values())

    async def arm(self, guarded: Sequence[Guarded], tally: Tally, *, timeout_s: float) -> tuple[str, ...]:
        """Arm one for each target whose bouncer is reached over SSH; say where there is none, and why.

        Each is counted in `tally`.
        """
        wanted = [one for one in guarded if self._bouncers[one.target.bouncer].host is not None]
        tally.of = len(wanted)
        notes = await asyncio.gather(*(tally.count(self._arm(one, timeout_s)) for one in wanted))
        return tuple(note for note in notes if note is not None)

    async def renew(self, guarded: Sequence[Guarded]) -> None:
        """Renew those of targets that nobody lifts yet, again and again; until cancelled."""
        while True:
            await asyncio.sleep(self._ttl_s / RENEWALS)
            places = [one.place for one in guarded if one.place in self._armed and _waits(one)]
            await asyncio.gather(*(self._renew(place) for place in places))

    async def held(self, one: Guarded) -> None:
        """Tell a target's keeper that it is held; never raises."""
        keeper = self._armed.get(one.place)
        if keeper is None:
            return
        traffic = one.traffic_held or {}
        carried = sum(count for name, count in traffic.items() if one.target.database in (None, name))
        try:
            await keeper.held(carried if one.traffic_held is not None else None)
        except NodeError as error:
            self._fell_silent(one.place, error)

    async def release(self, place: int) -> tuple[str, KeeperResult] | None:
        """End a target's keeper; return its host and how it ended, if it did more than wait. Never raises."""
        keeper = self._armed.pop(place, None)
        if keeper is None:
            return None
        try:
            result = await keeper.release()
        except NodeError as error:
            _log.warning("the keeper %s on %s was not told to end: %s", keeper.key, keeper.host, why(error))
            return None
        if result is None or result.outcome is KeeperOutcome.RELEASED:
            return None
        return keeper.host, result

    async def _arm(self, one: Guarded, timeout_s: float) -> str | None:
        bouncer = self._bouncers[one.target.bouncer]
        assert bouncer.host is not None, "asked for only those"
        try:
            async with asyncio.timeout(timeout_s):
                order = order_for(self._inventory, one.cover, self._order.lease_id, ttl_s=self._ttl_s)
                password = await self._password(bouncer, timeout_s)
                keeper = await self._keepers.arm(bouncer.host, order, password, timeout_s=timeout_s)
        except TimeoutError:
            return f"{one.target}: no keeper on {bouncer.host}: not armed within {timeout_s:g} s"
        except (PooldeckError, ValueError) as error:
            text = why(error) if isinstance(error, PooldeckError) else str(error)
            return f"{one.target}: no keeper on {bouncer.host}: {text}"
        self._armed[one.place] = keeper
        return None

    async def _password(self, bouncer: Bouncer, timeout_s: float) -> SecretStr | None:
        return await self._passwords.password(
            bouncer.admin_password_from or bouncer.password_from,
            user=bouncer.admin_user or "",
            node=bouncer.name,
            host=bouncer.tcp_host or (str(bouncer.unix) if bouncer.unix else None),
            port=bouncer.listen_port,
            database=ADMIN_DATABASE,
            timeout_s=timeout_s,
        )

    async def _renew(self, place: int) -> None:
        keeper = self._armed.get(place)
        if keeper is None:
            return
        try:
            await keeper.renew(self._ttl_s)
        except KeeperOver as error:
            result = error.result
            if result is not None and result.outcome not in (KeeperOutcome.RESUMED, KeeperOutcome.FAILED):
                # At the end of a pause it sees the target run before it is let go; what that means for the
                # lease the guardian sees for itself.
                _log.info("the keeper %s on %s: %s", keeper.key, keeper.host, result.detail)
                return
            self._fell_silent(place, error)
        except NodeError as error:
            self._fell_silent(place, error)
        except Exception:
            # A mistake of ours with one of them must not end the renewal of all.
            _log.exception("the keeper %s on %s", keeper.key, keeper.host)
        else:
            self._silent.discard(place)

    def _fell_silent(self, place: int, error: NodeError) -> None:
        if place not in self._silent:
            self._silent.add(place)
            self._tell(place, f"its keeper does not answer: {why(error)}")


def _waits(one: Guarded) -> bool:
    return one.phase in (LeasePhase.ARMED, LeasePhase.EXPOSED, LeasePhase.HELD)
