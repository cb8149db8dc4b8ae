"""Edits of ini files: what was asked is read back, by us and by PgBouncer, and every other byte stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.pgbouncer_edit import apply_changes, changed_paths, in_force
from console.config.pgbouncer_ini import Entry, decoded
from console.config.pgbouncer_keys import Change, EditError, Key, parse_change, parse_key
from console.config.pgbouncer_texts import ConfigTexts, HostFile, scan
from tests.unit.config.test_pgbouncer_ini import QUIET, PgBouncerSaw

ROOT, MORE = "/etc/p/main.ini", "/etc/p/more.ini"


def texts_of(main: str | bytes, more: str | bytes | None = None) -> ConfigTexts:
    files = {ROOT: main} | ({} if more is None else {MORE: more})
    return ConfigTexts(
        ROOT,
        "/etc/p",
        {
            path: HostFile(path, text if isinstance(text, bytes) else text.encode())
            for path, text in files.items()
        },
    )


def edited(main: str | bytes, *changes: str, more: str | None = None, sticky: tuple[str, ...] = ()) -> str:
    """Return the main file after changes: `key=value`, or `-key` to remove one."""
    return _both(main, *changes, more=more, sticky=sticky)[0]


def _both(
    main: str | bytes, *changes: str, more: str | None = None, sticky: tuple[str, ...] = ()
) -> tuple[str, str]:
    asked = [
        Change(parse_key(text[1:]), None) if text.startswith("-") else parse_change(text) for text in changes
    ]
    new = apply_changes(texts_of(main, more), asked, sticky)
    contents = [new.file(path).content or b"" for path in (ROOT, MORE)]
    return contents[0].decode("latin-1"), contents[1].decode("latin-1")


SETTINGS: dict[str, tuple[str | bytes, str, str | None]] = {
    "in place": ("[pgbouncer]\na = 1\nb = 2\n", "a=9", "[pgbouncer]\na = 9\nb = 2\n"),
    "spacing and tail stay": ("[pgbouncer]\n\t a\t=\t1  \n", "a=9", "[pgbouncer]\n\t a\t=\t9  \n"),
    "the last one counts": ("[pgbouncer]\na = 1\na = 2\n", "a=9", "[pgbouncer]\na = 1\na = 9\n"),
    "carriage returns": ("[pgbouncer]\r\na = 1\r\n", "a=9", "[pgbouncer]\r\na = 9\r\n"),
    "a new line in a file with carriage returns": (
        "[pgbouncer]\r\na = 1\r\n[users]\r\n",
        "b=2",
        "[pgbouncer]\r\na = 1\r\nb = 2\r\n[users]\r\n",
    ),
    "behind the header": ("[pgbouncer] a = 1\n", "a=9", "[pgbouncer] a = 9\n"),
    "taken out behind the header": ("[pgbouncer] a = 1\nb = 2\n", "-a", "[pgbouncer] \nb = 2\n"),
    "no line end": ("[pgbouncer]\na = 1", "a=9", "[pgbouncer]\na = 9"),
    "a new line behind no line end": ("[pgbouncer]\na = 1", "b=9", "[pgbouncer]\na = 1\nb = 9"),
    "empty": ("[pgbouncer]\na =\n", "a=9", "[pgbouncer]\na = 9\n"),
    "made empty": ("[pgbouncer]\na = 1\n", "a=", "[pgbouncer]\na = \n"),
    "new and empty": ("[pgbouncer]\n", "a=", "[pgbouncer]\na =\n"),
    "below its remark": (
        "[pgbouncer]\n;; what it is\n;a = 1\n\n;b = 1\nc = 3\n",
        "a=9",
        "[pgbouncer]\n;; what it is\n;a = 1\na = 9\n\n;b = 1\nc = 3\n",
    ),
    "a remark of another section is none": (
        "[databases]\n;a = 1\n[pgbouncer]\nb = 1\n[users]\n;a = 1\n",
        "a=9",
        "[databases]\n;a = 1\n[pgbouncer]\nb = 1\na = 9\n[users]\n;a = 1\n",
    ),
    "as the line above is written": ("[pgbouncer]\n  b=1\n", "a=9", "[pgbouncer]\n  b=1\n  a=9\n"),
    "an empty section": ("[pgbouncer]\n[users]\n", "a=9", "[pgbouncer]\na = 9\n[users]\n"),
    "a header behind the header": ("[pgbouncer][users]\n", "a=9", "[pgbouncer]\na = 9\n[users]\n"),
    "a remark behind the header": ("[pgbouncer] ; x\n", "a=9", "[pgbouncer] ; x\na = 9\n"),
    "no section": ("[users]\nx = pool_mode=session", "a=9", None),
    "only what is below the last header counts": (
        "[pgbouncer]\na = 1\n[pgbouncer]\nb = 1\n",
        "a=9",
        "[pgbouncer]\na = 1\n[pgbouncer]\nb = 1\na = 9\n",
    ),
    "all of them are taken out": ("[pgbouncer]\na = 1\n[users]\n[pgbouncer]\n a = 2\r\na=3", "-a", None),
    "taken out what is not there": ("[pgbouncer]\n", "-a", "[pgbouncer]\n"),
    "bytes of no encoding": (b"[pgbouncer]\n; caf\xe9\na = \xff1\n", "b=2", None),
    "as it was": ("[pgbouncer]\na=1\n", "a=1", "[pgbouncer]\na=1\n"),
}
EXPECTED = {
    "no section": "[users]\nx = pool_mode=session\n\n[pgbouncer]\na = 9\n",
    "all of them are taken out": "[pgbouncer]\n[users]\n[pgbouncer]\n",
    "bytes of no encoding": "[pgbouncer]\n; caf\xe9\na = \xff1\nb = 2\n",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    text, change, result = SETTINGS[name]
    assert edited(text, change) == (EXPECTED[name] if result is None else result)


def test_a_setting_without_a_default_is_changed_above_a_second_header_too() -> None:
    text = "[pgbouncer]\nauth_file = a\n[pgbouncer]\nb = 1\n"
    assert edited(text, "auth_file=z", sticky=("auth_file",)) == text.replace("= a", "= z")


LINE = "[databases]\napp = {}\n"
PAIRS = {
    "in place": ("host=h pool_size=5 port=1", "pool_size=20", "host=h pool_size=20 port=1"),
    "behind the others": ("host=h", "pool_size=20", "host=h pool_size=20"),
    "the only one": ("", "pool_size=20", "pool_size=20"),
    "the last one counts": ("port=1  port=2", "port=3", "port=1  port=3"),
    "odd spacing": ("host  =  h   port = 1", "host=x", "host  =  x   port = 1"),
    "quotes that are needed": (
        "host=h",
        "connect_query=select 'a'",
        "host=h connect_query='select ''a'''",
    ),
    "quotes at the beginning": ("host=h", "application_name='x", "host=h application_name='''x'"),
    "quotes within are none": ("host=h", "application_name=x'y", "host=h application_name=x'y"),
    "quotes that go": ("dbname='a b' host=h", "dbname=x", "dbname=x host=h"),
    "what touches a quote is swallowed": ("dbname='a'xhost=h", "dbname=b", "dbname=b host=h"),
    "taken out": ("host=h pool_size=5 port=1", "-pool_size", "host=h port=1"),
    "taken out at the end": ("host=h  pool_size=5", "-pool_size", "host=h"),
    "taken out twice": ("pool_size=1 host=h pool_size='5'", "-pool_size", "host=h"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_options_of_a_line(name: str) -> None:
    text, change, result = PAIRS[name]
    sign = "-" if change.startswith("-") else ""
    got = edited(LINE.format(text), f"{sign}databases.app.{change.removeprefix('-')}")
    assert got == LINE.format(result)


def test_a_user_gets_a_line_and_a_database_does_not() -> None:
    assert edited("[users]\n", "users.bob.pool_mode=session") == "[users]\nbob = pool_mode=session\n"
    with pytest.raises(EditError, match=r"\[databases\] has no line of new"):
        edited("[databases]\n", "databases.new.pool_size=3")
    assert edited("[databases]\n", "databases.new=host=h") == "[databases]\nnew = host=h\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pool_mode", Key("pgbouncer", "pool_mode")),
        ("pgbouncer.pool_mode", Key("pgbouncer", "pool_mode")),
        ("databases.app", Key("databases", "app")),
        ("databases.*", Key("databases", "*")),
        ("databases.my.app", Key("databases", "my.app")),
        ("databases.my.app.port", Key("databases", "my.app", "port")),
        ('databases."my.port"', Key("databases", "my.port")),
        ('databases."my ""app"".x".port', Key("databases", 'my "app".x', "port")),
        ("users.bob.pool_mode", Key("users", "bob", "pool_mode")),
        ("peers.2.host", Key("peers", "2", "host")),
    ],
)
def test_keys_are_read_as_they_are_written(text: str, key: Key) -> None:
    assert parse_key(text) == key
    assert parse_key(str(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        *("pool mode=1", "=1", "a", "a=x\ny", "a=x\0", "a= x", "a=x ", "a=x\r", "dat.x=1", "databases.=1"),
        *("databases.app.port=", "databases.it's=host=h", 'databases."x".colour=1'),
    ],
)
def test_what_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(EditError):
        parse_change(text)


def test_no_message_holds_a_value() -> None:
    for line, change in (
        ("password='hunter2", "databases.app.pool_size=3"),
        ("password=hunter2 hunter3", "databases.app.pool_size=3"),
        ("host=h", "databases.app.passwort=hunter2"),
        ("host=h", "databases.app.password=hunter2\n"),
    ):
        with pytest.raises(EditError) as caught:
            edited(LINE.format(line), change)
        assert "hunter" not in f"{caught.value}{caught.value.where}{caught.value.hint}"
    assert "hunter2" not in repr(parse_change("databases.app.password=hunter2"))


def test_an_option_that_is_misspelt_makes_no_database() -> None:
    with pytest.raises(EditError, match="no option is called pool_sise"):
        edited(LINE.format("host=h"), "databases.app.pool_sise=3")
    assert "app.x = host=h" in edited(LINE.format("host=h"), 'databases."app.x"=host=h')


# -- included files ---------------------------------------------------------------------------------


def test_what_an_included_file_says_is_changed_there() -> None:
    main = "[pgbouncer]\na = 1\n%include more.ini\nc = 3\n"
    assert _both(main, "b=9", more="b = 2\n") == (main, "b = 9\n")
    assert _both(main, "c=9", more="b = 2\n")[0] == main.replace("3", "9")
    assert _both(main, "d=9", more="b = 2\n")[0] == main + "d = 9\n"


def test_a_section_goes_on_behind_an_included_file_that_began_another() -> None:
    main = "[pgbouncer]\na = 1\n%include more.ini\nbob = pool_mode=session\n"
    new = _both(main, "b=2", more="[users]\nann = pool_mode=session\n")[0]
    assert new == main.replace("a = 1\n", "a = 1\nb = 2\n")
    main = "[pgbouncer] %include more.ini\n"
    assert _both(main, "b=2", more="[users]\n")[0] == "[pgbouncer]\nb = 2\n %include more.ini\n"


def test_a_line_that_would_change_another_section_along_is_left_alone() -> None:
    main = "[databases]\n%include more.ini\n[users]\n%include more.ini\n"
    with pytest.raises(EditError, match="change along"):
        _both(main, "users.bob.pool_size=3", more="bob = pool_size=1\n")


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(EditError, match="zero byte"):
        edited(b"[pgbouncer]\na = 1\n\0", "a=2")


# -- properties -------------------------------------------------------------------------------------

_FRAGMENTS = st.sampled_from(
    [
        *(
            "[pgbouncer]",
            " [databases] ",
            "[users]",
            "[pgbouncer];c",
            "[users]pool_mode=x",
            "; c",
            "",
            "\t\v",
        ),
        *("a = 1", "\ta=2", "b = x y", "b=", ";a = 1", "# b=2", "x = host=h port=1", "x=port='1'  user=u"),
        *("y = dbname='a b'xport=2", "a = caf\udce9", "'q r' = host=h", "[broken", "no equals", "a = 1 ; 2"),
    ]
)
_ENDS = st.sampled_from(["\n", "\n", "\r\n"])
_text = st.lists(st.tuples(_FRAGMENTS, _ENDS), max_size=9).map(
    lambda lines: "".join(text + end for text, end in lines)
)
_main = st.tuples(_text, st.sampled_from(["", "%include more.ini\n"]), _text, st.booleans()).map(
    lambda parts: "".join(parts[:3])[: -1 if parts[3] else None]
)
_VALUES = st.text(st.sampled_from("ab1 '=;#[%\t\xe9"), max_size=6).map(lambda text: text.strip(" \t"))
_keys = st.sampled_from(
    [
        *(Key("pgbouncer", name) for name in ("a", "b", "c")),
        *(Key(section, name) for section in ("databases", "users") for name in ("a", "x", "y", "q r")),
        *(Key(section, "x", pair) for section in ("databases", "users") for pair in ("port", "user")),
        *(Key("users", name, "pool_mode") for name in ("a", "y", "new")),
    ]
)
_changes = st.builds(
    lambda key, value: Change(key, None if key.pair and not value else value), _keys, st.none() | _VALUES
)


def common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def middle(was: str, now: str) -> tuple[str, str]:
    """Return what differs between two texts, without what they begin and end with alike."""
    head = common(was, now)
    tail = common(was[head:][::-1], now[head:][::-1])
    return was[head : len(was) - tail], now[head : len(now) - tail]


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(letter in rest for letter in short)


@settings(max_examples=400, deadline=None)
@given(main=_main, more=_text, change=_changes)
def test_one_change_makes_one_line_and_touches_nothing_else(main: str, more: str, change: Change) -> None:
    old = texts_of(main.encode("utf-8", "surrogateescape"), more.encode("utf-8", "surrogateescape"))
    try:
        new = apply_changes(old, [change])
    except EditError:
        return
    key = change.key
    before, after = in_force(scan(old)[0]), in_force(scan(new)[0])
    at = (key.section, key.name)
    assert {k: e.value for k, e in before.items() if k != at} == {
        k: e.value for k, e in after.items() if k != at
    }
    if key.pair is None:
        assert (None if change.value is None else at in after and after[at].value) == change.value
    if change.value is not None:
        assert len(changed_paths(old, new)) <= 1
    for path in changed_paths(old, new):
        was, now = (decoded(texts.file(path).content or b"") for texts in (old, new))
        gone, come = middle(was, now)
        if change.value is None and key.pair is None:
            assert is_subsequence(now, was), "lines went, and nothing came"
        elif at in before:
            assert gone in before[at].value
            assert come in f" {after[at].value}"
        else:
            assert gone == ""
            assert after[at].value in come
    assert apply_changes(new, [change]) == new, "done twice is done once"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pd-edit-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("name", PAIRS)
def test_pgbouncer_reads_the_options_back(folder: Path, name: str) -> None:
    text, change, _ = PAIRS[name]
    key = Key("databases", "app", change.removeprefix("-").partition("=")[0])
    value = None if change.startswith("-") else change.partition("=")[2]
    main = folder / "main.ini"
    before = texts_of(QUIET + LINE.format(text))
    main.write_bytes(before.file(ROOT).content or b"")
    was: dict[str | None, str | None] = {**dict(PgBouncerSaw(folder).pairs)}
    main.write_bytes(apply_changes(before, [Change(key, value)]).file(ROOT).content or b"")
    saw = PgBouncerSaw(folder)
    assert saw.syntax_error is None
    assert not saw.refused_value
    wanted = {**was, key.pair: value}
    assert dict(saw.pairs) == {option: text for option, text in wanted.items() if text is not None}


@settings(max_examples=15, deadline=None)
@given(main=_main, more=_text, change=_changes)
def test_pgbouncer_reads_what_we_wrote(main: str, more: str, change: Change) -> None:
    # A second [pgbouncer] would take QUIET back, and it would run.
    main, more = (text.replace("[pgbouncer]", "[peers]") for text in (main, more))
    if "[broken" in main + more or "no equals" in main + more:
        return
    with tempfile.TemporaryDirectory(prefix="pd-edit-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        old = texts_of(
            (QUIET + main).encode("utf-8", "surrogateescape"), more.encode("utf-8", "surrogateescape")
        )
        try:
            new = apply_changes(old, [change])
        except EditError:
            return
        (place / "main.ini").write_bytes(new.file(ROOT).content or b"")
        (place / "more.ini").write_bytes(new.file(MORE).content or b"")
        found = scan(new)[0]
        theirs = PgBouncerSaw(place, "1.26")
        ours = [(step.key, step.value) if isinstance(step, Entry) else (step.name,) for step in found.steps]
        # It may stop early, at a value that it refuses; as far as it went it read the same.
        assert theirs.steps == ours[: len(theirs.steps)]
