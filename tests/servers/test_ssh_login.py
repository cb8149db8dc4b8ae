"""Logging in to real sshds: host keys, user keys, the agent, and jump hosts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.errors import NodeError, Phase, UsageError
from console.lab.sshd import SshServer
from tests.servers.ssh_kit import (
    LIMIT_S,
    SshKit,
    ask,
    kit,
    logged_connections,
    route,
    shout,
    tcp_server,
)

__all__ = ["kit"]  # a fixture


def run(*words: str | Path, timeout_s: float = 10.0) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ssh_keygen(*words: str | Path) -> str:
    return run("ssh-keygen", *words)


def new_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    ssh_keygen("-q", "-t", kind, "-N", passphrase, "-f", path)
    return path


def take_identity(server: SshServer, other: SshServer) -> None:
    """Give `server` the host key of `other`."""
    for ending in ("", ".pub"):
        source, target = Path(f"{other.host_key.path}{ending}"), Path(f"{server.host_key.path}{ending}")
        target.write_bytes(source.read_bytes())


def give_host_key(server: SshServer, kind: str) -> Path:
    """Make one more host key for an sshd that is yet to start."""
    key = new_key(server.directory / f"{kind}_host_key", kind=kind)
    os.chown(key, server.host_key.path.stat().st_uid, -1)
    return key


async def refusal(kit: SshKit, host: object) -> NodeError:
    """Return the error that reaching `host` ends with."""
    async with kit.transport(a=host) as transport:  # type: ignore[arg-type]
        with pytest.raises(NodeError) as caught:
            await transport.run("a", ["true"], timeout_s=LIMIT_S)
    assert caught.value.phase is Phase.SSH
    return caught.value


async def test_a_key_file_and_a_known_host_are_all_it_takes(kit: SshKit) -> None:
    server = kit.sshd()
    async with kit.transport(a=kit.host(server)) as transport:
        result = await transport.run("a", ["id", "-un"], timeout_s=LIMIT_S)
    assert result.stdout.decode().strip() == server.user


async def test_an_unknown_host_key_is_refused_with_fingerprint_and_command(kit: SshKit) -> None:
    server = kit.make_sshd()
    error = await refusal(kit, kit.host(server))
    fingerprint = ssh_keygen("-lf", f"{server.host_key.path}.pub").split()[1]
    assert f"ED25519 {fingerprint}" in error.message
    assert str(kit.known_hosts) in error.message
    command = str(error.hint).split("accept it with: ")[1]
    assert command == (
        f"ssh -o StrictHostKeyChecking=ask -o UserKnownHostsFile={kit.known_hosts}"
        f" -p {server.port} {server.user}@127.0.0.1"
    )
    assert logged_connections(server) == 0


async def test_the_command_in_the_hint_accepts_the_key(kit: SshKit) -> None:
    server = kit.make_sshd()
    error = await refusal(kit, kit.host(server))
    command = str(error.hint).split("accept it with: ")[1].split()
    # What a person does by typing yes; without a terminal, ssh is told the answer.
    command[command.index("StrictHostKeyChecking=ask")] = "StrictHostKeyChecking=accept-new"
    command[1:1] = ["-F", "none", "-i", str(kit.make_sshd.user_key.path), "-o", "BatchMode=yes"]
    run(*command, "true", timeout_s=20)
    async with kit.transport(a=kit.host(server)) as transport:
        assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_a_changed_host_key_is_refused_and_the_way_back_is_named(kit: SshKit) -> None:
    server = kit.sshd()
    old = ssh_keygen("-lf", f"{server.host_key.path}.pub").split()[1]
    server.stop()
    other = kit.make_sshd("other")
    take_identity(server, other)
    server.start()
    error = await refusal(kit, kit.host(server))
    new = ssh_keygen("-lf", f"{other.host_key.path}.pub").split()[1]
    assert "CHANGED" in error.message
    assert old in error.message
    assert new in error.message
    forget = f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {kit.known_hosts}"
    assert forget in str(error.hint)
    run("sh", "-c", forget)
    assert "is not known" in (await refusal(kit, kit.host(server))).message


async def test_a_host_known_by_one_kind_of_key_is_asked_for_that_kind(kit: SshKit) -> None:
    """The server has an RSA key too; paramiko and OpenSSH prefer another order than the file has."""
    server = kit.make_sshd("both", start=False)
    rsa, ecdsa = give_host_key(server, "rsa"), give_host_key(server, "ecdsa")
    server.settings["HostKey"] = f"{server.host_key.path}\nHostKey {rsa}\nHostKey {ecdsa}"
    server.start()
    for key in (rsa, ecdsa):
        public = ssh_keygen("-y", "-f", key)
        kit.known_hosts.write_text(f"[127.0.0.1]:{server.port} {public}", encoding="utf-8")
        async with kit.transport(a=kit.host(server)) as transport:
            assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_hashed_known_hosts_and_a_host_key_alias_work(kit: SshKit) -> None:
    server = kit.make_sshd()
    kit.known_hosts.write_text(f"[prod-db]:99,prod-db {server.host_key.public}\n", encoding="utf-8")
    ssh_keygen("-H", "-f", kit.known_hosts)
    assert "prod-db" not in kit.known_hosts.read_text(encoding="utf-8")
    kit.config_file.write_text(
        f"Host db\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
        f"  HostKeyAlias prod-db\n  IdentityFile {kit.make_sshd.user_key.path}\n"
        f"  UserKnownHostsFile /nonexistent {kit.known_hosts}\n",
        encoding="utf-8",
    )
    async with kit.transport(a=kit.alias("db")) as transport:
        assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_a_revoked_host_key_is_refused_even_when_it_is_known(kit: SshKit) -> None:
    server = kit.sshd()
    with kit.known_hosts.open("a", encoding="utf-8") as file:
        file.write(f"@revoked * {server.host_key.public}\n")
    assert "revoked" in (await refusal(kit, kit.host(server))).message


async def test_a_wrong_key_names_what_was_tried(kit: SshKit, tmp_path: Path) -> None:
    wrong = new_key(tmp_path / "wrong")
    error = await refusal(kit, kit.host(kit.sshd(), identity_file=wrong))
    assert str(wrong) in error.message
    assert ssh_keygen("-lf", f"{wrong}.pub").split()[1] in error.message
    assert "authorized_keys" in str(error.hint)


async def test_a_wrong_user_and_a_missing_key_are_told_apart(kit: SshKit, tmp_path: Path) -> None:
    server = kit.sshd()
    error = await refusal(kit, kit.host(server, user="nobody-here"))
    assert "nobody-here" in error.message
    error = await refusal(kit, kit.host(server, identity_file=tmp_path / "none"))
    assert f"{tmp_path / 'none'} does not exist" in error.message


async def test_an_encrypted_key_without_an_agent_says_so(kit: SshKit, tmp_path: Path) -> None:
    key = new_key(tmp_path / "locked", passphrase="correct horse")
    error = await refusal(kit, kit.host(kit.sshd(), identity_file=key))
    assert f"{key} is encrypted" in error.message
    assert "ssh-add" in str(error.hint)


async def test_a_server_that_takes_no_keys_says_what_it_takes(kit: SshKit) -> None:
    server = kit.sshd(PubkeyAuthentication="no", PasswordAuthentication="yes")
    error = await refusal(kit, kit.host(server))
    assert "password" in error.message


async def test_a_server_that_wants_more_than_a_key_says_what(kit: SshKit) -> None:
    server = kit.sshd(AuthenticationMethods="publickey,password", PasswordAuthentication="yes")
    error = await refusal(kit, kit.host(server))
    assert "after the key it wants password as well" in error.message


async def test_two_names_of_one_place_share_a_connection(kit: SshKit) -> None:
    server = kit.sshd()
    async with kit.transport(a=kit.host(server), b=kit.host(server)) as transport:
        for name in ("a", "b"):
            assert (await transport.run(name, ["true"], timeout_s=LIMIT_S)).exit_status == 0
    assert logged_connections(server) == 1


@contextlib.contextmanager
def agent(folder: Path, *keys: Path, passphrase: str = "") -> Iterator[str]:
    """Run a real ssh-agent that holds `keys`."""
    path = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        try:
            asker = folder / "askpass"
            asker.write_text(f"#!/bin/sh\necho '{passphrase}'\n", encoding="utf-8")
            asker.chmod(0o700)
            environment = {
                **os.environ,
                "SSH_AUTH_SOCK": str(path),
                "SSH_ASKPASS": str(asker),
                "SSH_ASKPASS_REQUIRE": "force",
            }
            for _ in range(200):
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            for key in keys:
                subprocess.run(["ssh-add", key], env=environment, check=True, capture_output=True)
            yield str(path)
        finally:
            process.terminate()


async def test_the_agent_unlocks_an_encrypted_key(
    kit: SshKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = kit.sshd()
    locked = tmp_path / "locked"
    locked.write_bytes(kit.make_sshd.user_key.path.read_bytes())
    locked.chmod(0o600)
    ssh_keygen("-p", "-q", "-N", "correct horse", "-P", "", "-f", locked)
    folder = Path(os.environ["XDG_RUNTIME_DIR"])
    with agent(folder, locked, passphrase="correct horse") as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        async with kit.transport(a=kit.host(server, identity_file=locked)) as transport:
            assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_a_full_agent_does_not_use_up_the_servers_patience(
    kit: SshKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MaxAuthTries counts every key: the named one comes first, and IdentitiesOnly leaves the rest out."""
    server = kit.sshd(MaxAuthTries="2")
    keys = [new_key(tmp_path / f"k{number}") for number in range(4)]
    folder = Path(os.environ["XDG_RUNTIME_DIR"])
    with agent(folder, *keys) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        async with kit.transport(a=kit.host(server)) as transport:
            assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0
        kit.config_file.write_text("Host *\n  IdentitiesOnly yes\n", encoding="utf-8")
        error = await refusal(kit, kit.host(server, identity_file=keys[2]))
        assert str(keys[2]) in error.message
        assert error.message.count("ED25519") == 1


