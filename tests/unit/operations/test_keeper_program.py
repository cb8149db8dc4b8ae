"""The keeper's program as text: what an old host can run; and what its console makes of a host's answers."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Sequence

import pytest
from pydantic import SecretStr

from console.errors import NodeError, Phase
from console.operations.lease import keeper_pooler
from console.operations.lease.keeper_order import KeeperOrder
from console.operations.lease.keeper_program import PARTS, program_parts
from console.operations.lease.keepers import KeeperOutcome, Keepers
from console.transport.base import CommandResult, TcpAddress
from console.transport.fake import FakeTransport

OLDEST = (3, 6) if sys.version_info < (3, 13) else (3, 7)
"""Later Pythons no longer check for older grammar."""
STANDARD = {
    *("base64", "contextlib", "errno", "fcntl", "hashlib", "hmac", "json", "os", "re", "resource", "shutil"),
    *("signal", "socket", "ssl", "stat", "stringprep", "struct", "sys", "time", "typing", "unicodedata"),
}
"""Modules that Python 3.6 has on every Unix."""
ORDER = KeeperOrder(
    lease_id="a1",
    bouncer="edge",
    database=None,
    address=TcpAddress("127.0.0.1", 6432),
    user="admin",
    sslmode="prefer",
    ca_pem=None,
    lift=("RESUME",),
    identity={},
    ttl_s=30,
)


class Host(FakeTransport):
    """Answers every command alike and keeps what it was sent."""

    def __init__(self, status: int | None, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__()
        self.answer = CommandResult(status, stdout, stderr, truncated=False)
        self.sent: list[tuple[tuple[str, ...], bytes]] = []

    async def run(
        self,
        host: str,  # noqa: ARG002
        argv: Sequence[str],
        *,
        timeout_s: float,  # noqa: ARG002
        stdin: bytes = b"",
        max_output_bytes: int = 1_048_576,  # noqa: ARG002
    ) -> CommandResult:
        self.sent.append((tuple(argv), stdin))
        return self.answer


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(("name", "source"), program_parts(), ids=PARTS)
def test_a_part_is_old_python_and_needs_nothing_but_the_standard_library(name: str, source: str) -> None:
    tree = ast.parse(source, name, feature_version=OLDEST)
    before = [part for part, _ in program_parts()]
    allowed = STANDARD | set(before[: before.index(name)])
    assert set(imported(tree)) <= allowed
    assert "from __future__" not in source, "annotations of the future are 3.7's"


def test_console_and_host_mean_the_same_by_an_outcome() -> None:
    host = (keeper_pooler.RESUMED, keeper_pooler.RELEASED, keeper_pooler.NOT_PAUSED)
    assert set(KeeperOutcome) == {*host, keeper_pooler.ANOTHER_PROCESS, keeper_pooler.FAILED}


async def test_the_password_goes_in_by_standard_input_alone() -> None:
    host = Host(0, b'{"error": "refused", "phase": "auth"}')
    with pytest.raises(NodeError):
        await Keepers(host).arm("h", ORDER, SecretStr("s3cret"), timeout_s=1)
    ((argv, stdin),) = host.sent
    assert "s3cret" not in " ".join(argv)
    assert "s3cret" in stdin.decode()
    assert json.loads(stdin)["task"]["order"]["key"] == "a1-edge"
    assert not any("\n" in word for word in argv), "some login shells take no newline inside quotes"


async def test_a_host_without_python_is_named_with_what_to_do() -> None:
    with pytest.raises(NodeError, match="python3") as caught:
        await Keepers(Host(127)).collect("h", timeout_s=1)
    assert caught.value.phase is Phase.SSH
    assert "install" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "message"),
    [
        (1, b"", b"Traceback\n  File\nMemoryError\n", "ended with status 1 and no answer: MemoryError"),
        (None, b"", b"", "ended with status None and no answer"),
        (0, b"[1]", b"", "ended with status 0"),
        (0, b'{"error": "no way", "phase": "tls"}', b"", "no way"),
    ],
)
async def test_an_answer_that_is_none_is_an_error(
    status: int | None, stdout: bytes, stderr: bytes, message: str
) -> None:
    with pytest.raises(NodeError) as caught:
        await Keepers(Host(status, stdout, stderr)).collect("h", timeout_s=1)
    assert message in caught.value.message


async def test_what_a_login_shell_says_first_is_no_answer() -> None:
    host = Host(0, b'Welcome!\n{"reports": []}\n\n')
    assert await Keepers(host).collect("h", timeout_s=1) == ()


async def test_a_report_that_cannot_be_read_is_an_error() -> None:
    report = {"key": "k", "folder": "f", "alive": False, "remaining_s": None, "state": None}
    for odd in ({"outcome": "won"}, 7):
        host = Host(0, json.dumps({"reports": [{**report, "result": odd}]}).encode())
        with pytest.raises(NodeError) as caught:
            await Keepers(host).collect("h", timeout_s=1)
        assert caught.value.phase is Phase.PARSE
