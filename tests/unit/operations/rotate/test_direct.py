"""What direct logins prove and what not: by FAKE nodes, since a real one refuses only what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from console.errors import NodeError, Phase
from console.operations.rotate.direct import DirectLogins
from console.operations.rotate.scheme import DirectLogin, Scheme

NEW, OLD = SecretStr("the new one"), SecretStr("the old one")


class FakeRoles:
    """A FAKE node that lets some secrets in; None: it has no pg_hba.conf line for us."""

    def __init__(self, *opened_by: SecretStr | None) -> None:
        self._opened_by = opened_by

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not needed")

    async def lets_in(
        self, node: str, role: str, secret: SecretStr, *, database: str, timeout_s: float
    ) -> bool:
        assert (node, role, database, timeout_s) == ("pg", "web", "app", 3.0)
        if None in self._opened_by:
            raise NodeError(Phase.AUTH, "no pg_hba.conf entry", where=node)
        return secret in self._opened_by


async def proved(*opened_by: SecretStr | None, other: SecretStr | None = OLD) -> tuple[list[str], list[str]]:
    told: list[str] = []
    warned: list[str] = []
    scheme = Scheme("web", (), (), {}, (DirectLogin("pg", "app"),))
    await DirectLogins(scheme, FakeRoles(*opened_by), 3.0, told.append, warned.append).prove(NEW, other)
    return told, warned


async def test_the_new_one_is_let_in_and_the_old_one_refused() -> None:
    for other in (OLD, None):
        told, warned = await proved(NEW, other=other)
        assert told == ["pg/app: web is let in with the secret, without a pooler between"]
        assert not warned


async def test_a_refusal_ends_it() -> None:
    with pytest.raises(NodeError, match="a direct login as web with the secret is refused") as raised:
        await proved(OLD)
    assert (raised.value.phase, raised.value.where) == (Phase.AUTH, "pg/app")


@pytest.mark.parametrize(
    ("opened_by", "words"),
    [((NEW, OLD), "the other secret is let in from here too"), ((None,), "no pg_hba.conf entry")],
)
async def test_what_proves_nothing_is_only_told(opened_by: tuple[SecretStr | None, ...], words: str) -> None:
    told, (warned,) = await proved(*opened_by)
    assert not told
    assert words in warned
