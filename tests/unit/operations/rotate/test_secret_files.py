"""A role's password in ini files and the auth_file: changed where it stands, every other byte kept."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from console.config.pgbouncer_texts import ConfigTexts, HostFile
from console.config.scram import scram_verifier
from console.errors import UsageError
from console.model.version import Version
from console.operations.rotate.secret_files import (
    SecretFile,
    clear_secret_in,
    contents_with,
    inline_files,
    verifier_in,
    why_not_editable,
    with_contents,
)

ROOT, MORE, USERS = "/etc/pgb/pgbouncer.ini", "/etc/pgb/more.ini", "/etc/pgb/users"
VERSION = Version(1, 24, 1)
OLD, NEW = "the-old-0ne", "n3w 'quoted' \"one\";#=%\\x"
VERIFIER = scram_verifier(OLD)
MAIN = f"""; the shop's pooler, password={OLD} in a remark stays
[databases]
app = host=pg port=5432 user=web password={OLD} pool_size=5
; shop = host=pg user=web password={OLD}
twice = host=pg user=web password=first
%include more.ini
twice = host=pg   user=web   password='{OLD}'   pool_mode=session
other = host=pg user=other password={OLD}
bare = host=pg
[pgbouncer]
auth_file = {USERS}
"""
INCLUDED = f"\tlate = user=web password='{OLD}'\r\n* = host=pg user=web password={OLD}\r\n"


def texts(main: str = MAIN, users: str = "") -> ConfigTexts:
    files = {ROOT: main, MORE: INCLUDED, USERS: users}
    return ConfigTexts(
        ROOT, "/etc/pgb", {path: HostFile(path, text.encode()) for path, text in files.items()}
    )


def contents(found: ConfigTexts, files: tuple[SecretFile, ...], new: str = NEW) -> dict[str, bytes]:
    verifier = scram_verifier(new)
    return contents_with(found, files, VERSION, "web", verifier=verifier, secret=SecretStr(new))


def test_every_line_that_counts_is_changed_and_nothing_beside_it() -> None:
    found = texts()
    files = inline_files(found, "web")
    assert files == (SecretFile(ROOT, ("app", "twice")), SecretFile(MORE, ("late", "*")))
    assert why_not_editable(found, files) is None
    made = contents(found, files)
    written = "'" + NEW.replace("'", "''") + "'"
    main = MAIN.replace(f"user=web password={OLD} pool_size", f"user=web password={written} pool_size")
    main = main.replace(f"password='{OLD}'   pool", f"password={written}   pool")
    assert made[ROOT].decode() == main
    assert made[MORE].decode() == INCLUDED.replace(f"'{OLD}'", written).replace(OLD, written)
    assert clear_secret_in(with_contents(found, made), files, VERSION, "web") == SecretStr(NEW)
    assert clear_secret_in(found, files, VERSION, "web") == SecretStr(OLD)
    assert not inline_files(found, "nobody")


@pytest.mark.parametrize("kind", ["plaintext", "scram"])
def test_both_files_of_a_pooler_change_together(kind: str) -> None:
    stored = {"plaintext": OLD, "scram": VERIFIER}[kind]
    found = texts(users=f'; remark\n"web" "{stored}" x\n"other" "{OLD}"\n')
    files = (SecretFile(USERS), *inline_files(found, "web"))
    made = contents(found, files, "S0me-other-Word")
    assert made.keys() == {ROOT, MORE, USERS}
    after = with_contents(found, made)
    if kind == "plaintext":
        assert made[USERS] == f'; remark\n"web" "S0me-other-Word" x\n"other" "{OLD}"\n'.encode()
        assert verifier_in(found, files, VERSION, "web") is None
    else:
        assert verifier_in(found, files, VERSION, "web") == VERIFIER
        assert verifier_in(after, files, VERSION, "web") != VERIFIER
    assert clear_secret_in(after, files, VERSION, "web") == SecretStr("S0me-other-Word")


def test_a_file_that_is_laid_out_oddly_is_refused_before_anything_begins() -> None:
    again = MAIN.replace("bare = host=pg\n", "bare = host=pg\n%include more.ini\n")
    found = texts(again.replace("* =", "star ="))
    assert why_not_editable(found, inline_files(found, "web")) is None
    # One file read for two sections: its line is that of a database and, a second time, of a user.
    found = texts(f"{MAIN}[users]\n%include more.ini\n")
    problem = why_not_editable(found, inline_files(found, "web"))
    assert problem is not None
    assert OLD not in problem


def test_what_was_not_read_is_no_empty_file() -> None:
    found = ConfigTexts(ROOT, "/etc/pgb", {})
    with pytest.raises(UsageError, match="not read"):
        contents(found, (SecretFile(USERS),))
