"""A second role in a pooler's files, and out of them again: other people's lines stay as they are."""

from __future__ import annotations

from dataclasses import replace

from pydantic import SecretStr

from console.config.pgbouncer_texts import ConfigTexts, HostFile
from console.config.scram import SecretKind, scram_verifier
from console.model.rows import Setting
from console.model.version import Version
from console.operations.rotate.two_roles_edit import (
    NewSecret,
    Pooler,
    as_before,
    entry_kind,
    ini_changes,
    is_listed,
    scrambled,
    told,
    with_second,
    without,
)

ROOT, MORE, USERS = "/etc/pgb.ini", "/etc/more.ini", "/etc/users.txt"
INI = b"""; ours
[databases]
app = host=pg user=web password='old word' pool_size=5   
own = host=pg dbname=app
%include /etc/more.ini
[pgbouncer]
auth_file = /etc/users.txt
auth_user = web
admin_users = root, web
[users]
web = max_user_connections=9
"""
INCLUDED = b"other = host=pg auth_user=web ; not a comment\n".replace(b" ; not a comment", b"")
AUTH = b'"root" "r"\n"web" "old word"\n;end\n'
SECRET = NewSecret(SecretStr("new word"), scram_verifier("new word", iterations=1))


def setting(key: str, value: str, default: str | None) -> Setting:
    return Setting(key, value, default, changeable=True)


POOLER = Pooler(
    Version(1, 24, 1),
    {
        "auth_file": setting("auth_file", USERS, None),
        "auth_user": setting("auth_user", "web", None),
        "admin_users": setting("admin_users", "root, web", ""),
        "auth_type": setting("auth_type", "scram-sha-256", "md5"),
    },
)


def texts(ini: bytes = INI, auth: bytes = AUTH) -> ConfigTexts:
    files = {ROOT: ini, MORE: INCLUDED, USERS: auth}
    return ConfigTexts(ROOT, "/etc", {path: HostFile(path, content) for path, content in files.items()})


def content(made: ConfigTexts, path: str) -> bytes:
    found = made.file(path).content
    assert found is not None
    return found


def undone(made: ConfigTexts, *, shut_out: bool = False, now: ConfigTexts | None = None) -> ConfigTexts:
    kept = {path: content(texts(), path) for path in (ROOT, MORE, USERS)}
    after = {path: made.file(path).sha256 or "" for path in kept}
    running = {**POOLER.running, "auth_user": setting("auth_user", "web_b", None)}
    pooler = replace(POOLER, running=running)
    return as_before(now or made, kept, after, pooler, ("web", "web_b"), shut_out=shut_out)


def test_the_second_role_stands_wherever_the_first_one_stood() -> None:
    made = with_second(texts(), POOLER, "web", "web_b", SECRET)
    expected = (
        INI.replace(b"user=web password='old word'", b"user=web_b password='new word'")
        .replace(b"auth_user = web", b"auth_user = web_b")
        .replace(b"root, web", b"root, web, web_b")
    )
    assert content(made, ROOT) == expected + b"web_b = max_user_connections=9\n"
    assert content(made, MORE) == b"other = host=pg auth_user=web_b\n"
    assert content(made, USERS) == AUTH + b'"web_b" "new word"\n'
    # Once more: nothing changes.
    assert with_second(made, POOLER, "web", "web_b", SECRET).files == made.files


def test_the_plan_tells_changes_without_the_secret() -> None:
    lines = told(ini_changes(texts(), POOLER, "web", "web_b", SECRET.clear))
    assert "databases.app.user = web_b" in lines
    assert "databases.app.password = the new secret" in lines
    assert "new word" not in "".join(lines)


def test_an_entry_is_of_the_first_ones_kind_unless_pgbouncer_logs_in_by_itself() -> None:
    scram = b'"web" "' + scram_verifier("old word", iterations=1).encode() + b'"\n'
    plain_ini = b"[databases]\nown = host=pg\n[pgbouncer]\nauth_file = /etc/users.txt\n"
    nobody = replace(POOLER, running={**POOLER.running, "auth_user": setting("auth_user", "", None)})
    assert entry_kind(texts(plain_ini, scram), nobody, "web", "web_b") is SecretKind.SCRAM
    assert entry_kind(texts(plain_ini, AUTH), nobody, "web", "web_b") is SecretKind.PLAINTEXT
    assert entry_kind(texts(plain_ini, b'"x" "y"\n'), nobody, "web", "web_b") is None
    # It asks for others: PgBouncer needs its password.
    assert entry_kind(texts(plain_ini, scram), POOLER, "web", "web_b") is SecretKind.PLAINTEXT


def test_taken_out_again_byte_for_byte() -> None:
    made = with_second(texts(), POOLER, "web", "web_b", SECRET)
    assert undone(made).files == texts().files


def test_taken_out_of_files_that_others_changed_meanwhile() -> None:
    made = with_second(texts(), POOLER, "web", "web_b", SECRET)
    theirs = made.with_files(
        {
            ROOT: HostFile(ROOT, content(made, ROOT).replace(b"; ours", b"; theirs").replace(b"=5", b"=7")),
            USERS: HostFile(USERS, content(made, USERS) + b'"their" "one"\n'),
        }
    )
    back = undone(made, now=theirs)
    assert content(back, ROOT) == INI.replace(b"; ours", b"; theirs").replace(b"=5", b"=7").replace(
        b"max_user_connections=9\n", b"max_user_connections=9\n"
    )
    assert content(back, USERS) == AUTH + b'"their" "one"\n'
    assert content(back, MORE) == INCLUDED


def test_shut_out_and_let_in_again() -> None:
    made = with_second(texts(), POOLER, "web", "web_b", SECRET)
    random = scrambled(made, POOLER, "web")
    assert b'"web" "old word"' not in content(random, USERS)
    assert is_listed(random, POOLER, "web")
    gone = without(random, POOLER, "web")
    assert not is_listed(gone, POOLER, "web")
    assert b"admin_users = root, web_b\n" in content(gone, ROOT)
    back = undone(made, now=gone, shut_out=True)
    assert is_listed(back, POOLER, "web")
    assert not is_listed(back, POOLER, "web_b")
    assert b"admin_users = root, web\n" in content(back, ROOT)
    assert b"user=web password='old word'" in content(back, ROOT)
