"""A rotation over SSH with sudo, through TLS and hba rules, past a replica; and where its secrets are not."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from console.lab.bouncer import PgBouncerServer
from console.lab.postgres import PostgresServer
from console.lab.secrets import SUPERUSER
from console.lab.sshd import SshServer
from console.lab.tls import CertificateAuthority
from tests.faults.fault_kit import FaultShell
from tests.harness.servers import MakePgBouncer, Workshop
from tests.servers.cli_kit import Shell, Terminal, until
from tests.servers.proc_kit import Onlooker
from tests.servers.rotate_kit import (
    NEW,
    OLD,
    ROLE,
    Rotation,
    Site,
    Traffic,
    locked_role,
    own_site,
    rotate,
    run_state,
    stopped,
    until_phase,
    verified,
)
from tests.servers.ssh_kit import SshKit, kit

__all__ = ["kit"]  # a fixture
INLINE = f"TO pool_mode=transaction user={ROLE} password={OLD}"


@pytest.fixture
def site(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    with own_site(workshop, make_pgbouncer, tmp_path) as made:
        yield made


def over_ssh(shell: Shell, kit: SshKit, sshd: SshServer, *, sudo: bool = False) -> None:
    """Have every pooler of the inventory reached through one host."""
    host = kit.host(sshd)
    text = shell.fleet.read_text()
    for name, server in shell.servers.items():
        words = json.dumps(list(server.start_command))
        process = (
            f'[bouncers.process]\nkind = "command"\nstart_command = {words}\nsudo = true\n' if sudo else ""
        )
        old = f'name = "{name}"\ntcp = "{server.host}:{server.port}"\nsslmode = "disable"\n'
        text = text.replace(old, f'{old}host = "far"\n{process}')
    text += f"""
