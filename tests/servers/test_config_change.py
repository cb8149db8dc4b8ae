"""`config set`, `push` and `rollback` against real PgBouncers, here and over SSH, and its faults."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from console.config.pgbouncer_lint_files import Lint, lint
from console.errors import RefusedError, UsageError
from console.guard.verdict import Tier
from console.lab.secrets import ADMIN
from console.model.version import Version
from console.operations import reload_files
from console.operations.config_files import NEW
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.plan import TargetPlan
from tests.harness.servers import MakePgBouncer
from tests.servers.reload_kit import ReloadDesk
from tests.servers.ssh_kit import SshKit, kit
from tests.servers.test_operations_reload import far

__all__ = ["far", "kit"]
QUOTED_KEYS = Version(1, 25)
SET, PUSH, ROLLBACK = "config set", "config push", "config rollback"


@pytest_asyncio.fixture
async def one(make_pgbouncer: MakePgBouncer, tmp_path: Path) -> AsyncIterator[ReloadDesk]:
    """A bouncer of one version, where versions do not matter."""
    made = ReloadDesk(make_pgbouncer("1.24"), tmp_path / "journal.jsonl")
    async with made.service:
        yield made


@pytest_asyncio.fixture
async def away(make_pgbouncer: MakePgBouncer, tmp_path: Path, kit: SshKit) -> AsyncIterator[ReloadDesk]:
    """Likewise, behind SSH, whose account is no root."""
    async with kit.transport(host=kit.host(kit.sshd())) as transport:
        made = ReloadDesk(make_pgbouncer("1.26"), tmp_path / "journal.jsonl", transport)
        async with made.service:
            yield made


async def plan_of(desk: ReloadDesk, op: str, **parameters: Any) -> TargetPlan:
    return (await desk.service.plan(op, "edge", **parameters)).targets[0]


def backups(desk: ReloadDesk) -> list[Path]:
    behind = f"{desk.ini.name}.pooldeck-"
    return [
        path
        for path in desk.ini.parent.iterdir()
        if len(path.name) == len(behind) + 16 and path.name.startswith(behind)
    ]


def ok(receipt: TargetReceipt) -> TargetReceipt:
    assert receipt.outcome is Outcome.OK, receipt
    return receipt


# -- set --------------------------------------------------------------------------------------------


async def test_keys_are_changed_in_the_file_and_in_the_process(far: ReloadDesk) -> None:
    before = far.ini.read_text()
    asked = ("default_pool_size=7", "databases.app.pool_size=3", "listen_backlog=64", "query_timeout=9")
    plan = await plan_of(far, SET, changes=asked)
    assert plan.blocked is None
    assert (plan.tier, plan.undo) == (Tier.FELT, ("pooldeck config rollback edge",))
    assert plan.statements[-1] == "RELOAD"
    assert plan.statements[0].startswith(f"write {far.ini} (sha256 ")
    assert plan.diff[0] == f"{far.ini}:"
    assert {"-default_pool_size = 10", "+default_pool_size = 7"} < set(plan.diff)
    for note in ("default_pool_size: 10 → 7", "needs a restart: listen_backlog: 128 → 64"):
        assert note in plan.notes
    receipt = ok(await far.do(SET, changes=asked))
    assert far.setting("default_pool_size") == "7"
    after = far.ini.read_text()
    kept = [
        line for line in before.splitlines() if "default_pool_size" not in line and not line.startswith("app")
    ]
    assert [line for line in after.splitlines() if line in kept] == kept, (
        "all else is as it was, in its order"
    )
    assert "needs a restart: listen_backlog = 64" in receipt.next_steps
    (backup,) = backups(far)
    assert backup.read_text() == before
    assert backup.stat().st_mode == far.ini.stat().st_mode
    assert backup.stat().st_uid == far.ini.stat().st_uid
    assert receipt.next_steps[-1] == f"pooldeck config rollback edge --run {backup.name[-16:]}"
    intent, outcome = far.records()[-2:]
    assert intent["statements"] == list(plan.statements)
    assert [one["statement"] for one in outcome["exchanges"]] == list(plan.statements)

    again = await far.do(SET, changes=asked)
    assert again.outcome is Outcome.NO_CHANGE
    assert len(backups(far)) == 1


async def test_what_the_file_says_already_and_the_process_does_not_needs_only_a_reload(
    one: ReloadDesk,
) -> None:
    one.edit(lambda text: text.replace("default_pool_size = 10", "default_pool_size = 7"))
    plan = await plan_of(one, SET, changes=("default_pool_size=7",))
    assert plan.statements == ("RELOAD",)
    ok(await one.do(SET, changes=("default_pool_size=7",)))
    assert one.setting("default_pool_size") == "7"
    assert backups(one) == []


async def test_a_value_that_pgbouncer_refuses_is_refused_before_anything_is_written(one: ReloadDesk) -> None:
    before = one.ini.read_bytes()
    for asked, words in (
        ("default_pool_size=many", "default_pool_size must be a whole number"),
        ("no_such_setting=1", "knows no setting no_such_setting"),
        ("databases.app.colour=red", "no option is called colour"),
        ("databases.app.pool_mode=both", "pool_mode must be one of"),
        ("databases.nobody.pool_size=1", "[databases] has no line of nobody"),
        ("admin_users=", "nobody could administer it any more"),
    ):
        plan = await one.service.plan(SET, "edge", changes=(asked,))
        assert words in (plan.targets[0].blocked or ""), asked
        with pytest.raises(RefusedError):
            one.submit(plan)
    assert one.ini.read_bytes() == before
    assert one.meddler.sent == []
    assert os.listdir(one.ini.parent).count(one.ini.name + NEW) == 0


@pytest.mark.trap("T29")
async def test_an_odd_name_is_written_as_its_version_reads_it(far: ReloadDesk) -> None:
    asked = ('databases."odd name"=host=127.0.0.1 port=1 dbname=app',)
    plan = await plan_of(far, SET, changes=asked)
    if far.server.version < QUOTED_KEYS:
        assert "before 1.25 a key in quotes is a syntax error" in (plan.blocked or "")
        return
    ok(await far.do(SET, changes=asked))
    assert "'odd name' = host=127.0.0.1 port=1 dbname=app" in far.ini.read_text()
    ok(await far.do(SET, remove=('databases."odd name"',)))
    assert "odd name" not in far.ini.read_text()


async def test_a_broken_file_is_mended(one: ReloadDesk) -> None:
    one.edit(lambda text: text.replace("[pgbouncer]\n", "[pgbouncer]\nno_such_setting = 1\n"))
    assert (await one.plan()).blocked is not None
    ok(await one.do(SET, remove=("no_such_setting",)))
    assert (await one.plan()).blocked is None


async def test_nothing_that_is_no_change_can_be_asked_for(one: ReloadDesk) -> None:
    asked: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "nothing is asked for"),
        ({"changes": ("databases.app.password=x",)}, "use config push"),
        ({"changes": ("databases.app=host=h password=x",)}, "use config push"),
        ({"changes": ("auth_ldap_options=x",)}, "use config push"),
        ({"changes": ("pool_mode",)}, "has no value"),
        ({"remove": ("a b",)}, "is no key"),
    )
    for parameters, words in asked:
        with pytest.raises(UsageError, match=words):
            await one.service.plan(SET, "edge", **parameters)


async def test_clients_that_a_change_cuts_cost_as_much_as_with_reload(one: ReloadDesk) -> None:
    with one.server.connect("tiny") as client:
        client.execute("select 1")
        plan = await plan_of(one, SET, remove=("databases.tiny",))
        assert plan.tier is Tier.CUT
        assert "database tiny: removed, 1 client to be cut" in plan.notes
        ok(await one.do(SET, remove=("databases.tiny",)))
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
        ok(await one.do(ROLLBACK))
    with one.server.connect("tiny") as client:
        client.execute("select 1")


async def test_included_files_and_links_are_followed(away: ReloadDesk) -> None:
    folder = away.server.launcher.make_dir(away.ini.parent / "conf.d")
    more = folder / "more of it.ini"
    away.server.launcher.write_file(more, b"query_timeout = 4 \r\n; caf\xe9\r\n")
    link = away.ini.with_name("link.ini")
    link.symlink_to("conf.d/more of it.ini")
    away.edit(lambda text: text + "%include link.ini\n")
    ok(await away.do("reload"))
    main = away.ini.read_bytes()
    ok(await away.do(SET, changes=("query_timeout=5",)))
    assert more.read_bytes() == b"query_timeout = 5 \r\n; caf\xe9\r\n"
    assert link.is_symlink()
    assert away.ini.read_bytes() == main
    assert away.setting("query_timeout") == "5"
    receipt = ok(await away.do(ROLLBACK))
    assert "query_timeout: 5 → 4" in receipt.differences
    assert more.read_bytes() == b"query_timeout = 4 \r\n; caf\xe9\r\n"
    assert link.is_symlink()


async def test_secrets_are_in_no_plan_and_no_journal(one: ReloadDesk) -> None:
    one.server.databases["app"] += " user=bob password='hunter2 and more'"
    one.server.databases["tiny"] += " password=hunter2"
    one.server.write_config()
    ok(await one.do("reload"))
    plan = await one.service.plan(SET, "edge", changes=("databases.app.pool_size=3",))
    told = f"{plan.as_dict()}{plan.targets[0].ask.found}"
    ok(await one.do(SET, changes=("databases.app.pool_size=3",)))
    assert "password='hunter2 and more' pool_size=3" in one.ini.read_text()
    receipt = ok(await one.do(ROLLBACK))
    told += f"{receipt}{json.dumps(one.records())}"
    assert "password=(not shown)" in told
    for secret in ("hunter2", "and more", one.server.secrets.password(ADMIN)):
        assert secret not in told


# -- push -------------------------------------------------------------------------------------------


async def test_a_pushed_file_leaves_each_target_its_own_identity(one: ReloadDesk, tmp_path: Path) -> None:
    text = one.ini.read_text()
    port = one.server.port
    pushed = tmp_path / "new.ini"
    pushed.write_text(
        text.replace(f"listen_port = {port}", "listen_port = 1").replace(
            "default_pool_size = 10", "default_pool_size = 8\njob_name = other"
        )
    )
    plan = await plan_of(one, PUSH, file=str(pushed))
    assert plan.blocked is None
    assert f"kept as it is there: listen_port = {port}" in plan.notes
    assert "kept as it is there: job_name is not set" in plan.notes
    receipt = ok(await one.do(PUSH, file=str(pushed)))
    assert "default_pool_size: 10 → 8" in receipt.differences
    assert one.ini.read_text() == text.replace("default_pool_size = 10", "default_pool_size = 8")
    assert (await one.do(PUSH, file=str(pushed))).outcome is Outcome.NO_CHANGE

    taken = await plan_of(one, PUSH, file=str(pushed), take=("listen_port",), keep=("default_pool_size",))
    assert f"needs a restart: listen_port: {port} → 1" in taken.notes
    pushed.write_text(pushed.read_text().replace("= 8", "= 9"))
    kept = await plan_of(one, PUSH, file=str(pushed), keep=("default_pool_size",))
    assert not kept.changes
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        await one.service.plan(PUSH, "edge", file=str(tmp_path / "none"))


async def test_a_pushed_file_that_changes_after_the_plan_refuses_the_run(
    one: ReloadDesk, tmp_path: Path
) -> None:
    pushed = tmp_path / "new.ini"
    pushed.write_text(one.ini.read_text() + "query_timeout = 3\n")
    plan = await one.service.plan(PUSH, "edge", file=str(pushed))
    pushed.write_text(one.ini.read_text() + "query_timeout = 4\n")
    receipt = await one.finish(one.submit(plan))
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    assert "query_timeout" not in one.ini.read_text()


# -- rollback ---------------------------------------------------------------------------------------


async def test_the_newest_backup_is_put_back_or_that_of_a_run(one: ReloadDesk) -> None:
    nothing = await plan_of(one, ROLLBACK)
    assert nothing.blocked == "there is no backup"
    for size in (1, 2, 3):
        ok(await one.do(SET, changes=(f"default_pool_size={size}",)))
    ok(await one.do(ROLLBACK))
    assert one.setting("default_pool_size") == "2"
    ok(await one.do(ROLLBACK))
    assert one.setting("default_pool_size") == "3", "a rollback is a change that can be rolled back"
    first = min(backups(one), key=lambda path: path.stat().st_ctime_ns).name[-16:]
    ok(await one.do(ROLLBACK, run=first))
    assert one.setting("default_pool_size") == "10"
    other = await plan_of(one, ROLLBACK, run="0" * 16)
    assert "there is no backup of run 0000000000000000; there are those of" in (other.blocked or "")
    for size in (4, 5):
        ok(await one.do(SET, changes=(f"default_pool_size={size}",)))
    assert len(backups(one)) == 5, "older ones were removed"


# -- when it goes wrong -----------------------------------------------------------------------------


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake: let errors past the check, as a mistake of ours would."""

    def lenient(*given: Any, **more: Any) -> Lint:
        found = lint(*given, **more)
        return replace(found, findings=found.warnings)

    monkeypatch.setattr(reload_files, "lint", lenient)


