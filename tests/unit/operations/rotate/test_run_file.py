"""What an interrupted rotation leaves: readable by its owner alone, whole, and without a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.errors import JournalError
from console.operations.rotate.run_file import FileState, Phase, RunFiles, RunState

STATE = RunState(
    run_id="a1",
    fleet="shop",
    role="web",
    selector="all",
    begun_at_s=1.0,
    verifier="SCRAM-SHA-256$1:c2FsdA==$aaa:bbb",
    before={"pg": None},
    files={
        "edge": (
            FileState("/etc/users", "/srv/users", "0" * 64, "1" * 64),
            FileState("/etc/pgbouncer.ini", "/etc/pgbouncer.ini", "2" * 64, "3" * 64),
        )
    },
)


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert files.open_for("shop", "web") is None
    files.write(STATE)
    files.write(STATE.at(Phase.POOLERS))
    found = files.open_for("shop", "web")
    assert found == STATE.at(Phase.POOLERS)
    assert found.file("edge", "/etc/users") == STATE.files["edge"][0]
    assert found.file("edge", "/etc/others") is found.file("other", "/etc/users") is None
    assert files.open_for("shop", "other") is None
    assert files.open_for("other", "web") is None
    assert files.path("a1").stat().st_mode & 0o777 == 0o600
    assert files.path("a1").parent.stat().st_mode & 0o777 == 0o700
    files.remove("a1")
    files.remove("a1")
    assert files.open_for("shop", "web") is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"files": 3}', "\xff"])
def test_a_file_that_cannot_be_read_is_never_taken_for_none(tmp_path: Path, text: str) -> None:
    files = RunFiles(tmp_path)
    files.write(STATE)
    files.path("a1").write_text(text, encoding="latin-1")
    with pytest.raises(JournalError, match="cannot be read"):
        files.open_for("shop", "web")


def test_no_repr_shows_a_verifier() -> None:
    assert "SCRAM" not in repr(STATE)
