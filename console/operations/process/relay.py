"""The relay: a small script on the pooler's host that stops the process, waits for its end and starts it.

Stop and start are one thing there: whoever dies in between, this process, its machine or the network, the
host itself brings the pooler back (docs/adr/0014). It runs in a session of its own, keeps its progress and
what its commands said in a folder of its own, and can be called off by removing that folder as long as the
process has not ended. POSIX sh; it holds no secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from console.errors import NodeError
from console.hosts.commands import HostCommands
from console.hosts.facts import ProcessFacts
from console.operations.process.supervision import Supervision
from console.operations.step import why

PATIENCE_S = 86_400
"""So long the relay waits for the process's end; a shutdown that waits for clients may take a day."""
QUICK_S = 10.0
"""So long it looks often; then once a second."""
_LIMIT_BYTES = 65_536
_PLACE = "/tmp/pooldeck-restart-"
_FIND = (
    'for one in "$1"????????????????-"$2"; do [ -r "$one/state" ] || continue; pid=$(cat "$one/pid"); '
    'if grep -q "$one" "/proc/$pid/cmdline" 2>/dev/null; then lives=lives; else lives=dead; fi; '
    'echo "$one $lives $(tail -n 1 "$one/state")"; done'
)
"""For `sh -c _FIND sh PLACE LABEL`."""
_LAUNCH = (
    'umask 077; mkdir -- "$1" && printf "%s\\n" "$2" >"$1/script" || exit 73; '
    "if command -v setsid >/dev/null 2>&1; then apart=setsid; else apart=nohup; fi; "
    '$apart sh "$1/script" </dev/null >"$1/log" 2>&1 &'
)
"""For `sh -c _LAUNCH sh FOLDER SCRIPT`."""


