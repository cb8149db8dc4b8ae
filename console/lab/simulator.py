"""A wire-level PgBouncer simulator: a fleet of a hundred admin consoles in one cheap process.

    python -m console.lab.simulator --bouncers 100 --pools 20 --dir DIR

listens on loopback ports (or Unix sockets with `--unix`), writes `DIR/fleet.toml` once everything
listens, and runs until SIGTERM, SIGINT or, with `--until-eof`, the end of its standard input. It is for
scale only: benches, and screens full of bouncers. Nothing is pooled and no client can use it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import tomli_w

from console.errors import LabError
from console.lab.simulator_columns import VERSIONS
from console.lab.simulator_state import ADMIN_USER, MONITOR_USER, SimulatedBouncer
from console.lab.simulator_wire import ConsoleProtocol

INVENTORY_NAME: Final = "fleet.toml"
LOOPBACK: Final = "127.0.0.1"
UNIX_PORT: Final = 6432


class SimulatedFleet:
    """Simulated bouncers `sim-000` …, listening while the context is open.

    Args:
        bouncers: how many.
        pools: pools of each.
        versions: played in turn; from `simulator_columns.VERSIONS`.
        clients: rows of each SHOW CLIENTS.
        tick_s: numbers move once in so many seconds; 0: with every answer.
        unix_dir: listen in folders below it instead of on loopback ports.
    """

    def __init__(
        self,
        *,
        bouncers: int,
        pools: int = 20,
        versions: Sequence[str] = VERSIONS,
        clients: int = 200,
        tick_s: float = 1.0,
        unix_dir: Path | None = None,
    ) -> None:
        unknown = [version for version in versions if version not in VERSIONS]
        if unknown or not versions:
            raise LabError(
                f"cannot play PgBouncer {', '.join(unknown)}", hint=f"known: {', '.join(VERSIONS)}"
            )
        self._unix_dir = unix_dir
        self._servers: list[asyncio.Server] = []
        self._entries: list[dict[str, object]] = []
        self._started = time.monotonic()
        self._answers = 0
        self._tick_s = tick_s
        self.bouncers = [
            SimulatedBouncer(
                f"sim-{number:03d}",
                versions[number % len(versions)],
                pools=pools,
                clients=clients,
                seed=1,
                ticks=self._tick,
            )
            for number in range(bouncers)
        ]

    @property
    def ports(self) -> list[int]:
        """The port of each bouncer, in order; with Unix sockets the number in the socket's name."""
        return [int(str(entry.get("tcp", f":{UNIX_PORT}")).rpartition(":")[2]) for entry in self._entries]

    def _tick(self) -> int:
        if self._tick_s > 0:
            return int((time.monotonic() - self._started) / self._tick_s)
        self._answers += 1
        return self._answers

    async def __aenter__(self) -> Self:
        for bouncer in self.bouncers:
            await self._listen(bouncer)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    async def _listen(self, bouncer: SimulatedBouncer) -> None:
        loop = asyncio.get_running_loop()
        entry: dict[str, object] = {"name": bouncer.name}
        if self._unix_dir is None:
            server = await loop.create_server(lambda: ConsoleProtocol(bouncer), LOOPBACK, 0, backlog=16)
            entry["tcp"] = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        else:
            folder = self._unix_dir / bouncer.name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f".s.PGSQL.{UNIX_PORT}"
            path.unlink(missing_ok=True)
            server = await loop.create_unix_server(lambda: ConsoleProtocol(bouncer), str(path))
            entry |= {"unix": str(folder), "port": UNIX_PORT}
        self._servers.append(server)
        self._entries.append({**entry, "labels": {"version": bouncer.version}})

    def inventory_text(self) -> str:
        """Return the inventory of what listens now, as TOML."""
        document = {
            "fleet": "simulated",
            "environment": "development",
            "defaults": {
                "monitor_user": MONITOR_USER,
                "admin_user": ADMIN_USER,
                "password_from": "none",
                "sslmode": "disable",
            },
            "bouncers": self._entries,
        }
        return tomli_w.dumps(document)

    def write_inventory(self, directory: Path) -> Path:
        """Write `fleet.toml` into `directory`, whole or not at all, and return its path."""
        path = directory / INVENTORY_NAME
        draft = directory / f".{INVENTORY_NAME}.{os.getpid()}"
        draft.write_text(self.inventory_text(), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)
        return path


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m console.lab.simulator", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where fleet.toml goes")
    parser.add_argument("--bouncers", type=int, default=100)
    parser.add_argument("--pools", type=int, default=20, help="pools of each bouncer")
    parser.add_argument("--clients", type=int, default=200, help="rows of each SHOW CLIENTS")
    parser.add_argument("--tick", type=float, default=1.0, help="seconds between moves; 0: every answer")
    parser.add_argument("--pgbouncer", nargs="+", default=list(VERSIONS), choices=VERSIONS, metavar="VERSION")
    parser.add_argument("--unix", action="store_true", help="Unix sockets instead of loopback ports")
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    return parser.parse_args(argv)


async def _serve(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if arguments.until_eof:
        # Its owner writes nothing; readable means gone.
        loop.add_reader(sys.stdin.fileno(), ended.set)
    arguments.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fleet = SimulatedFleet(
        bouncers=arguments.bouncers,
        pools=arguments.pools,
        versions=arguments.pgbouncer,
        clients=arguments.clients,
        tick_s=arguments.tick,
        unix_dir=arguments.dir / "sockets" if arguments.unix else None,
    )
    async with fleet:
        path = fleet.write_inventory(arguments.dir)
        await ended.wait()
        path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end."""
    asyncio.run(_serve(_arguments(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
