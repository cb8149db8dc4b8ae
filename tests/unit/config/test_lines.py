"""A mistake points at the right line whatever way the TOML is written."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.lines import KeyPath, key_lines, line_of

TEXT = '''\
# a comment with = and [brackets]
fleet = "x"

[defaults]
labels.zone = "a"   # dotted
"quoted key" = 1
'single.quoted' = 2
site . "inner dot.ted" = 3

[hosts]
[hosts.db1]
user = "u"
[hosts."odd.name"]  # quoted
port = 22

[[bouncers]]
name = "first"
start = [
  "a", # [[not a table]]
  """b
  c = 1 ]""", "d",
]
labels = { zone = "a", "k=v" = 'it''s' }

[bouncers.process]
kind = "systemd"

[[bouncers]]
name = """
[[bouncers]]
\\""" still text """
note = \'\'\'raw \\\'\'\'
after = 1979-05-27T07:32:00Z
[bouncers.process]
kind = "command"
[[bouncers.process.steps]]
run = 1
[[bouncers.process.steps]]
run = 2
'''.replace("'it''s'", "'its'")


def test_every_way_to_write_a_key_has_its_line() -> None:
    lines = key_lines(TEXT)
    numbered = TEXT.split("\n")
    expected: dict[KeyPath, str] = {
        ("fleet",): 'fleet = "x"',
        ("defaults", "labels", "zone"): "labels.zone",
        ("defaults", "quoted key"): '"quoted key"',
        ("defaults", "single.quoted"): "'single.quoted'",
        ("defaults", "site", "inner dot.ted"): "site .",
        ("hosts", "db1", "user"): 'user = "u"',
        ("hosts", "odd.name"): '[hosts."odd.name"]',
        ("hosts", "odd.name", "port"): "port = 22",
        ("bouncers", 0): "[[bouncers]]",
        ("bouncers", 0, "start", 0): '"a", #',
        ("bouncers", 0, "start", 1): '"""b',
        ("bouncers", 0, "start", 2): '  c = 1 ]""", "d"',
        ("bouncers", 0, "labels", "zone"): "labels = {",
        ("bouncers", 0, "labels", "k=v"): "labels = {",
        ("bouncers", 0, "process"): "[bouncers.process]",
        ("bouncers", 0, "process", "kind"): 'kind = "systemd"',
        ("bouncers", 1, "name"): 'name = """',
        ("bouncers", 1, "note"): "note =",
        ("bouncers", 1, "after"): "after =",
        ("bouncers", 1, "process", "kind"): 'kind = "command"',
        ("bouncers", 1, "process", "steps", 0, "run"): "run = 1",
        ("bouncers", 1, "process", "steps", 1, "run"): "run = 2",
    }
    for path, beginning in expected.items():
        line = lines[path]
        assert beginning.strip() in numbered[line - 1], (path, line)


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\nb = 2\r\n")[("b",)] == 3


def test_inline_array_of_tables_is_an_array_of_tables() -> None:
    lines = key_lines('bouncers = [\n  {name = "a"},\n  {name = "b", port = 1},\n]\n')
    assert lines[("bouncers", 1, "port")] == 3


def test_a_key_that_is_absent_is_told_where_its_table_begins() -> None:
    lines = key_lines('[[bouncers]]\nname = "a"\n\n[[bouncers]]\nname = "b"\n')
    assert line_of(lines, ("bouncers", 1, "sslmode")) == 4
    assert line_of(lines, ("fleet",)) is None


@pytest.mark.parametrize("text", ['a = "', "a = [1,", "a = '''x", "= 1", "a ="])
def test_what_is_not_toml_ends_in_an_error_and_not_in_a_loop(text: str) -> None:
    with pytest.raises(ValueError, match="TOML"):
        key_lines(text)


_VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(), st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


def _paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    found: list[KeyPath] = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _paths(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            found += _paths(inner, (*path, position))
    return found


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=6), _VALUES, max_size=5), st.booleans())
def test_the_scanner_sees_exactly_the_keys_that_tomllib_sees(document: dict[str, Any], multi: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=multi)
    assert set(key_lines(text)) == set(_paths(tomllib.loads(text)))
