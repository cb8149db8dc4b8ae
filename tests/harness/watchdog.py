"""A pytest plugin: a run that hangs ends, and says where, however it hangs.

pytest-timeout raises in the test; a wait that swallows that, or a teardown that never ends, would hang for
ever. So a test that outlives its timeout by far ends its worker process, with every thread's stack; and when
no worker reports anything for long (a worker that is stopped itself runs no watchdog), the whole run ends.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

TEST_LIMIT_S = 240.0
"""For set-up, call and teardown of one test; pytest-timeout's is 120 s."""
SILENCE_LIMIT_S = 600.0


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: while tests run it is captured."""
    stderr = os.dup(2)
    has_workers = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    config.pluginmanager.register(_Controller(stderr) if has_workers else _Worker(stderr), "watchdog")


class _Worker:
    """Where tests run: watches over each."""

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        """Watch over set-up, call and teardown; the last one's takes the worker's servers down."""
        marker = item.get_closest_marker("timeout")
        self._watch(TEST_LIMIT_S + (float(marker.args[0]) if marker is not None and marker.args else 0.0))
        yield
        faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        """Go on: pytest's own plugin ends that when a test fails, and the teardown is yet to come."""
        self._watch(TEST_LIMIT_S)

    def _watch(self, limit_s: float) -> None:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=self._stderr)


class _Controller:
    """Where pytest-xdist gives tests to workers: watches over those."""

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr
        self._heard_s = time.monotonic()
        self._running: dict[str, None] = {}
        threading.Thread(target=self._listen, name="watchdog", daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A worker begins with a test."""
        self._heard_s = time.monotonic()
        self._running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A worker is done with a test."""
        self._heard_s = time.monotonic()
        self._running.pop(nodeid, None)

    def pytest_unconfigure(self) -> None:
        """All is over."""
        self._heard_s = float("inf")

    def _listen(self) -> None:
        while time.monotonic() - self._heard_s < SILENCE_LIMIT_S:
            time.sleep(1.0)
        lines = [f"\nno worker has reported anything for {SILENCE_LIMIT_S:g} s; begun and not ended:"]
        lines += [*self._running, "processes:", *_children()]
        os.write(self._stderr, ("\n".join(lines) + "\n").encode())
        os._exit(3)


def _children() -> list[str]:
    """Return a line for each process below this one: pid, state, where in the kernel, command."""
    children: dict[int, list[int]] = {}
    told: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
            state, parent = rest.split()[:2]
            waits = (folder / "wchan").read_text()
        except OSError:
            continue
        children.setdefault(int(parent), []).append(int(folder.name))
        told[int(folder.name)] = f"  {folder.name} {state} {waits or '-'} {name.partition('(')[2]}"
    found: list[str] = []
    left = [os.getpid()]
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        found += [told[pid]] if pid in told else []
    return found
