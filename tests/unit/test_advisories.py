"""Which version has which public flaw."""

from __future__ import annotations

import pytest

from console.model.advisories import advisories
from console.model.version import Version

SCRAM, READERS, CRASH = "CVE-2026-107350", "CVE-2026-6667", ("CVE-2026-19888", "CVE-2026-6668")


@pytest.mark.trap("T27")
@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.16.1", CRASH),
        ("1.17.0", (SCRAM, *CRASH)),
        ("1.18.0", (SCRAM, *CRASH)),
        ("1.24.0", (SCRAM, READERS, *CRASH)),
        ("1.25.1", (SCRAM, READERS, *CRASH)),
        ("1.25.2", (SCRAM, *CRASH)),
        ("1.26.0", (SCRAM,)),
        ("1.26.1", ()),
    ],
)
def test_a_flaw_is_of_the_versions_that_have_it(version: str, names: tuple[str, ...]) -> None:
    parsed = Version.parse(version)
    assert parsed is not None
    assert tuple(one.name for one in advisories(parsed)) == names
    assert all(one.name in str(one) and str(one.fixed) in str(one) for one in advisories(parsed))
