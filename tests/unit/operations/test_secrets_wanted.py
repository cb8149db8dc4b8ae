"""The wallet of one run: what was typed, all else from the driver's, each once; the next run's is new."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from console.cli.wallet import CommandLineWallet
from console.config.credentials import Credentials
from console.errors import UsageError
from console.operations.secrets_wanted import RunWallet


def console_wallet() -> CommandLineWallet:
    return CommandLineWallet(Credentials(), may_prompt=False)


async def test_what_was_typed_is_given_and_nothing_else_prompts() -> None:
    wallet = RunWallet({"new": SecretStr("typed")}, console_wallet())
    assert (await wallet.secret("prompt", role="webshop", which="new")).get_secret_value() == "typed"
    with pytest.raises(UsageError, match="the console does not ask for the old secret"):
        await wallet.secret("prompt", role="webshop", which="old")
    with pytest.raises(UsageError, match="no source of secrets but what is typed"):
        await RunWallet({}, None).secret("prompt", role="webshop", which="new")


async def test_each_run_of_a_session_has_secrets_of_its_own(tmp_path: Path) -> None:
    driver = console_wallet()
    one, other = RunWallet({}, driver), RunWallet({}, driver)
    made = await one.secret("generate", role="webshop", which="new")
    assert await one.secret("generate", role="webshop", which="new") is made
    second = await other.secret("generate", role="webshop", which="new")
    assert second.get_secret_value() != made.get_secret_value()
    file = tmp_path / "secret"
    for clear in ("first", "second"):
        file.write_text(clear)
        wallet = RunWallet({}, driver)
        given = await wallet.secret(f"command:cat {file}", role="webshop", which="new")
        assert given.get_secret_value() == clear, "a command is asked anew by each run"


async def test_descriptors_of_the_console_are_neither_read_nor_written() -> None:
    wallet = RunWallet({}, console_wallet())
    with pytest.raises(UsageError, match="descriptor 0 is one of the console's own"):
        await wallet.secret("fd:0", role="webshop", which="new")
    with pytest.raises(UsageError, match="descriptor 1 is one of the console's own"):
        await wallet.hand_over("fd:1", SecretStr("x"), role="webshop")
