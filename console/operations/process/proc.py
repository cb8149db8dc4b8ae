"""What Linux tells of one process: the texts of /proc/PID as facts. Pure.

Sources: proc(5), cgroups(7). Only what every reader of the host may see is needed; the executable and the
open files are the owner's and root's to see, and None for others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

READ_PROCESS = (
    'for one in stat status limits cgroup; do echo "== $one"; cat "/proc/$1/$one" || exit 1; done; '
    'echo "== cmdline"; tr "\\000" "\\037" <"/proc/$1/cmdline"; echo; '
    'echo "== boot"; grep "^btime " /proc/stat; echo "== ticks"; getconf CLK_TCK'
)
"""For `sh -c READ_PROCESS sh PID`; the words of the command line are parted by the unit separator."""
_SECTION = re.compile(r"^== (\w+)$", re.MULTILINE)
_OPEN_FILES = re.compile(r"^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)", re.MULTILINE)
_DELETED = " (deleted)"
_KIB = 1024


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process at one moment. None: the host does not tell, or not to us."""

    pid: int
    start_ticks: int
    """Clock ticks from boot to its start: with the pid it names one process for as long as the host runs."""
    state: str
    """One letter: `R`, `S`, `D` in the kernel, `T` stopped, `Z` ended and not yet reaped."""
    words: tuple[str, ...]
    """Its command line."""
    cgroup: str
    """The path in the unified hierarchy, or of `name=systemd`; "" when it is in none."""
    started_at_s: float | None = None
    """Wall clock, to about a second."""
    uid: int | None = None
    """Effective."""
    cpu_s: float | None = None
    """Used since its start, user and system."""
    rss_bytes: int | None = None
    """Memory that is resident."""
    open_files: int | None = None
    open_files_limit: int | None = None
    """The soft limit; 0: none."""
    executable: str | None = None
    """As it was when the process started it."""
    executable_replaced: bool = False
    """The file it runs was deleted or replaced since."""
    folder: str | None = None
    """Its working folder."""

    @property
    def ended(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.state in "ZX"

    @property
    def key(self) -> str:
        """Names this very process, for facts and comparisons: `4711 started at tick 12345`."""
        return f"{self.pid} started at tick {self.start_ticks}"


def parse_process(text: str) -> ProcessFacts | None:
    """Read the output of `READ_PROCESS`; None when it is not whole: the process is gone."""
    parts = _SECTION.split(text)
    section = dict(zip(parts[1::2], parts[2::2], strict=False))
    head, closed, rest = section.get("stat", "").rpartition(")")
    fields = rest.split()
    if not closed or len(fields) < 20:
        return None
    ticks_a_second = _number(section.get("ticks", ""))
    start_ticks = int(fields[19])
    booted_at_s = _number(section.get("boot", "").removeprefix("\nbtime"))
    status = _fields(section.get("status", ""))
    uids = status.get("Uid", "").split()
    rss = status.get("VmRSS", "").split()
    found = _OPEN_FILES.search(section.get("limits", ""))
    return ProcessFacts(
        pid=int(head.split(" ", 1)[0]),
        start_ticks=start_ticks,
        state=fields[0],
        words=tuple(section.get("cmdline", "").strip("\n").removesuffix("\x1f").split("\x1f")),
        cgroup=_cgroup(section.get("cgroup", "")),
        started_at_s=None
        if booted_at_s is None or not ticks_a_second
        else booted_at_s + start_ticks / ticks_a_second,
        uid=int(uids[1]) if len(uids) > 1 else None,
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks_a_second if ticks_a_second else None,
        rss_bytes=int(rss[0]) * _KIB if rss else None,
        open_files_limit=None if found is None else 0 if found[1] == "unlimited" else int(found[1]),
    )


def parse_executable(link: str) -> tuple[str | None, bool]:
    """Read what /proc/PID/exe leads to: the path, and whether that file was replaced; None: not told.

    >>> parse_executable("/usr/sbin/pgbouncer (deleted)")
    ('/usr/sbin/pgbouncer', True)
    """
    path = link.removesuffix("\n")
    if not path.startswith("/"):
        return None, False
    return path.removesuffix(_DELETED), path.endswith(_DELETED)


def cpu_share(before: ProcessFacts, after: ProcessFacts, *, seconds: float) -> float | None:
    """Return how much of one core it used between two readings, 1.0 for all of it; None: not known."""
    same = (before.pid, before.start_ticks) == (after.pid, after.start_ticks)
    if before.cpu_s is None or after.cpu_s is None or not same or seconds <= 0:
        return None
    return max(0.0, after.cpu_s - before.cpu_s) / seconds


def _fields(status: str) -> dict[str, str]:
    found = {}
    for line in status.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found[key] = value.strip()
    return found


def _cgroup(text: str) -> str:
    """Return the path that tells the supervisor: the unified one, else systemd's own hierarchy."""
    paths = {}
    for line in text.splitlines():
        number, colon, rest = line.partition(":")
        if colon:
            controllers, _, path = rest.partition(":")
            paths[controllers if controllers else number] = path
    return paths.get("name=systemd") or paths.get("0", "") or ""


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None