@pytest.mark.during("config: a bad new file")
async def test_a_bad_file_that_gets_past_the_check_is_put_back_and_reloaded(
    far: ReloadDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(await far.do(SET, changes=("default_pool_size=11",)))
    kept, before = backups(far), far.ini.read_bytes()
    blind(monkeypatch)
    with far.server.connect("app") as client:
        receipt = await far.do(SET, changes=("pool_mode=both",))
        client.execute("select 1")
    assert receipt.outcome is Outcome.FAILED
    assert "the files were put back and reloaded: it runs as they say" in receipt.detail
    assert far.meddler.sent == ["RELOAD"] * 3
    assert far.ini.read_bytes() == before
    assert (far.setting("pool_mode"), far.setting("default_pool_size")) == ("transaction", "11")
    assert backups(far) == kept, "what was put back is no longer kept"
    far.server.admin().close()
    outcome = far.records()[-1]
    assert [one["statement"][:5] for one in outcome["exchanges"]] == ["write", "RELOA", "write", "RELOA"]


async def test_a_change_after_the_plan_refuses_the_run(one: ReloadDesk) -> None:
    plan = await one.service.plan(SET, "edge", changes=("default_pool_size=7",))
    one.edit(lambda text: text + "; a remark\n")
    receipt = await one.finish(one.submit(plan))
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    one.meddler.after_look = lambda: one.edit(lambda text: text + "; another\n")
    receipt = await one.do(SET, changes=("default_pool_size=7",))
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    assert one.meddler.sent == []
    assert one.ini.read_text().endswith("; a remark\n; another\n")


async def test_a_change_between_write_and_reload_is_nobodys_to_undo(one: ReloadDesk) -> None:
    one.meddler.before_reload = lambda: one.edit(lambda text: text + "; a remark\n")
    receipt = await one.do(SET, changes=("default_pool_size=7",))
    assert receipt.outcome is Outcome.FAILED
    assert f"{one.ini} changed meanwhile" in receipt.detail
    assert one.ini.read_text().endswith("; a remark\n")


async def test_a_folder_that_may_not_be_written_is_refused_beforehand(away: ReloadDesk) -> None:
    os.chmod(away.server.directory, 0o555)
    try:
        plan = await plan_of(away, SET, changes=("default_pool_size=7",))
        assert f"{away.ini} cannot be replaced: the folder" in (plan.blocked or "")
    finally:
        os.chmod(away.server.directory, 0o700)


async def test_a_folder_that_closes_in_the_last_instant_leaves_all_as_it_was(away: ReloadDesk) -> None:
    before = away.ini.read_bytes()
    away.meddler.after_look = lambda: os.chmod(away.server.directory, 0o555)
    try:
        receipt = await away.do(SET, changes=("default_pool_size=7",))
    finally:
        os.chmod(away.server.directory, 0o700)
    assert receipt.outcome is Outcome.FAILED
    assert "could not be kept as" in receipt.detail
    assert "the files are as they were, and RELOAD was not sent" in receipt.detail
    assert away.ini.read_bytes() == before
    assert (away.meddler.sent, backups(away)) == ([], [])


async def test_a_run_that_is_stopped_before_reload_leaves_all_as_it_was(one: ReloadDesk) -> None:
    before = one.ini.read_bytes()
    run = await one.start(SET, changes=("default_pool_size=7",))
    async for event in run.events():
        if event.kind is EventKind.SENT and event.text.startswith("→ write"):
            run.cancel()
            run.cancel()
    receipt = await one.finish(run)
    assert receipt.interrupted
    assert "interrupted before RELOAD; the files are as they were" in receipt.detail
    assert one.ini.read_bytes() == before
    assert (one.meddler.sent, backups(one)) == ([], [])


async def test_a_session_that_is_lost_at_reload_is_opened_anew(one: ReloadDesk) -> None:
    one.meddler.lose_reload = 1
    ok(await one.do(SET, changes=("default_pool_size=7",)))
    assert one.setting("default_pool_size") == "7"
