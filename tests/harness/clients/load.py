"""Starts the measuring process beside a test or a bench, and gets its report."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.clients.report import Report
from tests.harness.clients.wish import Group, to_json

START_LIMIT_S = 30.0
STOP_LIMIT_S = 45.0
_ROOT = Path(__file__).resolve().parents[3]


class ClientLoad:
    """`with ClientLoad(groups, log) as load:` runs once each client has had its first success.

    After `stop`, or the end of the context, `report` is there. `log` takes what the process writes to stderr.
    """

    def __init__(self, groups: Sequence[Group], log: Path) -> None:
        self._groups = groups
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report; only after `stop`."""
        if self._report is None:
            raise RuntimeError("the clients still run")
        return self._report

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.clients"],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self._tell(to_json(self._groups))
            self._hear("running", START_LIMIT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._report is None:
                self.stop()
        finally:
            self._end()

    @contextlib.contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Mark the time inside as a part of its own in the report."""
        self._tell({"begin": name, "at_s": time.monotonic()})
        try:
            yield
        finally:
            self._tell({"end": name, "at_s": time.monotonic()})

    def change(self, group: str, **fields: Any) -> None:
        """Let the clients of a group use other fields, e.g. `user`, from their next connect on."""
        self._tell({"change": group, "fields": fields})
        self._hear("changed", START_LIMIT_S)

    def stop(self) -> Report:
        """End the run and return its report."""
        self._tell({"stop": True})
        self._report = Report.from_json(json.dumps(self._hear("total", STOP_LIMIT_S)))
        return self._report

    def _tell(self, told: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def _hear(self, key: str, limit_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                told: dict[str, Any] = json.loads(line)
                if key in told:
                    return told
                continue
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                raise RuntimeError(f"the clients did not say {key!r} within {limit_s:g} s{self._said()}")
            chunk = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not chunk:
                raise self._ended()
            self._pending += chunk

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"the clients' process has ended{self._said()}")

    def _said(self) -> str:
        return f":\n{self._log.read_text(errors='replace')[-2_000:]}"

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if self._report is None:
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_LIMIT_S)