[hosts.far]
hostname = "{host.hostname}"
port = {host.port}
user = "{host.user}"
identity_file = "{host.identity_file}"
known_hosts_file = "{host.known_hosts_file}"
proxy_jump = "none"
"""
    shell.fleet.write_text(text)


def fake_sudo(kit: SshKit) -> tuple[SshServer, Path]:
    """Start an sshd with a FAKE sudo on its PATH, since machines may have none: it notes its words."""
    launcher = kit.workshop.launcher
    folder = launcher.make_dir(kit.workshop.place("fake"))
    calls = folder / "calls"
    script = (
        f'#!/bin/sh\n# A FAKE for tests.\necho "$*" >>{shlex.quote(str(calls))}\n[ "$1" = -n ] || exit 1\n'
    )
    launcher.write_file(folder / "sudo", f'{script}shift\nexec "$@"\n')
    (folder / "sudo").chmod(0o700)
    return kit.sshd(SetEnv=f"PATH={folder}:/usr/bin:/bin", LogLevel="DEBUG3"), calls


def test_over_ssh_with_sudo_nobody_on_either_machine_sees_a_secret(site: Site, kit: SshKit) -> None:
    edge = site.add("edge", "1.24", entry="plaintext", lines={"inner": INLINE})
    sshd, calls = fake_sudo(kit)
    shell = site.shell()
    over_ssh(shell, kit, sshd, sudo=True)
    receipts = shell.fleet.with_name("receipts.json")
    with Onlooker([NEW, OLD]) as onlooker, Traffic(site, "edge") as traffic:
        code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", "--json", old=OLD)
        assert code == 0, said
    receipts.write_text(said)
    assert traffic.failures == []
    assert site.lets_in("edge", NEW)
    assert f"password={NEW}" in edge.config_path.read_text()
    # It looked often enough to have seen what runs on the far side.
    assert onlooker.rounds > 50
    assert any("sudo" in program or program in ("dd", "cat", "cp") for program in onlooker.programs)
    assert onlooker.caught == []
    # Every command that touches a file went through sudo.
    done = calls.read_text().splitlines()
    files = [edge.userlist_path, edge.config_path]
    for path in files:
        assert f"-n dd of={path}.pooldeck-new bs=65536 conv=fsync" in done
        assert f"-n mv -f -- {path}.pooldeck-new {path}" in done
    # Journal, state folder, plan, receipts, logs of poolers, Postgres, sshd and sudo.
    assert site.where_clear(NEW, OLD, besides=files) == []
    for place in (sshd.directory, calls.parent, kit.home):
        for path in place.rglob("*"):
            if path.is_file() and path not in files and path.stat().st_size < 50_000_000:
                content = path.read_bytes()
                assert NEW.encode() not in content, path
                assert OLD.encode() not in content, path


def test_secrets_come_from_a_prompt_or_from_a_command(site: Site, tmp_path: Path) -> None:
    site.add("edge", "1.24", entry="plaintext")
    shell = site.shell()
    words = ("rotate", ROLE, "--yes", "--confirm", "edge")
    with shell:
        with Terminal() as terminal:
            process = terminal.start(shell, *words)
            terminal.read_until(f"new password of {ROLE}: ")
            terminal.type(f"{NEW}\n")
            terminal.read_until("again: ")
            terminal.type(f"{NEW}x\n")
            said = terminal.read_to_end(process)
            assert process.returncode == 1, said
            assert "the two were not the same; nothing was changed\r\n" in said
            assert NEW not in said
        with Terminal() as terminal:
            process = terminal.start(shell, *words)
            terminal.read_until(f"new password of {ROLE}: ")
            terminal.type(f"{NEW}\n")
            terminal.read_until("again: ")
            terminal.type(f"{NEW}\n")
            said = terminal.read_to_end(process)
            assert process.returncode == 0, said
            assert NEW not in said
        assert site.works_with(NEW)
        vault = tmp_path / "vault"
        vault.write_text(f"{OLD}\n")
        ended = shell(*words, "--secret-from", f"command:cat {vault}")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert site.works_with(OLD)
    users = site.poolers["edge"].userlist_path
    assert site.where_clear(NEW, OLD, besides=[users, vault]) == []


# -- TLS, hba, a replica ------------------------------------------------------------------------------


@pytest.fixture
def secured(workshop: Workshop, make_pgbouncer: MakePgBouncer, tmp_path: Path) -> Iterator[Site]:
    """A primary that takes TLS only, with a replica, each with a pooler that takes TLS only, by hba rules."""
    authority = CertificateAuthority(workshop.place("tls"), workshop.launcher)
    made = authority.server_certificate("all")
    with own_site(workshop, make_pgbouncer, tmp_path) as site:
        tls = {"ssl": "on", "ssl_cert_file": str(made.cert_path), "ssl_key_file": str(made.key_path)}
        site.postgres.stop()
        # With synchronous_commit off, as the lab's servers have it, a commit is then written much later.
        site.postgres.settings |= {**tls, "wal_writer_delay": "10s"}
        hba = site.postgres.hba_path
        site.postgres.start()
        site.postgres.launcher.write_file(
            hba, hba.read_text().replace(f"host all all {site.postgres.host}/32", "hostssl all all 0.0.0.0/0")
        )
        replica = PostgresServer(
            "replica",
            workshop.place("replica"),
            workshop.launcher,
            workshop.secrets,
            primary=site.postgres,
            settings=tls,
        )
        replica.start()
        try:
            site.postgres.value("SELECT pg_reload_conf()")
            rules = site.postgres.launcher.write_file
            for name, node in (("near", site.postgres), ("read", replica)):
                where = f"host={node.host} port={node.port} dbname=app"
                folder = workshop.place(f"rules-{name}")
                folder.mkdir(mode=0o755, exist_ok=True)
                rules(
                    folder / "hba",
                    "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n",
                )
                site.add(
                    name,
                    "1.24",
                    entry="scram",
                    lines={"app": f"{where} pool_mode=transaction"},
                    auth_type="hba",
                    auth_hba_file=folder / "hba",
                    client_tls_sslmode="require",
                    client_tls_cert_file=made.cert_path,
                    client_tls_key_file=made.key_path,
                    server_tls_sslmode="verify-full",
                    server_tls_ca_file=authority.cert_path,
                )
            site.replica = replica
            site.authority = authority
            yield site
        finally:
            replica.kill()


def secured_shell(site: Site) -> Shell:
    assert site.replica is not None
    assert site.authority is not None
    shell = site.shell()
    text = shell.fleet.read_text()
    text = text.replace(
        'sslmode = "disable"', f'sslmode = "verify-full"\nsslrootcert = "{site.authority.cert_path}"'
    )
    shell.fleet.write_text(
        f'{text}\n[[postgres]]\nname = "replica"\nrole = "replica"\nsslmode = "verify-full"\n'
        f'sslrootcert = "{site.authority.cert_path}"\ntcp = "{site.replica.host}:{site.replica.port}"\n'
        f'databases = ["app"]\nuser = "{SUPERUSER}"\npassword_from = "env:SUPER_WORD"\n'
    )
    return shell


def test_through_tls_and_hba_rules_and_only_once_the_replica_has_replayed_it(secured: Site) -> None:
    site, replica = secured, secured.replica
    assert replica is not None
    shell = secured_shell(site)
    assert not plain_login(site.poolers["near"])
    with contextlib.ExitStack() as stack:
        traffic = [stack.enter_context(Traffic(site, name)) for name in site.poolers]
        replica.value("SELECT pg_wal_replay_pause()")
        rotation = stack.enter_context(
            Rotation(shell, ROLE, "--yes", "--confirm", "test 2", "--timeout", "20s", old=OLD)
        )
        # Committed on the primary; nobody goes on before the replica has it too.
        until(lambda: site.stored != site.scram)
        assert (run_state(shell) or {})["phase"] == "postgres"
        assert site.paused() == ["near", "read"]
        replica.value("SELECT pg_wal_replay_resume()")
        code, said = rotation.end()
        assert code == 0, said
        assert "auth_type is hba (scram-sha-256)" in " ".join(said.split())
        for name in site.poolers:
            assert "the other secret is refused" in verified(shell, name)
        assert site.works_with(NEW)
    assert [one.failures for one in traffic] == [[], []]
    assert not any(site.lets_in(name, OLD) for name in site.poolers)


def plain_login(server: PgBouncerServer) -> bool:
    """Say whether a login without TLS is let in."""
    try:
        server.connect(sslmode="disable").close()
    except psycopg.Error:
        return False
    return True


# -- everybody who could end the pause is killed ------------------------------------------------------


def test_console_and_guardians_killed_between_commit_and_reload_a_keeper_resumes(
    site: Site, kit: SshKit
) -> None:
    server = site.add("edge", "1.24", entry="plaintext")
    shell = site.shell()
    over_ssh(shell, kit, kit.sshd())
    faults = FaultShell.__new__(FaultShell)
    faults.__dict__.update(shell.__dict__)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(locked_role(site))
        words = (ROLE, "--yes", "--confirm", "edge", "--timeout", "3s", "--hold", "6s")
        rotation = stack.enter_context(Rotation(shell, *words))
        until_phase(shell, "postgres")
        guardians = faults.guardians(rotation.process.pid)
        assert len(guardians) == 2
        with stopped(server):
            lock.close()
            # Postgres has changed, and the pooler does not answer the RELOAD.
            until_phase(shell, "poolers")
            for pid in (rotation.process.pid, *guardians):
                os.kill(pid, signal.SIGKILL)
            rotation.process.wait(10)
        until(lambda: site.paused() == [])
    # What it sends is what the second guardian would have: RELOAD, and then RESUME.
    assert site.works_with(NEW)
    left = run_state(shell)
    assert left is not None
    assert left["phase"] == "poolers"
    assert site.stored != site.scram
    ended = shell("rotate", ROLE, "--check")
    said = " ".join((ended.stdout + ended.stderr).split())
    assert "was interrupted (poolers): complete it with --resume, or take it back with --undo" in said
    code, said = rotate(shell, ROLE, "--yes", "--confirm", "edge", "--resume", old=OLD)
    assert code == 0, said
    assert site.works_with(NEW)
    assert not site.lets_in("edge", OLD)
    assert run_state(shell) is None
