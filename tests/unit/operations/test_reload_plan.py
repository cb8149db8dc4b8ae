"""How a plan of RELOAD reads: refusals, warnings, what is asked for, users that come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.config.schema import Bouncer
from console.guard.verdict import Tier
from console.operations.config_files import LIMIT_BYTES
from console.operations.outcome import Outcome
from console.operations.plan import TargetPlan
from console.operations.reach import Reach
from console.operations.reload_files import GOOD
from console.operations.service import OperationService
from tests.unit.operations.conftest import Bench
from tests.unit.operations.fake_pooler import FakePooler

Users = Callable[[bytes], None]


async def planned(bench: Bench, **parameters: Any) -> TargetPlan:
    return (await bench.service.plan("reload", "edge", **parameters)).targets[0]


def elsewhere(bench: Bench, **place: object) -> OperationService:
    """Return the bench's service, its bouncer at another place."""
    bouncer = Bouncer.model_validate(
        {"name": "edge", "tcp": "10.0.0.7:6432", "admin_user": "admin", "monitor_user": "stats", **place}
    )
    inventory = bench.inventory.model_copy(update={"bouncers": (bouncer,)})
    old = bench.service
    return OperationService(
        inventory,
        Reach(bench.pooler, leases=bench.leases),
        old._executor._journal,
        old._clock,
        read_only=False,
    )


async def test_files_that_cannot_be_reached_refuse_a_reload_and_say_how_to_insist(bench: Bench) -> None:
    service = elsewhere(bench)
    item = (await service.plan("reload", "edge")).targets[0]
    assert item.blocked is not None
    assert "the inventory names no host for it" in item.blocked
    assert "--unchecked reloads it all the same" in item.blocked
    assert item.statements == ()

    insisted = (await service.plan("reload", "edge", unchecked=True)).targets[0]
    assert (insisted.blocked, insisted.statements, insisted.tier) == (None, ("RELOAD",), Tier.FELT)
    assert any("answers success even when the file is broken" in text for text in insisted.warnings)
    assert insisted.facts["configuration files"].startswith("not read: ")


async def test_a_container_and_a_relative_path_are_told(bench: Bench) -> None:
    container = {"tcp": "127.0.0.1:6432", "process": {"kind": "docker", "container": "pgb"}}
    item = (await elsewhere(bench, **container).plan("reload", "edge")).targets[0]
    assert "it runs in a container" in (item.blocked or "")
    bench.pooler.config["conffile"] = ("pgbouncer.ini", "")
    assert "the path of its configuration file is not known" in ((await planned(bench)).blocked or "")


async def test_a_relative_path_is_helped_by_the_inventory(bench: Bench) -> None:
    bench.pooler.config["conffile"] = ("pgbouncer.ini", "")
    service = elsewhere(bench, tcp="127.0.0.1:6432", config_file=str(bench.ini))
    item = (await service.plan("reload", "edge")).targets[0]
    assert f"file {bench.ini}" in item.facts


async def test_the_file_that_the_process_reads_is_checked_not_the_one_of_the_inventory(bench: Bench) -> None:
    service = elsewhere(bench, tcp="127.0.0.1:6432", config_file="/etc/other.ini")
    item = (await service.plan("reload", "edge")).targets[0]
    assert (
        f"config_file of the inventory is /etc/other.ini; the process reads {bench.ini}" in item.warnings[0]
    )
    assert f"file {bench.ini}" in item.facts


async def test_a_file_of_any_size_is_read_no_further_than_its_limit(bench: Bench) -> None:
    bench.ini.write_bytes(b"#" * (LIMIT_BYTES + 1))
    assert "it is larger than 4 MiB" in ((await planned(bench)).blocked or "")


async def test_of_many_errors_the_first_refuses_and_the_others_are_listed(bench: Bench) -> None:
    bench.ini.write_text("[pgbouncer]\n" + "nope = 1\n" * 100)
    item = await planned(bench)
    assert (item.blocked or "").startswith(f"100 errors in its files: {bench.ini}:2: ")
    errors = [text for text in item.warnings if text.startswith("error: ")]
    assert len(errors) == 59
    assert "and 40 more" in item.warnings


