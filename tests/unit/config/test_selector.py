"""Selectors choose what they say, in the fleet's order, and refuse what they do not understand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.config.selector import Besides, Selected, parse_selector
from console.errors import SelectorError


@dataclass(frozen=True)
class Node:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


FLEET = (
    Node("edge-1a", {"zone": "a", "tier": "web"}),
    Node("edge-1b", {"zone": "b"}),
    Node("edge-2a", {"zone": "a"}),
    Node("core", {"tier": "batch,night"}),
)
DATABASES = ("app", "app_archive", "jobs", "we,ird/na*me")


def chosen(text: str) -> list[str]:
    return [str(part) for part in parse_selector(text).select(FLEET)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", ["edge-1a", "edge-1b", "edge-2a", "core"]),
        ("edge-*", ["edge-1a", "edge-1b", "edge-2a"]),
        ("edge-?a", ["edge-1a", "edge-2a"]),
        ("edge-[12]a", ["edge-1a", "edge-2a"]),
        ("core,edge-1a", ["edge-1a", "core"]),
        (" core , edge-1a ", ["edge-1a", "core"]),
        ("edge-1a,edge-*", ["edge-1a", "edge-1b", "edge-2a"]),
        ("@zone=a", ["edge-1a", "edge-2a"]),
        ("@zone=*", ["edge-1a", "edge-1b", "edge-2a"]),
        ("@zone", ["edge-1a", "edge-1b", "edge-2a"]),
        ('@tier="batch,night"', ["core"]),
        ("!core", ["edge-1a", "edge-1b", "edge-2a"]),
        ("! core,!@zone=a", ["edge-1b"]),
        ("edge-*,!edge-1b", ["edge-1a", "edge-2a"]),
        ("!edge-1b,edge-1b", ["edge-1a", "edge-1b", "edge-2a", "core"]),
        ("edge-1a,!edge-1a,core", ["core"]),
        ("edge-1a/app", ["edge-1a/app"]),
        ("@zone=a/app", ["edge-1a/app", "edge-2a/app"]),
        ("all/app*,!core", ["edge-1a/app*", "edge-1b/app*", "edge-2a/app*"]),
        ("edge-1a/app,edge-1a", ["edge-1a"]),
        ("edge-1a,edge-1a/app", ["edge-1a"]),
        ("core/jobs,core/app", ["core/jobs", "core/app"]),
        ("edge-1a/app,core,!edge-1a/app", ["core"]),
    ],
)
def test_a_selector_chooses(text: str, names: list[str]) -> None:
    assert chosen(text) == names


@pytest.mark.parametrize(
    ("text", "databases"),
    [
        ("core", DATABASES),
        ("core/app", ("app",)),
        ("core/app*", ("app", "app_archive")),
        ("core/*,!core/app", ("app_archive", "jobs", "we,ird/na*me")),
        ("core,!core/app*", ("jobs", "we,ird/na*me")),
        ("core/app*,!core/app_*", ("app",)),
        ('core/"we,ird/na*me"', ("we,ird/na*me",)),
        ("core/gone", ()),
    ],
)
def test_databases_are_chosen_from_what_the_pooler_has(text: str, databases: tuple[str, ...]) -> None:
    (part,) = parse_selector(text).select(FLEET)
    assert part.choose(DATABASES) == databases


def test_an_exact_database_can_be_told_from_a_glob() -> None:
    (exact,) = parse_selector("core/app").select(FLEET)
    (glob,) = parse_selector("core/app*").select(FLEET)
    (quoted,) = parse_selector('core/"app*"').select(FLEET)
    assert exact == Selected("core", "app", is_exact=True)
    assert not glob.is_exact
    assert quoted == Selected("core", "app*", is_exact=True)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("edge-1c", "'edge-1c' matches no node", "did you mean edge-1"),
        ("edeg-*", "'edeg-*' matches no node", "did you mean edge-"),
        ("core,!coer", "'!coer' matches no node", "did you mean core?"),
        ("zzz", "'zzz' matches no node", "nodes here: edge-1a, edge-1b, edge-2a, core"),
        ("@zoen=a", "none has the label zoen", "did you mean zone?"),
        ("@zone=c", "none has that value of the label zone", "values here: a, b"),
        ("core,!core", "chooses nothing", None),
        ("Core", "'Core' matches no node", "did you mean core?"),
    ],
)
def test_a_term_that_matches_nothing_is_named_with_what_is_near(
    text: str, message: str, hint: str | None
) -> None:
    with pytest.raises(SelectorError) as caught:
        chosen(text)
    assert message in caught.value.message
    assert (hint is None and caught.value.hint is None) or (hint or "?") in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("primary", "primary is a Postgres node, and pause acts on bouncers", "names here: edge-1a, "),
        ("core,!replica", "'!replica': replica is a Postgres node, and", "names here: edge-1a, "),
        ("prim*/app", "'prim*/app': primary is a Postgres node, and", "names here: edge-1a, "),
        ("@role=rw", "'@role=rw': primary is a Postgres node, and", "names here: edge-1a, "),
        ("core-db", "core-db is a Postgres node, and pause acts on bouncers", "did you mean core?"),
        ("zzz", "'zzz' matches no node", "nodes here: edge-1a, "),
    ],
)
def test_a_term_that_names_the_other_kind_is_told_so(text: str, message: str, hint: str) -> None:
    others = (Node("primary", {"role": "rw"}), Node("replica"), Node("core-db"))
    besides = Besides(others, "a Postgres node", "pause acts on bouncers")
    with pytest.raises(SelectorError) as caught:
        parse_selector(text).select(FLEET, besides)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert parse_selector("all").select(FLEET, besides) == parse_selector("all").select(FLEET)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "a,,b", "!", "a,", "/app", "core/", "@", "@=a", "@zone=", 'core/"app', 'core/""', '"a"b"'],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.hint or "quotes" in caught.value.message


def test_an_empty_fleet_gives_an_error_and_not_nothing() -> None:
    with pytest.raises(SelectorError, match="matches no node"):
        parse_selector("all").select(())


_NAMES = ("a", "b", "ab", "b1")
_DBS = ("x", "y", "xy")
_TERMS = st.builds(
    lambda without, node, database: f"{without}{node}{database}",
    st.sampled_from(["", "!"]),
    st.sampled_from(["a", "b", "a*", "*b", "?", "*", "all"]),
    st.sampled_from(["", "/x", "/y", "/x*", "/*", "/?"]),
)


@settings(deadline=None)
@given(st.lists(_TERMS, min_size=1, max_size=6))
def test_selection_is_set_arithmetic_from_left_to_right(terms: list[str]) -> None:
    nodes = [Node(name) for name in _NAMES]
    everything = {(name, database) for name in _NAMES for database in _DBS}
    wanted = set(everything) if terms[0].startswith("!") else set()
    for term in terms:
        body = term.removeprefix("!")
        node, _, database = body.partition("/")
        matched = {
            pair
            for pair in everything
            if fnmatchcase(pair[0], "*" if node == "all" else node) and fnmatchcase(pair[1], database or "*")
        }
        wanted = wanted - matched if term.startswith("!") else wanted | matched
    try:
        parts = parse_selector(",".join(terms)).select(nodes)
    except SelectorError:
        got: set[tuple[str, str]] = set()
    else:
        got = {(part.name, database) for part in parts for database in part.choose(_DBS)}
        order = [_NAMES.index(part.name) for part in parts]
        assert order == sorted(order)
    assert got == wanted


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        parsed = parse_selector(text).terms
    except SelectorError:
        parsed = None
    assert parsed is None or all(term.text for term in parsed)


@settings(deadline=None)
@given(st.text(min_size=1).filter(str.strip))
def test_any_database_name_can_be_quoted(name: str) -> None:
    quoted = name.replace('"', '""')
    (part,) = parse_selector(f'core/"{quoted}"').select(FLEET)
    assert part.choose((name, f"{name}x")) == (name,)
