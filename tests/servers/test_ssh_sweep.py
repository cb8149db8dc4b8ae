"""Near ends are gone when the program ends, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from console.transport.base import TcpAddress
from tests.servers.ssh_kit import LIMIT_S, SshKit, kit, route, shout, tcp_server, until

__all__ = ["kit"]  # a fixture
CHILD = """
    import asyncio, json, sys
    from pathlib import Path
    from console.clock import SystemClock
    from console.config.schema import Host
    from console.transport.base import Route, TcpAddress
    from console.transport.ssh import SshTransport

    given = json.loads(sys.argv[1])

    async def main():
        transport = SshTransport(
            {"a": Host.model_validate(given["host"])}, clock=SystemClock(),
            runtime_dir=Path(given["runtime"]), ssh_config_file=Path(given["config"]),
        )
        route = Route("a", TcpAddress("127.0.0.1", given["port"]), False)
        endpoint = await transport.endpoint(route, timeout_s=15)
        print(endpoint.host, flush=True)
        if given["end"] == "wait":
            await asyncio.sleep(60)
        elif given["end"] == "raise":
            raise ValueError("on purpose")
        else:
            sys.exit(3)

    asyncio.run(main())
"""


def child(kit: SshKit, port: int, end: str) -> subprocess.Popen[str]:
    """Start a process of its own with a tunnel open; its first line is the near end's folder."""
    server = kit.sshd()
    kit.config_file.write_text("", encoding="utf-8")
    given = {
        "host": kit.host(server).model_dump(mode="json"),
        "runtime": str(kit.runtime),
        "config": str(kit.config_file),
        "port": port,
        "end": end,
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate(timeout=10)[1]
    return Path(line)


async def test_after_kill_9_the_next_start_removes_what_is_left(kit: SshKit) -> None:
    async with tcp_server(shout) as address:
        with child(kit, address.port, "wait") as process:
            folder = folder_of(process)
            assert (folder / f".s.PGSQL.{address.port}").is_socket()
            async with kit.transport() as living:
                await living.endpoint(route(None, address), timeout_s=LIMIT_S)
                await until(lambda: len(list(kit.runtime.glob("t-*/lock"))) == 2)
                assert folder.exists()  # its process lives, so a start leaves it alone
                process.send_signal(signal.SIGKILL)
                process.communicate(timeout=10)
                assert folder.exists()
                async with kit.transport():
                    await until(lambda: not folder.parent.exists())
                    # `living` and the new one
                    await until(lambda: len(list(kit.runtime.glob("t-*/lock"))) == 2)
        assert list(kit.runtime.glob("t-*/lock")) == []


@pytest.mark.parametrize("end", ["raise", "exit"])
async def test_a_program_that_ends_without_closing_leaves_nothing(kit: SshKit, end: str) -> None:
    async with tcp_server(shout) as address:
        with child(kit, address.port, end) as process:
            folder = folder_of(process)
            process.communicate(timeout=15)
            assert process.returncode in (1, 3)
            assert not folder.parent.exists()


async def test_a_long_runtime_folder_still_gives_a_socket_the_kernel_takes(kit: SshKit) -> None:
    kit.runtime = kit.runtime / ("x" * 90)
    async with tcp_server(shout) as address, kit.transport(a=kit.host(kit.sshd())) as transport:
        endpoint = await transport.endpoint(route("a", address), timeout_s=LIMIT_S)
        folder = Path(endpoint.host)
        assert len(f"{folder}/.s.PGSQL.65535") < 104
        root = folder.parent.parent
        assert (root.name, root.stat().st_mode & 0o777) == (f"pooldeck-{os.getuid()}", 0o700)
    assert not folder.parent.exists()


async def test_a_runtime_folder_open_to_others_is_closed_to_them(kit: SshKit) -> None:
    kit.runtime.mkdir(mode=0o777)
    kit.runtime.chmod(0o777)
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        await transport.endpoint(route("a", TcpAddress("127.0.0.1", 1)), timeout_s=LIMIT_S)
        assert kit.runtime.stat().st_mode & 0o777 == 0o700
