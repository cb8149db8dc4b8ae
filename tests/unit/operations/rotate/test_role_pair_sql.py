"""The statements that have one role stand in for another: names and values quoted, circles avoided."""

from __future__ import annotations

from dataclasses import replace

from console.model.role_pair import PairReading, RoleSetting
from console.postgres.role_pair_sql import stand_down_statements, stand_in_statements

VERIFIER = "SCRAM-SHA-256$4096:c2FsdA==$a:b"
PAIR = PairReading(
    node="pg",
    old_can_log_in=True,
    exists=False,
    can_log_in=False,
    expired=False,
    stored="",
    is_member=False,
    is_above=False,
    groups=("shops",),
    attributes=("CREATEDB",),
    lacking=(),
    connection_limit=30,
    settings=(
        RoleSetting(None, "search_path", '"$user", public'),
        RoleSetting("app", "myapp.tenant", "it's \\n"),
    ),
    owned=0,
    why_not=None,
)


def test_a_role_that_is_made_gets_membership_attributes_limit_and_settings() -> None:
    assert stand_in_statements(PAIR, "web", 'we"b', VERIFIER) == (
        f'CREATE ROLE "we""b" LOGIN INHERIT CREATEDB CONNECTION LIMIT 30 PASSWORD \'{VERIFIER}\'',
        'GRANT "web" TO "we""b"',
        "SELECT pg_catalog.set_config('search_path', '\"$user\", public', true)",
        'ALTER ROLE "we""b" SET "search_path" FROM CURRENT',
        'ALTER ROLE "we""b" IN DATABASE "app" SET "myapp"."tenant" TO E\'it\'\'s \\\\n\'',
    )


def test_one_that_exists_keeps_its_own() -> None:
    there = replace(PAIR, exists=True, is_member=True)
    assert stand_in_statements(there, "web", "web_b", VERIFIER) == (
        f"ALTER ROLE \"web_b\" LOGIN PASSWORD '{VERIFIER}'",
    )


def test_the_way_back_joins_the_groups_since_a_circle_is_refused() -> None:
    above = replace(PAIR, exists=True, is_above=True)
    assert stand_in_statements(above, "web_b", "web", VERIFIER)[1:] == ('GRANT "shops" TO "web"',)


def test_taken_out_it_is_what_it_was() -> None:
    def down(existed: bool, could_log_in: bool, stored: str | None) -> tuple[str, ...]:
        return stand_down_statements(
            "web_b", existed=existed, could_log_in=could_log_in, stored=stored, granted=("web",)
        )

    assert down(False, False, "") == ('DROP ROLE IF EXISTS "web_b"',)
    revoke = 'REVOKE "web" FROM "web_b"'
    assert down(True, True, VERIFIER) == (f"ALTER ROLE \"web_b\" LOGIN PASSWORD '{VERIFIER}'", revoke)
    assert down(True, False, "") == ('ALTER ROLE "web_b" NOLOGIN PASSWORD NULL', revoke)
    assert down(True, False, None) == ('ALTER ROLE "web_b" NOLOGIN', revoke)
