"""Bench (b): CPU and memory of an idle console on 100 simulated bouncers × 20 pools that move every second.

The console runs under a pseudo-terminal of 200×60, nobody presses a key; beside it the collector alone.
Both are processes of their own, measured from outside (`/proc/PID/stat`, `VmHWM`), and so is the simulator.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.table import BenchRow, print_table

ROOT = Path(__file__).parents[2]
BOUNCERS = 100
POOLS = 20
WARM_UP_S = 8.0
WINDOW_S = 20.0
START_LIMIT_S = 20.0
CPU_LIMIT = 0.15
MEMORY_LIMIT_MIB = 200
SIZE = (60, 200)


@dataclass(frozen=True)
class Usage:
    """What a process used in the window."""

    cpu: float
    """CPU seconds a second, user and system."""
    peak_mib: float
    """The most memory it ever had resident."""
    written_kib_s: float = 0.0
    """What it drew on its terminal."""


@contextmanager
def simulated_fleet() -> Iterator[Path]:
    """Run the simulator and give its inventory."""
    with tempfile.TemporaryDirectory(prefix="pd-sim") as folder:
        options = ["--bouncers", str(BOUNCERS), "--pools", str(POOLS), "--tick", "1"]
        command = [sys.executable, "-m", "console.lab.simulator", "--until-eof", "--dir", folder, *options]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
        try:
            inventory = Path(folder, "fleet.toml")
            end_s = time.monotonic() + START_LIMIT_S
            while not inventory.exists():
                if process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError("the simulator did not start")
                time.sleep(0.02)
            yield inventory
        finally:
            process.communicate()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


def _watch(process: subprocess.Popen[bytes]) -> Usage:
    """Let it warm up, then see what it uses."""
    time.sleep(WARM_UP_S)
    if process.poll() is not None:
        raise RuntimeError(f"it ended with {process.returncode}")
    started_s, before_s = time.monotonic(), _cpu_s(process.pid)
    time.sleep(WINDOW_S)
    spent_s, took_s = _cpu_s(process.pid) - before_s, time.monotonic() - started_s
    return Usage(spent_s / took_s, _peak_mib(process.pid))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def measure_collector(inventory: Path) -> Usage:
    """Measure a process that only collects."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_idle", "--collect", str(inventory)], cwd=ROOT
    )
    try:
        return _watch(process)
    finally:
        _end(process)


def measure_console(inventory: Path) -> Usage:
    """Measure the console on a terminal that nobody touches."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    drawn = 0
    shows_fleet = False

    def drain() -> None:
        nonlocal drawn, shows_fleet
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                return
            if not chunk:
                return
            drawn += len(chunk)
            shows_fleet = shows_fleet or b"sim-0" in chunk

    process = subprocess.Popen(
        [sys.executable, "-m", "console.cli.main", "--fleet", str(inventory)],
        cwd=ROOT,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    terminal = threading.Thread(target=drain, daemon=True)
    terminal.start()
    started_s = time.monotonic()
    try:
        usage = _watch(process)
        if not shows_fleet:
            raise RuntimeError("the console never showed the fleet")
        rate = drawn / 1024 / (time.monotonic() - started_s)
        return Usage(usage.cpu, usage.peak_mib, rate)
    finally:
        _end(process)
        terminal.join(5)
        os.close(master)


def run() -> list[BenchRow]:
    """Measure the collector alone, then the whole console."""
    with simulated_fleet() as inventory:
        alone = measure_collector(inventory)
        console = measure_console(inventory)
    return [
        BenchRow(
            name="(b) idle console, CPU of one core",
            figure=f"{console.cpu:.1%}",
            limit=f"<= {CPU_LIMIT:.0%}",
            ok=console.cpu <= CPU_LIMIT,
            detail=f"{BOUNCERS} bouncers × {POOLS} pools at 1 s; the collector alone {alone.cpu:.1%};"
            f" drawn {console.written_kib_s:.0f} KiB/s",
        ),
        BenchRow(
            name="(b) idle console, memory",
            figure=f"{console.peak_mib:.0f} MiB",
            limit=f"<= {MEMORY_LIMIT_MIB} MiB",
            ok=console.peak_mib <= MEMORY_LIMIT_MIB,
            detail=f"peak resident; the collector alone {alone.peak_mib:.0f} MiB",
        ),
    ]


async def _collect(path: Path) -> None:
    """Collect until SIGTERM."""
    from console.clock import SystemClock
    from console.config.credentials import Credentials
    from console.config.load import load_inventory
    from console.fleet.collector import FleetCollector
    from console.fleet.store import FleetStore
    from console.poolers.connect import PoolerConnector
    from console.postgres.connect import PostgresConnector
    from console.transport.ssh import SshTransport

    inventory, clock, credentials = load_inventory(path), SystemClock(), Credentials()
    transport = SshTransport(inventory.hosts, clock=clock, runtime_dir=path.parent)
    connector = PoolerConnector(inventory, transport, credentials)
    postgres = PostgresConnector(inventory, transport, credentials)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with FleetCollector(inventory, connector, postgres, FleetStore(), clock):
        await ended.wait()
    await transport.close()


def main(arguments: list[str]) -> int:
    """Measure, or with `--collect FILE` be what is measured."""
    if arguments[:1] == ["--collect"]:
        asyncio.run(_collect(Path(arguments[1])))
        return 0
    rows = run()
    print_table(rows)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