def label_of(bouncer: str, supervision: Supervision) -> str:
    """Return what the relays of one bouncer are called by: two fleets may have an `edge-1` on one host."""
    keeper = supervision.name or supervision.pid_file or shlex.join(supervision.start_command[-1:])
    mark = hashlib.sha256(f"{supervision.kind} {keeper}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"{mark[:8]}-{bouncer}"


class Progress(StrEnum):
    """How far a relay is."""

    NOT_SEEN = "not seen"
    """It has no folder: it was never begun, or it was called off."""
    MOVED = "moved"
    """The process to stop was another one by then; nothing was done."""
    STOPPING = "stopping"
    REFUSED = "refused"
    """The stop failed; nothing was done."""
    WAITING = "waiting"
    """The stop was sent; the process has not ended yet."""
    GIVEN_UP = "given up"
    """The process did not end within a day."""
    ENDED = "ended"
    """The process has ended; the start is under way."""
    STARTED = "started"
    """The start's command has ended well."""
    NOT_STARTED = "not started"
    """The start's command failed."""


OVER = frozenset(
    {Progress.MOVED, Progress.REFUSED, Progress.GIVEN_UP, Progress.STARTED, Progress.NOT_STARTED}
)
"""Nothing more comes of it."""


def script(
    folder: str,
    stop: tuple[str, ...],
    start: tuple[str, ...],
    process: ProcessFacts | None,
    start_in: str | None = None,
) -> str:
    """Return what runs on the host.

    Args:
        folder: where it notes its progress; made before.
        stop: what makes the process end; () when `start` sees to that.
        start: what starts it.
        process: which process; None: nobody to wait for, as with a Swarm service.
        start_in: the working folder of the start where there is no process; None: any.
    """
    lines = [
        f"folder={shlex.quote(folder)}",
        'echo "$$" >"$folder/pid"',
        'say() { read -r up rest </proc/uptime; echo "$up $*" >>"$folder/state"; }',
    ]
    if process is None and start_in is not None:
        lines.append(f"cd -- {shlex.quote(start_in)} 2>/dev/null || cd /")
    if process is not None:
        # Field 3 is the state, field 22 the start; the name in field 2 may hold anything.
        lines += [
            "runs() {",
            f"  stat=$(cat /proc/{process.pid}/stat 2>/dev/null) || return 1",
            '  set -- ${stat##*") "}',
            f'  [ "${{20}}" = {process.process.start_ticks} ] && [ "$1" != Z ] && [ "$1" != X ]',
            "}",
            f"cd -- {shlex.quote(process.folder or '/')} 2>/dev/null || cd /",
            f"runs || {{ say {Progress.MOVED}; exit 0; }}",
        ]
    if stop:
        lines += [
            f"say {Progress.STOPPING}",
            f"{shlex.join(stop)} || {{ say {Progress.REFUSED}; exit 0; }}",
        ]
    if stop and process is not None:
        lines += [
            f"say {Progress.WAITING}",
            "looks=0",
            "while runs; do",
            '  [ -d "$folder" ] || exit 0',
            "  looks=$((looks + 1))",
            f'  [ "$looks" -lt {int(QUICK_S * 10)} ] && sleep 0.1 2>/dev/null || sleep 1',
            f'  [ "$looks" -lt {PATIENCE_S} ] || {{ say {Progress.GIVEN_UP}; exit 0; }}',
            "done",
        ]
    return "\n".join(
        [
            *lines,
            f"say {Progress.ENDED}",
            f"if {shlex.join(start)}; then say {Progress.STARTED}; else say {Progress.NOT_STARTED}; fi",
        ]
    )


@dataclass(frozen=True, slots=True)
class Launched:
    """What came of launching a relay."""

    problem: str | None = None
    """Why it is not under way; None: it is, or that is not known."""
    unsure: str | None = None
    """The host gave no answer: it may be under way."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A relay of another run, or of one that was left."""

    folder: str
    lives: bool
    progress: Progress

    @property
    def under_way(self) -> bool:
        """Whether it may yet stop or start something."""
        return self.lives and self.progress not in OVER

    @property
    def words(self) -> str:
        """For people."""
        if self.under_way:
            return f"under way on its host ({self.progress}); to call it off: rm -r {self.folder}"
        return f"an earlier one was left ({self.progress}); what it said: {self.folder}/log"


async def earlier_relays(host: HostCommands, label: str, *, timeout_s: float) -> tuple[Earlier, ...]:
    """Return the relays with a label that a host has, as far as this account may see them.

    Raises:
        NodeError: the host did not answer.
    """
    done = await host.runner(("sh", "-c", _FIND, "sh", _PLACE, label), timeout_s, _LIMIT_BYTES)
    found = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        folder, _, rest = line.partition(" ")
        lives, _, last = rest.partition(" ")
        found.append(Earlier(folder, lives == "lives", _progress(last.partition(" ")[2])))
    return tuple(found)


def _progress(word: str) -> Progress:
    return Progress(word) if word in set(Progress) else Progress.NOT_SEEN


class Relay:
    """One relay, from here."""

    def __init__(self, host: HostCommands, label: str, *, timeout_s: float) -> None:
        self.folder = f"{_PLACE}{secrets.token_hex(8)}-{label}"
        self.times: Mapping[str, float] = {}
        """When it came to each `Progress`, in seconds since its host was booted."""
        self._host = host
        self._timeout_s = timeout_s

    async def launch(
        self,
        stop: tuple[str, ...],
        start: tuple[str, ...],
        process: ProcessFacts | None,
        start_in: str | None = None,
    ) -> Launched:
        """Begin it. Never raises for its host. For the arguments see `script`."""
        text = script(self.folder, stop, start, process, start_in)
        try:
            done = await self._host.runner(
                ("sh", "-c", _LAUNCH, "sh", self.folder, text), self._timeout_s, _LIMIT_BYTES
            )
        except NodeError as error:
            return Launched(unsure=why(error))
        if done.exit_status == 0:
            return Launched()
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Launched(f"nothing could be begun on {self._host.where}: {said[-1] if said else 'no reason'}")

    async def progress(self) -> Progress | None:
        """Return how far it is; None when the host does not answer now."""
        text = await self._read("state")
        if text is None:
            return None
        self.times = {word: float(up) for up, _, word in (line.partition(" ") for line in text.splitlines())}
        return _progress(text.strip().rpartition("\n")[2].partition(" ")[2])

    async def said(self, lines: int = 8) -> tuple[str, ...]:
        """Return what its commands said last; () when nothing, or when it cannot be read."""
        text = await self._read("log")
        return tuple((text or "").splitlines()[-lines:])

    async def tidy(self) -> None:
        """Remove its folder, once it is over. Never raises: what is left is a folder in /tmp."""
        try:
            await self._host.runner(("rm", "-rf", "--", self.folder), self._timeout_s, _LIMIT_BYTES)
        except NodeError:
            return

    async def _read(self, name: str) -> str | None:
        """Return one of its files, "" when it is not there; None when the host does not answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                done = await self._host.runner(
                    ("cat", "--", f"{self.folder}/{name}"), self._timeout_s, _LIMIT_BYTES
                )
        except (NodeError, TimeoutError):
            return None
        return done.stdout.decode("utf-8", "replace") if done.exit_status == 0 else ""