async def test_the_plan_rests_on_the_bytes_of_each_file(bench: Bench) -> None:
    first = await bench.service.plan("reload", "edge")
    assert (await bench.service.plan("reload", "edge")).hash == first.hash
    bench.ini.write_text(bench.ini.read_text() + "; a comment\n")
    second = await bench.service.plan("reload", "edge")
    assert second.hash != first.hash
    copy = bench.ini.with_name(bench.ini.name + GOOD)
    copy.write_bytes(bench.ini.read_bytes())
    third = await bench.service.plan("reload", "edge")
    assert third.hash != second.hash, "what could be put back is another"
    assert third.targets[0].rescue == ("RELOAD",)


@pytest.fixture
def users(bench: Bench, pooler: FakePooler, tmp_path: Path) -> Users:
    """Writes the auth_file, which has a good copy."""
    path = tmp_path / "users.txt"
    pooler.config["auth_file"] = (str(path), "")
    pooler.config["auth_type"] = ("md5", "md5")
    pooler.lives_in(tmp_path)
    bench.ini.with_name(bench.ini.name + GOOD).write_bytes(bench.ini.read_bytes())
    path.with_name(path.name + GOOD).write_bytes(b'"admin" "x"\n"ann" "1"\n"bob" "2"\n')

    def write(content: bytes) -> None:
        path.write_bytes(content)

    return write


async def test_users_that_came_went_and_changed_are_named_and_their_secrets_are_not(
    bench: Bench, users: Users
) -> None:
    users(b'"admin" "x"\n"bob" "s3cret"\n"eve" "4"\n')
    item = await planned(bench)
    assert item.blocked is None
    lines = [note for note in item.notes if note.startswith("auth_file: ")]
    assert lines == [
        "auth_file: 1 user added since the last good reload: eve",
        "auth_file: 1 user removed since the last good reload: ann",
        "auth_file: 1 user with another secret since the last good reload: bob",
    ]
    assert "s3cret" not in f"{item}"


@pytest.mark.parametrize(("version", "warned"), [("1.24.1", False), ("1.25.2", True), ("1.26.1", True)])
async def test_removed_users_may_still_come_in_where_their_verifiers_are_kept(
    bench: Bench, pooler: FakePooler, users: Users, version: str, warned: bool
) -> None:
    pooler.version = version
    users(b'"admin" "x"\n"bob" "2"\n')
    found = any(
        "log in with their old password until a restart" in text for text in (await planned(bench)).warnings
    )
    assert found is warned


async def test_an_admin_who_is_no_longer_among_the_users_refuses_the_reload(
    bench: Bench, users: Users
) -> None:
    users(b'"bob" "2"\n')
    assert "admin, whom Pooldeck acts as, has no entry" in ((await planned(bench)).blocked or "")


@pytest.mark.parametrize(
    ("version", "mode", "warned"),
    [("1.18.0", "prefer", True), ("1.18.0", "disable", False), ("1.24.1", "prefer", False)],
)
@pytest.mark.trap("T8")
async def test_versions_that_reconnect_all_servers_say_so(
    bench: Bench, pooler: FakePooler, version: str, mode: str, warned: bool
) -> None:
    pooler.version = version
    pooler.config["server_tls_sslmode"] = (mode, "prefer")
    pooler.lives_in(bench.ini.parent)
    warnings = (await planned(bench)).warnings
    assert any("opens every server connection anew" in text for text in warnings) is warned


async def test_a_good_reload_keeps_copies_and_tells_it(bench: Bench) -> None:
    assert any("a copy of each file is kept beside it" in note for note in (await planned(bench)).notes)
    receipt = await bench.do("reload")
    assert receipt.outcome is Outcome.OK, receipt
    assert any(text.startswith(f"copies kept as NAME{GOOD}: ") for text in receipt.verified)
    assert bench.ini.with_name(bench.ini.name + GOOD).read_bytes() == bench.ini.read_bytes()


async def test_an_answer_that_is_not_what_the_files_say_is_no_success(
    bench: Bench, pooler: FakePooler
) -> None:
    bench.ini.write_text(bench.ini.read_text().replace("default_pool_size = 30", "default_pool_size = 31"))
    receipt = await bench.do("reload")
    assert receipt.outcome is Outcome.FAILED, "the pooler answers RELOAD and does nothing"
    assert "default_pool_size: 30, the file says 31" in receipt.detail
    assert not bench.ini.with_name(bench.ini.name + GOOD).exists()