async def test_a_dead_agent_is_no_reason_to_fail_when_a_key_file_works(
    kit: SshKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    async with kit.transport(a=kit.host(kit.sshd())) as transport:
        assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0


async def test_a_chain_of_jump_hosts_is_followed_and_shared(kit: SshKit) -> None:
    bastion, inner = kit.sshd("bastion"), kit.sshd("inner")
    hosts = {
        "bastion": kit.host(bastion),
        "inner": kit.host(inner, proxy_jump="bastion"),
        "again": kit.host(inner, proxy_jump="bastion"),
    }
    async with tcp_server(shout) as address, kit.transport(**hosts) as transport:
        endpoint = await transport.endpoint(route("inner", address), timeout_s=LIMIT_S)
        assert await ask(endpoint, "two hops") == "TWO HOPS"
        seen = await transport.run("inner", ["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=LIMIT_S)
        assert seen.stdout.decode().split()[3] == str(inner.port)
        await transport.run("bastion", ["true"], timeout_s=LIMIT_S)
        probes = await transport.probe_hops("inner", timeout_s=LIMIT_S)
        assert [(probe.name, probe.ok, probe.reused) for probe in probes] == [
            ("bastion", True, True),
            ("inner", True, True),
        ]
    assert (logged_connections(bastion), logged_connections(inner)) == (1, 1)


async def test_the_command_for_a_host_behind_a_jump_goes_through_it(kit: SshKit) -> None:
    bastion, inner = kit.sshd("bastion"), kit.make_sshd("inner")
    hosts = {"bastion": kit.host(bastion), "inner": kit.host(inner, proxy_jump="bastion")}
    async with kit.transport(**hosts) as transport:
        with pytest.raises(NodeError, match="is not known") as caught:
            await transport.run("inner", ["true"], timeout_s=LIMIT_S)
    assert f" -J {bastion.user}@127.0.0.1:{bastion.port} -p {inner.port} " in str(caught.value.hint)


async def test_proxy_jump_of_the_configuration_file_with_users_and_ports(kit: SshKit) -> None:
    bastion, inner = kit.sshd("bastion"), kit.sshd("inner")
    kit.config_file.write_text(
        f"Host inner\n  HostName 127.0.0.1\n  Port {inner.port}\n"
        f"  ProxyJump {bastion.user}@gate:{bastion.port}\n"
        f"Host gate\n  HostName 127.0.0.1\n  Port 1\n  User wrong\n"
        f"Host *\n  User {inner.user}\n  IdentityFile {kit.make_sshd.user_key.path}\n"
        f"  UserKnownHostsFile {kit.known_hosts}\n",
        encoding="utf-8",
    )
    async with kit.transport(a=kit.alias("inner")) as transport:
        assert (await transport.run("a", ["true"], timeout_s=LIMIT_S)).exit_status == 0
    assert (logged_connections(bastion), logged_connections(inner)) == (1, 1)


async def test_a_probe_says_which_hop_fails(kit: SshKit) -> None:
    bastion, inner = kit.sshd("bastion"), kit.sshd("inner")
    inner.kill()
    hosts = {
        "bastion": kit.host(bastion),
        "inner": kit.host(inner, proxy_jump="bastion"),
        "deep": kit.host(inner, port=1, proxy_jump="bastion,inner"),
    }
    async with kit.transport(**hosts) as transport:
        probes = await transport.probe_hops("deep", timeout_s=LIMIT_S)
        assert [(probe.name, probe.ok) for probe in probes] == [
            ("bastion", True),
            ("inner", False),
            ("deep", None),
        ]
        error = probes[1].error
        assert error is not None
        assert "bastion cannot reach it" in error.message
        assert "Connection refused" in error.message
        bastion.kill()
        with pytest.raises(NodeError) as caught:
            await transport.run("deep", ["true"], timeout_s=LIMIT_S)
        assert "jump host" in str(caught.value.where)


async def test_a_broken_configuration_file_is_named_with_its_line(kit: SshKit) -> None:
    kit.config_file.write_text("Host *\n  Port\n", encoding="utf-8")
    async with kit.transport(a=kit.alias("x")) as transport:
        with pytest.raises(UsageError) as caught:
            await transport.run("a", ["true"], timeout_s=LIMIT_S)
        assert caught.value.where == f"{kit.config_file}:2"
        kit.config_file.write_text("", encoding="utf-8")
        with pytest.raises(NodeError, match=r"cannot be looked up|TCP connect failed"):
            await transport.run("a", ["true"], timeout_s=LIMIT_S)
