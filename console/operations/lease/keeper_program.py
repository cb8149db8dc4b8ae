"""The keepers' program on its way to a host: what is sent there, how it is started, what its answer means.

It is text through the standard input of a Python that the host has; nothing is installed, and no secret is in
an argument or a file there. The program itself is `keeper_script` and its parts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from console.errors import NodeError, Phase
from console.transport.base import Transport

PARTS = ("keeper_wire", "keeper_host", "keeper_pooler", "keeper_script")
"""Of the program, in the order they need one another; the last one's `main` is its entry."""
_PACKAGE = "console.operations.lease"
# RHEL 8 has a Python for its own programs and may have no python3.
_LAUNCH = (
    'for p in python3 /usr/libexec/platform-python; do command -v "$p" >/dev/null 2>&1 '
    '&& exec "$p" -I -c "$0" "$@"; done; exit 127'
)
_READ = "import json,sys;d=json.loads(sys.stdin.buffer.read().decode());exec(d['boot'],{'d':d})"
_BOOT = """
import json, sys, types
if sys.version_info < (3, 6):
    error = "its python3 is %d.%d, and a keeper needs 3.6" % sys.version_info[:2]
    sys.stdout.write(json.dumps({"error": error, "phase": "ssh"}))
    sys.exit()
for name, source in d["parts"]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
module.main(d["task"])
"""


async def run_program(
    transport: Transport, host: str, name: str, task: Mapping[str, Any], *, timeout_s: float
) -> dict[str, Any]:
    """Run the program on a host for one task and return its answer, which may be an `error` with a `phase`.

    `name` is for the process list there.

    Raises:
        NodeError: phase `ssh`: no way there, no python3, no answer. DeadlineError: likewise.
    """
    argv = ("sh", "-c", _LAUNCH, _READ, "pooldeck-keeper", name)
    result = await transport.run(host, argv, timeout_s=timeout_s, stdin=_program(task))
    if result.exit_status == 127:
        raise NodeError(
            Phase.SSH,
            "there is no python3, which a keeper needs",
            where=host,
            hint="install python3 there; until then only the guardian beside the console ends a pause",
        )
    lines = result.stdout.decode(errors="replace").split("\n")
    # A login shell may have said something before.
    line = next((line for line in reversed(lines) if line.strip()), "")
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        said = result.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise NodeError(
            Phase.SSH,
            f"the keepers' program ended with status {result.exit_status} and no answer"
            f"{f': {said}' if said else ''}",
            where=host,
        )
    return answer


def _program(task: Mapping[str, Any]) -> bytes:
    return json.dumps({"boot": _BOOT, "parts": program_parts(), "task": task}).encode()


@functools.cache
def program_parts() -> tuple[tuple[str, str], ...]:
    """Return the program that runs on the hosts: its modules' full names and their source."""
    folder = resources.files(_PACKAGE)
    return tuple(
        (f"{_PACKAGE}.{part}", folder.joinpath(f"{part}.py").read_text(encoding="utf-8")) for part in PARTS
    )
