"""ssh_config(5) and the inventory together give the hops that `ssh` itself would take."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from console.config.schema import Host
from console.errors import UsageError
from console.transport import ssh_config
from console.transport.ssh_config import Hop, SshConfig


def resolve(tmp_path: Path, text: str, name: str = "h", **hosts: Host) -> tuple[Hop, ...]:
    file = tmp_path / "config"
    file.write_text(text, encoding="utf-8")
    return SshConfig.load(file, tmp_path).resolve(name, hosts or {name: Host()}).hops


def test_without_any_setting_openssh_defaults_hold(tmp_path: Path) -> None:
    (hop,) = resolve(tmp_path, "")
    assert (hop.hostname, hop.port, hop.user) == ("h", 22, getpass.getuser())
    assert [path.name for path in hop.identity_files] == ["id_rsa", "id_ecdsa", "id_ed25519"]
    assert not hop.identities_named
    assert hop.known_hosts_files == (
        tmp_path / ".ssh/known_hosts",
        tmp_path / ".ssh/known_hosts2",
        Path("/etc/ssh/ssh_known_hosts"),
        Path("/etc/ssh/ssh_known_hosts2"),
    )


def test_patterns_apply_first_value_wins_and_identities_add_up(tmp_path: Path) -> None:
    (hop,) = resolve(
        tmp_path,
        """
        Host h
          HostName %h.example.com
          Port 2200
          IdentityFile ~/.ssh/one
        Host !h *
          User never
        Host h* other
          Port 1
          User = alice
          IdentityFile "%d/two with space"
          IdentityFile ~/keys/%r@%h
          IdentitiesOnly yes
          UserKnownHostsFile ~/.ssh/kh "/etc/known hosts"
          GlobalKnownHostsFile /dev/null
          HostKeyAlias canon
        """,
    )
    assert (hop.hostname, hop.port, hop.user) == ("h.example.com", 2200, "alice")
    assert hop.identity_files == (
        tmp_path / ".ssh/one",
        tmp_path / "two with space",
        tmp_path / "keys/alice@h.example.com",
    )
    assert hop.identities_only
    assert hop.known_hosts_files == (tmp_path / ".ssh/kh", Path("/etc/known hosts"), Path("/dev/null"))
    assert hop.host_key_alias == "canon"


def test_the_inventory_wins_over_the_file(tmp_path: Path) -> None:
    host = Host(
        hostname="alias",
        port=7,
        user="carol",
        identity_file=Path("~/k"),
        known_hosts_file=Path("/kh"),
        proxy_jump="none",
    )
    (hop,) = resolve(
        tmp_path,
        """
        Host alias
          HostName 10.0.0.1
          Port 2
          User bob
          IdentityFile /other
          ProxyJump bastion
          UserKnownHostsFile /elsewhere
        """,
        h=host,
    )
    assert (hop.hostname, hop.port, hop.user) == ("10.0.0.1", 7, "carol")
    assert hop.identity_files == (tmp_path / "k",)
    assert hop.known_hosts_files == (Path("/kh"),)


@pytest.mark.parametrize("value", ["none", "None"])
def test_a_jump_of_none_means_directly(tmp_path: Path, value: str) -> None:
    assert len(resolve(tmp_path, f"Host *\n ProxyJump {value}\n")) == 1


def test_a_chain_of_jumps_with_users_ports_and_their_own_settings(tmp_path: Path) -> None:
    hops = resolve(
        tmp_path,
        """
        Host h
          ProxyJump one:2201,eve@two,[2001:db8::1]:2203
        Host one
          HostName one.example.com
          Port 9
          User un
          ProxyJump zero
        Host two
          ProxyJump ignored-as-ssh-does
          Port 2202
        """,
    )
    me = getpass.getuser()
    assert [hop.address for hop in hops] == [
        f"{me}@zero:22",
        "un@one.example.com:2201",
        "eve@two:2202",
        f"{me}@2001:db8::1:2203",
        f"{me}@h:22",
    ]


def test_a_jump_may_be_another_host_of_the_inventory(tmp_path: Path) -> None:
    hops = resolve(
        tmp_path,
        "Host gw\n HostName 192.0.2.7\n",
        h=Host(proxy_jump="bastion"),
        bastion=Host(hostname="gw", port=2222, user="jump", identity_file=Path("/jump-key")),
    )
    assert hops[0].address == "jump@192.0.2.7:2222"
    assert hops[0].identity_files == (Path("/jump-key"),)


@pytest.mark.parametrize(
    "text",
    [
        "Host h\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump h\n",
        "Host *\n ProxyJump bastion\n",
        "Host h\n ProxyJump a,h\n",
    ],
)
def test_a_loop_of_jumps_is_an_error_that_shows_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"ProxyJump loops: .* -> "):
        resolve(tmp_path, text)


def test_include_is_followed_where_it_stands(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    (ssh / "conf.d").mkdir(parents=True)
    (ssh / "conf.d/10-first").write_text("Host h\n Port 1001\n", encoding="utf-8")
    (ssh / "conf.d/20-second").write_text("Host h\n Port 1002\n User second\n", encoding="utf-8")
    (tmp_path / "plain").write_text("HostName included.example\n", encoding="utf-8")
    text = f"Include conf.d/*\nHost h\n Include {tmp_path}/plain\n Port 3\n IdentitiesOnly yes\n"
    (hop,) = resolve(tmp_path, text)
    assert (hop.hostname, hop.port, hop.user) == ("included.example", 1001, "second")
    assert hop.identities_only
    (other,) = resolve(tmp_path, text, name="other")
    assert (other.hostname, other.port) == ("other", 22)


def test_match_blocks_that_systems_ship_are_understood(tmp_path: Path) -> None:
    (hop,) = resolve(tmp_path, "Match final all\n Port 5\nMatch host h user nobody\n Port 6\n")
    assert hop.port == 5
    (hop,) = resolve(tmp_path, "Match originalhost h\n Port 8\n")
    assert hop.port == 8


def test_match_exec_decides_by_the_commands_end(tmp_path: Path) -> None:
    text = (
        'Match host h exec "test %n:%h = h:h"\n Port 1\n'
        "Match exec false\n User no\n"
        "Match !exec false\n HostKeyAlias yes\n"
        'Match host other exec "touch ran"\n Port 2\n'
    )
    (hop,) = resolve(tmp_path, text)
    assert (hop.port, hop.user, hop.host_key_alias) == (1, getpass.getuser(), "yes")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("Host h\n Port\n", 2, "not a setting"),
        ("Host h\n\n Include loop\n", None, "too many Includes"),
        ("Host h\n Port many\n", None, "not a port number"),
        ("Host 'h\n", 1, "No closing quotation"),
        ('Match exec "sleep 9"\n Port 1\n', None, "Match exec"),
        ("Match\n", 1, "not a setting"),
        ("Match host\n", None, "Missing parameter"),
        ("Host h\n ProxyJump a b\n", None, "cannot be read"),
        ("Host h\n ProxyJump a:99999\n", None, "cannot be read"),
        ("Host h\n ProxyCommand nc %h %p\n", None, "ProxyCommand"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, text: str, line: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_config, "_EXEC_LIMIT_S", 0.1)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/loop").write_text("Include loop\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        resolve(tmp_path, text)
    assert words in caught.value.message
    assert caught.value.where is not None
    if line is not None:
        assert caught.value.where == f"{tmp_path / 'config'}:{line}"


def test_a_proxy_command_counts_only_where_no_jump_replaces_it(tmp_path: Path) -> None:
    text = "Host h\n ProxyCommand nc %h %p\n"
    assert len(resolve(tmp_path, text, h=Host(proxy_jump="none"))) == 1
    assert len(resolve(tmp_path, text, h=Host(proxy_jump="other"))) == 2
    assert len(resolve(tmp_path, "Host h\n ProxyCommand none\n")) == 1


def test_an_explicit_file_must_exist_and_the_default_one_need_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        SshConfig.load(tmp_path / "absent", tmp_path)
    assert SshConfig((tmp_path / "absent",), tmp_path).resolve("h", {"h": Host()}).hops[0].port == 22


def test_the_users_file_comes_before_the_systems(tmp_path: Path) -> None:
    user, system = tmp_path / "user", tmp_path / "system"
    user.write_text("Host h\n Port 1\n IdentityFile /u\n", encoding="utf-8")
    system.write_text("Host *\n Port 2\n HostName sys\n IdentityFile /s\n", encoding="utf-8")
    (hop,) = SshConfig((user, system), tmp_path).resolve("h", {"h": Host()}).hops
    assert (hop.port, hop.hostname, hop.identity_files) == (1, "sys", (Path("/u"), Path("/s")))


def test_a_host_that_is_not_in_the_inventory_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no host 'nope'"):
        SshConfig((), tmp_path).resolve("nope", {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("none", "none"), ("SSH_AUTH_SOCK", None), ("~/agent.sock", "{home}/agent.sock")],
)
def test_identity_agent(tmp_path: Path, value: str, expected: str | None) -> None:
    (hop,) = resolve(tmp_path, f"IdentityAgent {value}\n")
    assert hop.identity_agent == (expected.format(home=tmp_path) if expected else None)
