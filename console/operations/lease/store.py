"""The lease files: what every guardian of this account stands by, and what a dead one left behind.

One file a lease in `leases/` of the state folder, 0600, replaced whole and synced. A guardian writes its own
and removes it when nothing is left to do; readers (`pooldeck leases`, `mend`, the next start) take them as
they find them. Nothing here speaks with a pooler or a process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from console.audit.actor import Actor
from console.audit.processes import boot_id, is_alive
from console.clock import SystemClock
from console.operations.lease.base import LeaseOrder
from console.operations.target import Target

_FOLDER = "leases"
_MAX_BYTES = 4 * 1024 * 1024


class BootClock(SystemClock):
    """The machine's clock; its monotonic part goes on while the machine sleeps, where it can tell (Linux).

    It means the same in every process until the next boot.
    """

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LeasePhase(StrEnum):
    """What has become of one target."""

    ARMED = "armed"
    """Nothing was sent to it yet."""
    EXPOSED = "exposed"
    """Statements may be on their way to it."""
    HELD = "held"
    LIFTING = "lifting"
    """Its guardian is resuming it, or tries to."""
    LIFTED = "lifted"
    """Its guardian, or its keeper, saw to its end."""
    ENDED = "ended"
    """Somebody else resumed it, or its pooler was restarted."""
    RELEASED = "released"
    """Its run ended it."""
    UNCOVERED = "uncovered"
    """The guardian could not stand by, so nothing was sent to it."""
    FAILED = "failed"
    """It may still be paused: the guardian gave up."""


OPEN_PHASES = frozenset({LeasePhase.EXPOSED, LeasePhase.HELD, LeasePhase.LIFTING, LeasePhase.FAILED})
"""In these a target may be paused."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process, told from every other one."""

    pid: int
    started: str | None
    """Clock ticks since boot; None: not known."""
    user: str
    host: str
    boot: str | None
    """The machine's boot id; None: not known."""

    @classmethod
    def of(cls, actor: Actor) -> ProcessMark:
        """Return the process of an actor."""
        return cls(actor.pid, actor.started, actor.sudo_user or actor.user, actor.host, actor.boot)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProcessMark:
        """Read what `asdict` gave.

        Raises:
            TypeError, ValueError: it is not such a mapping.
        """
        mark = cls(**values)
        if not isinstance(mark.pid, int) or mark.pid <= 0:
            raise ValueError("pid")
        return mark

    def alive(self, here: str) -> bool | None:
        """Say whether it still runs; None: it is another machine's.

        Args:
            here: this machine's name.
        """
        if self.host != here:
            return None
        if self.boot is not None and self.boot != boot_id():
            return False
        return is_alive(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class LeaseTarget:
    """One target of a lease, as its guardian last wrote it."""

    target: Target
    phase: LeasePhase
    detail: str = ""
    """What is to be said of it; may be empty."""
    ends_boot_s: float | None = None
    """When the guardian lifts it, on this boot's `BootClock`; None: nothing was sent, or it is over."""
    ends_at_s: float | None = None
    """The same by the wall clock, for people: a clock that is set makes it wrong."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One lease file."""

    order: LeaseOrder
    owner: ProcessMark
    guardian: ProcessMark
    since_s: float
    """Wall clock: when the guardian stood by."""
    targets: tuple[LeaseTarget, ...]
    handed_over: bool = False
    """Its run has left it to the guardian."""
    keepers: tuple[tuple[str, str], ...] = ()
    """Host and key of every keeper (`console.operations.lease.keepers`)."""
    unrecorded: tuple[str, ...] = ()
    """What the guardian did and could not write into the journal."""

    @property
    def id(self) -> str:
        """Names it."""
        return self.order.lease_id

    @property
    def open_targets(self) -> tuple[LeaseTarget, ...]:
        """Those that may be paused."""
        return tuple(one for one in self.targets if one.phase in OPEN_PHASES)

    @property
    def owner_alive(self) -> bool | None:
        """Whether the run's process still runs; None: it is another machine's."""
        return self.owner.alive(os.uname().nodename)

    @property
    def guardian_alive(self) -> bool | None:
        """Whether somebody sees to its end; None: it is another machine's."""
        return self.guardian.alive(os.uname().nodename)

    @property
    def orphan(self) -> bool:
        """Whether neither lives: whatever it holds is to be mended."""
        return self.owner_alive is False and self.guardian_alive is False

    def remaining_s(self, now_boot_s: float) -> float | None:
        """Return the seconds until the last of it is lifted; None: nothing is held, or by another boot."""
        if self.guardian.boot != boot_id():
            return None
        ends = [one.ends_boot_s for one in self.open_targets if one.ends_boot_s is not None]
        return max(0.0, max(ends) - now_boot_s) if ends else None


class LeaseStore:
    """The lease files of one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / _FOLDER

    def write(self, record: LeaseRecord) -> None:
        """Put a lease on disk in place of what was there of it. Blocks: call it in a thread.

        Raises:
            OSError: it is not on disk; what was there still is.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.id)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        text = json.dumps(asdict(record), separators=(",", ":"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(fresh, flags, 0o600)
            with open(handle, "wb") as file:
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self.folder)

    def forget(self, lease_id: str) -> None:
        """Remove a lease; one that is not there is no error.

        Raises:
            OSError: it cannot be removed.
        """
        self._path(lease_id).unlink(missing_ok=True)

    def read(self, lease_id: str) -> LeaseRecord | None:
        """Return one lease; None: there is none, or it cannot be read."""
        return _read(self._path(lease_id), _nobody)

    def list_leases(self, tell: Callable[[str], None] | None = None) -> tuple[LeaseRecord, ...]:
        """Return every lease there is, oldest first.

        Args:
            tell: called with a sentence about each file that cannot be read; such a file is left out.
        """
        try:
            found = sorted(self.folder.glob("*.json"))
        except OSError as error:
            found = []
            (tell or _nobody)(f"{self.folder} cannot be read: {error.strerror or error}")
        records = [_read(path, tell or _nobody) for path in found]
        return tuple(sorted((one for one in records if one is not None), key=lambda one: one.since_s))

    def orphans(self, tell: Callable[[str], None] | None = None) -> tuple[LeaseRecord, ...]:
        """Return the leases whose run and guardian are both dead, oldest first; see `list_leases`."""
        return tuple(record for record in self.list_leases(tell) if record.orphan)

    def _path(self, lease_id: str) -> Path:
        if not lease_id.isalnum():
            raise ValueError(f"not the name of a lease: {lease_id!r}")
        return self.folder / f"{lease_id}.json"


def with_target(record: LeaseRecord, place: int, **changes: Any) -> LeaseRecord:
    """Return a lease with one of its targets changed."""
    targets = list(record.targets)
    targets[place] = replace(targets[place], **changes)
    return replace(record, targets=tuple(targets))


def _nobody(_: str) -> None:
    return


def _read(path: Path, tell: Callable[[str], None]) -> LeaseRecord | None:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        return _record(json.loads(data))
    except FileNotFoundError:
        return None  # it ended between the listing and now
    except OSError as error:
        tell(f"the lease file {path} cannot be read: {error.strerror or error}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        tell(f"the lease file {path} is cut or was overwritten; whatever it held has to be looked for")
    return None


def _record(values: Mapping[str, Any]) -> LeaseRecord:
    targets = tuple(
        LeaseTarget(**{**one, "target": Target(**one["target"]), "phase": LeasePhase(one["phase"])})
        for one in values["targets"]
    )
    return LeaseRecord(
        **{
            **values,
            "order": LeaseOrder.from_dict(values["order"]),
            "owner": ProcessMark.from_dict(values["owner"]),
            "guardian": ProcessMark.from_dict(values["guardian"]),
            "targets": targets,
            "keepers": tuple((str(host), str(key)) for host, key in values["keepers"]),
            "unrecorded": tuple(str(text) for text in values["unrecorded"]),
            "since_s": float(values["since_s"]),
        }
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
