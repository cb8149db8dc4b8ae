"""The detail screen's text: last numbers under their age, missing columns with their version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.view.details import as_text, bouncer_details, postgres_details, raw_sections
from tests.tui.recording import snapshot


def text_of(name: str) -> str:
    return as_text(bouncer_details(snapshot().by_name[name], config_file="/srv/pgb.ini", monitor="watch"))


def test_an_unreachable_bouncers_last_numbers_stand_under_their_age() -> None:
    text = text_of("gone-1")
    assert "Numbers, 1m 15s old, not current" in text
    assert "compare fingerprints before you accept it" in text


def test_missing_columns_name_the_version_that_brings_them() -> None:
    assert "pools.load_balance_hosts" in text_of("legacy-118")
    assert "n/a (needs 1.24)" in text_of("legacy-118")


def test_settings_say_what_differs_from_the_default_and_what_needs_a_restart() -> None:
    text = text_of("edge-1a")
    assert "5000   (default 100)" in text
    assert "6432   needs a restart" in text
    assert "/etc/pgbouncer/pgbouncer.ini" in text


@pytest.mark.trap("T27")
def test_flaws_of_the_version_are_named() -> None:
    assert "Flaws of this version, unless its package has the fix" in text_of("legacy-118")
    assert "CVE-2026-107350" in text_of("legacy-118")
    assert "CVE-2026-6667" not in text_of("legacy-118"), "it has no KILL_CLIENT"


def test_what_was_not_read_is_told_with_its_reason() -> None:
    pooler = snapshot().by_name["edge-1a"]
    assert pooler.sample is not None
    sample = replace(
        pooler.sample, unread={"CONFIG": "not allowed", "CLIENTS": "60,000 clients are connected"}
    )
    text = as_text(bouncer_details(replace(pooler, sample=sample)))
    assert "Not read" in text
    assert "60,000 clients are connected" in text
    assert "SHOW CONFIG" in text
    assert "Not read" not in text_of("edge-1a")


def test_before_the_first_reading_the_inventory_speaks() -> None:
    text = text_of("new-1")
    assert "/srv/pgb.ini" in text
    assert "first connection is being made" in text


def test_raw_output_has_every_column_by_its_own_name() -> None:
    sample = snapshot().by_name["legacy-118"].sample
    assert sample is not None
    text = as_text(raw_sections(sample, "app"))
    assert "cl_waiting_cancel_req" in text
    assert "load_balance_hosts" in text
    assert "n/a (needs 1.24)" in text


def test_postgres_before_16_has_no_reserved_connections() -> None:
    assert "n/a (needs PostgreSQL 16)" in as_text(postgres_details(snapshot().postgres[0]))
    assert "password authentication failed" in as_text(postgres_details(snapshot().postgres[2]))
