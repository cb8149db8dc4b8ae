"""RELOAD against real PgBouncers, here and over SSH: what it would do, what it did, and how it is mended."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from console.errors import RefusedError, UsageError
from console.guard.verdict import Tier
from console.lab.secrets import ADMIN
from console.lab.tls import CertificateAuthority
from console.model.version import Version
from console.operations.outcome import Outcome
from console.operations.reload_files import BROKEN, GOOD
from tests.harness.servers import MakePgBouncer
from tests.servers.operations_kit import until
from tests.servers.reload_kit import WRONG, ReloadDesk, break_on_top, lets_in
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit"]
REPORTS_FAILURE = Version(1, 25)


@pytest_asyncio.fixture
async def desk(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path
) -> AsyncIterator[ReloadDesk]:
    made = ReloadDesk(make_pgbouncer(pgbouncer_version), tmp_path / "journal.jsonl")
    async with made.service:
        yield made


@pytest_asyncio.fixture
async def far(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path, kit: SshKit
) -> AsyncIterator[ReloadDesk]:
    """A bouncer behind SSH, whose account is no root."""
    async with kit.transport(host=kit.host(kit.sshd())) as transport:
        made = ReloadDesk(make_pgbouncer(pgbouncer_version), tmp_path / "journal.jsonl", transport)
        async with made.service:
            yield made


# -- what it would do, and did ----------------------------------------------------------------------


async def test_the_plan_tells_what_a_reload_changes_and_the_receipt_what_it_changed(far: ReloadDesk) -> None:
    far.server.settings["default_pool_size"] = 7
    far.server.settings["listen_backlog"] = 64
    far.server.databases["extra"] = far.server.databases["app"]
    far.server.databases["app"] += " connect_query='select 1'"
    del far.server.databases["tiny"]
    far.server.write_config()
    plan = await far.plan()
    assert plan.blocked is None
    assert "default_pool_size: 10 → 7" in plan.notes
    assert "needs a restart: listen_backlog: 128 → 64" in plan.notes
    assert "database tiny: removed, no client uses it" in plan.notes
    assert any(line.startswith("database extra: added") for line in plan.notes)
    assert plan.tier is Tier.HARMLESS

    receipt = await far.do("reload")
    assert receipt.outcome is Outcome.OK, receipt
    assert "default_pool_size: 10 → 7" in receipt.differences
    assert "database tiny: removed" in receipt.differences
    assert any(line.startswith("database extra: added") for line in receipt.differences)
    assert "settings, databases and peers are as the files say" in receipt.verified
    assert "a new login to the console is let in" in receipt.verified


async def test_a_reload_of_unchanged_files_differs_in_nothing(desk: ReloadDesk) -> None:
    plan = await desk.plan()
    assert plan.notes[0] == "nothing: its files give what runs already"
    receipt = await desk.do("reload")
    assert (receipt.outcome, receipt.differences) == (Outcome.OK, ())


@pytest.mark.trap("T6")
async def test_values_that_somebody_set_are_told_before_they_are_undone(desk: ReloadDesk) -> None:
    assert (await desk.do("reload")).outcome is Outcome.OK
    with desk.server.admin() as console:
        console.execute("SET query_wait_timeout = 33")
    desk.server.settings["query_timeout"] = 5
    desk.server.write_config()
    plan = await desk.plan()
    assert "query_wait_timeout: 33 → 120 (its default), undoing a SET" in plan.notes
    assert "query_timeout: 0 → 5" in plan.notes
    assert any("would undo 1 value that somebody SET: query_wait_timeout" in w for w in plan.warnings)
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.OK
    assert "query_wait_timeout: 33 → 120 (its default)" in receipt.differences


@pytest.mark.trap("T7")
async def test_clients_of_a_database_that_left_the_file_are_counted_and_cost_more_to_cut(
    desk: ReloadDesk,
) -> None:
    with desk.server.connect("tiny") as client:
        client.execute("select 1")
        del desk.server.databases["tiny"]
        desk.server.write_config()
        plan = await desk.plan()
        assert plan.tier is Tier.CUT
        assert "database tiny: removed, 1 client to be cut" in plan.notes
        assert (await desk.do("reload")).outcome is Outcome.OK
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")


@pytest.mark.trap("T7", "T30")
async def test_automatic_databases_stay_and_are_told_apart(desk: ReloadDesk) -> None:
    desk.server.databases["*"] = desk.server.databases["app"]
    desk.server.write_config()
    assert (await desk.do("reload")).outcome is Outcome.OK
    with desk.server.connect("whatever") as client:
        client.execute("select 1")
        plan = await desk.plan()
        assert "database whatever: not listed; an automatic one (*) stays as it is" in plan.notes
        assert plan.tier is Tier.HARMLESS
        assert (await desk.do("reload")).outcome is Outcome.OK
        client.execute("select 1")


async def test_a_changed_host_is_told_with_the_connections_it_replaces(desk: ReloadDesk) -> None:
    with desk.server.connect("app") as client:
        client.execute("select 1")
        desk.server.databases["app"] = desk.server.databases["app"].replace("127.0.0.1", "localhost")
        desk.server.write_config()
        lines = [line for line in (await desk.plan()).notes if line.startswith("database app:")]
        assert "host 127.0.0.1 → localhost" in lines[0]
        assert lines[0].endswith("1 server connection to be replaced when released")


async def test_reload_is_of_a_whole_bouncer(desk: ReloadDesk) -> None:
    with pytest.raises(UsageError, match="acts on a whole bouncer"):
        await desk.service.plan("reload", "edge/app")


# -- files that are wrong, or not what they were ----------------------------------------------------


@pytest.mark.trap("T5")
async def test_a_file_with_an_error_is_refused_by_its_line_and_nothing_is_sent(far: ReloadDesk) -> None:
    far.edit(lambda text: break_on_top(text) + "pool_mode = both\n")
    plan = await far.service.plan("reload", "edge")
    item = plan.targets[0]
    line = far.ini.read_text().splitlines().index(WRONG.strip()) + 1
    assert item.blocked is not None
    assert item.blocked.startswith(f"2 errors in its files: {far.ini}:{line}: PgBouncer ")
    assert any("pool_mode must be one of session" in warning for warning in item.warnings)
    with pytest.raises(RefusedError, match="2 errors in its files"):
        far.submit(plan)
    assert far.meddler.sent == []
    assert far.setting("pool_mode") == "transaction"


async def test_nothing_overrides_an_error(desk: ReloadDesk) -> None:
    desk.edit(break_on_top)
    assert (await desk.plan(unchecked=True)).blocked is not None


async def test_secrets_of_the_files_are_in_no_plan_and_no_journal(desk: ReloadDesk) -> None:
    desk.server.databases["app"] += " user=bob password='hunter2 and more'"
    desk.server.databases["odd"] = "host=127.0.0.1 password=correct horse=battery"
    desk.server.write_config()
    plan = await desk.service.plan("reload", "edge")
    told = f"{plan.as_dict()}{plan.targets[0].ask.found}"
    assert plan.targets[0].blocked is not None
    desk.server.databases["odd"] = "host=127.0.0.1 password=correct"
    desk.server.write_config()
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.OK
    told += f"{receipt}{desk.records()}"
    for secret in ("hunter2", "correct", "horse", "battery", desk.server.secrets.password(ADMIN)):
        assert secret not in told


async def test_an_edit_between_plan_and_run_refuses_the_run(desk: ReloadDesk) -> None:
    plan = await desk.service.plan("reload", "edge")
    desk.edit(lambda text: text + "; only a comment\n")
    receipt = await desk.finish(desk.submit(plan))
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    assert f"file {desk.ini}" in receipt.detail
    assert desk.meddler.sent == []


async def test_an_edit_after_the_last_look_refuses_the_run(far: ReloadDesk) -> None:
    far.meddler.after_look = lambda: far.edit(break_on_top)
    receipt = await far.do("reload")
    assert (receipt.outcome, receipt.refused_by) == (Outcome.SKIPPED, "guard.observed")
    assert receipt.detail == f"changed since it was checked, so nothing was sent: {far.ini}"
    assert far.meddler.sent == []


async def test_files_that_cannot_be_read_are_reloaded_only_when_that_is_asked_for(far: ReloadDesk) -> None:
    os.chmod(far.server.userlist_path, 0)
    refused = await far.plan()
    assert refused.blocked is not None
    assert (
        f"{far.server.userlist_path}: cannot be read off-line: auth_file: permission denied"
        in refused.blocked
    )
    assert "--unchecked" in refused.blocked
    allowed = await far.plan(unchecked=True)
    assert (allowed.blocked, allowed.tier) == (None, Tier.FELT)
    assert any("not checked beforehand" in warning for warning in allowed.warnings)
    receipt = await far.do("reload", unchecked=True)
    assert receipt.outcome is Outcome.OK, receipt
    assert "settings, databases and peers are as the files say" not in receipt.verified


async def test_odd_names_encodings_and_line_ends_are_no_obstacle(
    make_pgbouncer: MakePgBouncer, pgbouncer_version: str, tmp_path: Path, kit: SshKit
) -> None:
    server = make_pgbouncer(pgbouncer_version, start=False)
    folder = server.launcher.make_dir(server.directory / "it's $(odd)")
    server.config_path = folder / "pgb ouncer;.ini"
    server.start()
    more = server.directory / "more of it.ini"
    server.launcher.write_file(more, b"query_timeout = 4\r\nsyslog_ident = caf\xe9\r\n")
    text = server.config_path.read_bytes().replace(b"\n", b"\r\n") + f"%include {more.name}\r\n".encode()
    server.launcher.write_file(server.config_path, text)
    async with kit.transport(host=kit.host(kit.sshd())) as transport:
        desk = ReloadDesk(server, tmp_path / "journal.jsonl", transport)
        async with desk.service:
            plan = await desk.plan()
            assert plan.blocked is None
            assert "query_timeout: 0 → 4" in plan.notes
            assert "syslog_ident: pgbouncer → caf\\xe9" in plan.notes
            receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.OK, receipt
    for path in (server.config_path, more, server.userlist_path):
        copy = path.with_name(path.name + GOOD)
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mode == path.stat().st_mode
        assert copy.stat().st_uid == path.stat().st_uid


# -- when it goes wrong all the same ----------------------------------------------------------------


@pytest.mark.trap("T5")
async def test_after_a_reload_that_fell_to_the_defaults_the_last_good_files_are_put_back(
    far: ReloadDesk,
) -> None:
    assert (await far.do("reload")).outcome is Outcome.OK
    good = far.ini.read_bytes()
    far.server.settings["query_timeout"] = 9
    far.server.write_config()
    far.meddler.before_reload = lambda: far.edit(break_on_top)
    with far.server.connect("app") as client:
        receipt = await far.do("reload")
        client.execute("select 1")
    assert receipt.outcome is Outcome.FAILED
    assert (
        f"the files of the last good RELOAD were put back ({far.ini}) and reloaded: it runs" in receipt.detail
    )
    assert far.meddler.sent == ["RELOAD"] * 3
    assert far.ini.read_bytes() == good
    assert WRONG in far.ini.with_name(far.ini.name + BROKEN).read_text()
    assert (far.setting("pool_mode"), far.setting("query_timeout")) == ("transaction", "0")
    assert lets_in(far.server)
    assert any(f"{far.ini}{BROKEN}" in step for step in receipt.next_steps)
    outcome = far.records()[-1]
    assert (outcome["kind"], outcome["outcome"]) == ("outcome", "failed")
    assert [one["statement"] for one in outcome["exchanges"]] == ["RELOAD", "RELOAD"]


@pytest.mark.trap("T9")
async def test_after_a_reload_that_locks_the_admins_out_the_users_are_put_back(far: ReloadDesk) -> None:
    assert (await far.do("reload")).outcome is Outcome.OK
    users = far.server.userlist_path

    def lock_out() -> None:
        far.server.launcher.write_file(users, "# nobody\n" + users.read_text())

    far.meddler.before_reload = lock_out
    receipt = await far.do("reload")
    assert receipt.outcome is Outcome.FAILED
    if far.server.version >= REPORTS_FAILURE:
        # It remembers who came before, so our own login cannot show that the others are locked out.
        assert f"{users} changed meanwhile: what was read may not be what was checked" in receipt.detail
        return
    assert "a new login to its console is refused" in receipt.detail
    assert f"were put back ({users}) and reloaded" in receipt.detail
    assert lets_in(far.server)


async def test_without_a_good_copy_the_plan_warns_and_the_receipt_says_what_to_do(desk: ReloadDesk) -> None:
    plan = await desk.plan()
    assert any(
        "nothing can be put back: there is no copy of the last good configuration" in warning
        for warning in plan.warnings
    )
    assert plan.rescue == ()
    desk.meddler.before_reload = lambda: desk.edit(break_on_top)
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.FAILED, receipt
    assert "fell back to the compiled default" in receipt.detail
    assert "nothing could be put back: there is no copy" in receipt.detail
    assert any(line.startswith("admin_users: ") for line in receipt.differences)
    assert any("SIGHUP" in step for step in receipt.next_steps), "no new login is let in: what still helps?"
    assert not lets_in(desk.server)

    desk.server.write_config()
    desk.server.send_signal(signal.SIGHUP)
    await until(lambda: lets_in(desk.server))


async def test_a_folder_that_may_not_be_written_is_told_in_plan_and_receipt(far: ReloadDesk) -> None:
    os.chmod(far.server.directory, 0o555)
    try:
        plan = await far.plan()
        assert plan.blocked is None
        assert any(
            warning.startswith(f"no copy of {far.ini} can be kept beside it: the folder")
            for warning in plan.warnings
        )
        receipt = await far.do("reload")
        assert receipt.outcome is Outcome.OK
        assert any(warning.startswith(f"no copy of {far.ini} was kept: ") for warning in receipt.warnings)
    finally:
        os.chmod(far.server.directory, 0o700)


async def test_copies_that_can_no_longer_be_put_back_are_left_and_said_so(far: ReloadDesk) -> None:
    assert (await far.do("reload")).outcome is Outcome.OK

    def meddle() -> None:
        far.edit(break_on_top)
        os.chmod(far.server.directory, 0o555)

    far.meddler.before_reload = meddle
    try:
        receipt = await far.do("reload")
    finally:
        os.chmod(far.server.directory, 0o700)
    assert receipt.outcome is Outcome.FAILED
    assert "nothing could be put back" in receipt.detail
    assert WRONG in far.ini.read_text()
    assert any(f"{far.ini}{GOOD} is the last good one" in step for step in receipt.next_steps)


async def test_copies_that_are_wrong_themselves_are_never_put_back(desk: ReloadDesk) -> None:
    desk.server.launcher.write_file(
        desk.ini.with_name(desk.ini.name + GOOD), break_on_top(desk.ini.read_text())
    )
    plan = await desk.plan()
    assert any("the copy of the last good configuration is not good" in warning for warning in plan.warnings)
    assert plan.rescue == ()


async def test_a_mistake_in_the_last_line_is_found_on_every_version(desk: ReloadDesk) -> None:
    assert (await desk.do("reload")).outcome is Outcome.OK
    desk.server.settings["query_timeout"] = 9
    desk.server.write_config()
    # The last instant: above the setting that changed, below all that could fall.
    desk.meddler.before_reload = lambda: desk.edit(
        lambda text: text.replace("query_timeout", WRONG + "query_timeout")
    )
    receipt = await desk.do("reload")
    assert receipt.outcome is Outcome.FAILED
    if desk.server.version >= REPORTS_FAILURE:
        assert "RELOAD failed" in receipt.detail
        assert "were put back" in receipt.detail
    else:
        assert "1 difference from what the files say: query_timeout: 0, the file says 9" in receipt.detail


async def test_tls_that_cannot_be_set_up_is_put_back_where_the_pooler_tells(desk: ReloadDesk) -> None:
    assert (await desk.do("reload")).outcome is Outcome.OK
    authority = CertificateAuthority(desk.server.directory / "ca", desk.server.launcher)
    desk.server.settings |= {
        "client_tls_sslmode": "allow",
        # A key that is another certificate's.
        "client_tls_key_file": authority.server_certificate("other").key_path,
        "client_tls_cert_file": authority.server_certificate("bouncer").cert_path,
    }
    desk.server.write_config()
    receipt = await desk.do("reload")
    if desk.server.version >= REPORTS_FAILURE:
        assert receipt.outcome is Outcome.FAILED
        assert "were put back" in receipt.detail
        assert desk.setting("client_tls_sslmode") == "disable"
    else:
        # Up to 1.24 only its log tells: docs/operations/reload.md says so.
        assert receipt.outcome is Outcome.OK
