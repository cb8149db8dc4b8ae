"""docs/inventory.md is complete and true: every key is in it, and every example loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console.config.load import load_inventory
from console.config.mistakes import _MODELS
from console.config.selector import parse_selector

DOCUMENT = Path(__file__).parents[3] / "docs/inventory.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
SECTIONS = {
    (): "### Top of the file",
    ("defaults",): "### `[defaults]`",
    ("hosts", "*"): "### `[hosts.NAME]`",
    ("bouncers", "*"): "### `[[bouncers]]`",
    ("bouncers", "*", "process"): "`[bouncers.process]` stands below",
    ("postgres", "*"): "### `[[postgres]]`",
    ("policy",): "### `[policy]`",
    ("policy", "development"): "### `[policy]`",
    ("policy", "staging"): "### `[policy]`",
    ("policy", "production"): "### `[policy]`",
}


def part_of(heading: str) -> str:
    """Return what stands between a heading and the next, or the first table after a sentence."""
    assert TEXT.count(heading) == 1, heading
    return re.split(r"\n#{2,3} ", TEXT.split(heading)[1], maxsplit=1)[0]


@pytest.mark.parametrize("place", SECTIONS, ids=str)
def test_every_key_of_a_table_is_explained_where_the_table_is(place: tuple[str, ...]) -> None:
    fields = set(_MODELS[place].model_fields)
    if place == ():
        fields -= {"defaults", "hosts", "bouncers", "postgres", "policy"}
    table_rows = [line for line in part_of(SECTIONS[place]).splitlines() if line.startswith("| `")]
    explained = {key for row in table_rows for key in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert fields <= explained


def test_every_table_of_the_schema_has_its_section() -> None:
    assert set(SECTIONS) == set(_MODELS)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_loads(number: int, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(EXAMPLES[number], encoding="utf-8")
    assert load_inventory(path).bouncers


def test_there_are_examples_of_every_table() -> None:
    together = "\n".join(EXAMPLES)
    assert len(EXAMPLES) >= 4
    for header in ("[defaults]", "[hosts.", "[[bouncers]]", "[bouncers.process]", "[[postgres]]"):
        assert header in together


def test_every_selector_of_the_table_can_be_read() -> None:
    rows = [line for line in part_of("## Selectors").splitlines() if line.startswith("| `")]
    shown = [text for row in rows for text in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(shown) >= 10
    for text in shown:
        assert parse_selector(text).terms
