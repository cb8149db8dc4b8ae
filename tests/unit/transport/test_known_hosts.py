"""known_hosts files are read as sshd(8) describes them; ssh-keygen is the judge where it can be."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from console.errors import NodeError, Phase
from console.transport.known_hosts import KnownHosts, fingerprint, key_label
from console.transport.ssh_config import Hop

BLOB = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(range(32))
OTHER = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(range(1, 33))
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()}"
OTHER_KEY = f"ssh-ed25519 {base64.b64encode(OTHER).decode()}"


@pytest.fixture
def hop(tmp_path: Path) -> Hop:
    return Hop(
        name="db",
        hostname="db.example",
        port=22,
        user="ops",
        identity_files=(),
        identities_named=False,
        identities_only=False,
        identity_agent=None,
        known_hosts_files=(tmp_path / "known_hosts",),
        host_key_alias=None,
    )


def write(hop: Hop, text: str) -> KnownHosts:
    hop.known_hosts_files[0].write_text(text, encoding="utf-8")
    return KnownHosts.load(hop)


@pytest.mark.parametrize(
    "line",
    [
        f"db.example {KEY}",
        f"other,db.example  {KEY} a comment",
        f"*.example\t{KEY}",
        f"db.exampl? {KEY}",
        f"# comment\n\nbroken line\ndb.example ssh-ed25519 !!!\ndb.example {KEY}",
        f"DB.Example {KEY}",
    ],
)
def test_a_known_key_passes(hop: Hop, line: str) -> None:
    write(hop, line + "\n").check("ssh-ed25519", BLOB)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"elsewhere {KEY}",
        f"!db.example,*.example {KEY}",
        f"[db.example]:2222 {KEY}",
        f"@cert-authority *.example {KEY}",
        f"|1|AAAA|BBBB {KEY}",
        f"|1| {KEY}",
    ],
)
def test_anything_else_is_unknown(hop: Hop, line: str) -> None:
    with pytest.raises(NodeError, match=r"is not known for db\.example") as caught:
        write(hop, line + "\n").check("ssh-ed25519", BLOB)
    assert caught.value.phase is Phase.SSH


def test_hashes_made_by_ssh_keygen_are_found(hop: Hop) -> None:
    path = hop.known_hosts_files[0]
    path.write_text(f"db.example,[db.example]:2222 {KEY}\n", encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert "db.example" not in path.read_text(encoding="utf-8")
    KnownHosts.load(hop).check("ssh-ed25519", BLOB)
    KnownHosts.load(replace(hop, port=2222)).check("ssh-ed25519", BLOB)


def test_another_port_is_another_name_and_the_bare_host_counts_too(hop: Hop) -> None:
    elsewhere = replace(hop, port=2222)
    write(elsewhere, f"[db.example]:2222 {KEY}\n").check("ssh-ed25519", BLOB)
    write(elsewhere, f"db.example {KEY}\n").check("ssh-ed25519", BLOB)
    # but a key of the port's own is not overruled by one of the bare host
    known = write(elsewhere, f"db.example {KEY}\n[db.example]:2222 {OTHER_KEY}\n")
    with pytest.raises(NodeError, match="CHANGED"):
        known.check("ssh-ed25519", BLOB)


def test_an_alias_replaces_host_and_port(hop: Hop) -> None:
    aliased = replace(hop, port=2222, host_key_alias="canon")
    write(aliased, f"canon {KEY}\n").check("ssh-ed25519", BLOB)
    with pytest.raises(NodeError, match="not known for canon"):
        write(aliased, f"[db.example]:2222 {KEY}\n").check("ssh-ed25519", BLOB)


def test_every_file_counts_and_a_missing_one_is_empty(hop: Hop, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.write_text(f"db.example {KEY}\n", encoding="utf-8")
    both = replace(hop, known_hosts_files=(tmp_path / "absent", second))
    KnownHosts.load(both).check("ssh-ed25519", BLOB)


def test_a_revoked_key_loses_even_when_it_is_known(hop: Hop) -> None:
    known = write(hop, f"db.example {KEY}\n@revoked * {KEY}\n")
    with pytest.raises(NodeError, match="@revoked") as caught:
        known.check("ssh-ed25519", BLOB)
    assert ":2 revokes it" in str(caught.value.hint)


def test_a_revoked_key_elsewhere_does_not_hide_the_bare_host(hop: Hop) -> None:
    known = write(replace(hop, port=2222), f"@revoked * {OTHER_KEY}\ndb.example {KEY}\n")
    known.check("ssh-ed25519", BLOB)


def test_a_changed_key_names_both_and_the_line(hop: Hop) -> None:
    known = write(hop, f"# first\ndb.example {OTHER_KEY}\n")
    with pytest.raises(NodeError) as caught:
        known.check("ssh-ed25519", BLOB)
    message = caught.value.message
    assert fingerprint(BLOB) in message
    assert f"{fingerprint(OTHER)} ({hop.known_hosts_files[0]}:2)" in message
    assert f"ssh-keygen -R db.example -f {hop.known_hosts_files[0]}" in str(caught.value.hint)


def test_a_key_of_another_kind_is_unknown_not_changed(hop: Hop) -> None:
    known = write(hop, f"db.example ssh-rsa {base64.b64encode(b'rsa').decode()}\n")
    with pytest.raises(NodeError, match=r"is not known.*has only RSA"):
        known.check("ssh-ed25519", BLOB)


def test_known_kinds_are_asked_for_first(hop: Hop) -> None:
    rsa = base64.b64encode(b"rsa").decode()
    known = write(hop, f"db.example ssh-rsa {rsa}\ndb.example {KEY}\n@revoked * ecdsa-x {rsa}\n")
    assert known.algorithms == ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-ed25519")


def test_two_keys_of_one_kind_are_both_good(hop: Hop) -> None:
    known = write(hop, f"db.example {OTHER_KEY}\ndb.example {KEY}\n")
    known.check("ssh-ed25519", BLOB)
    known.check("ssh-ed25519", OTHER)


def test_an_unreadable_file_is_an_error_not_an_empty_one(hop: Hop) -> None:
    hop.known_hosts_files[0].mkdir()
    with pytest.raises(NodeError, match="cannot be read"):
        KnownHosts.load(hop)


def test_a_fingerprint_is_what_openssh_prints(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    printed = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True)
    assert printed.stdout.split()[1] == fingerprint(BLOB)
    assert fingerprint(b"") == "SHA256:" + base64.b64encode(hashlib.sha256(b"").digest()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("kind", "label"),
    [("ssh-ed25519", "ED25519"), ("ecdsa-sha2-nistp256", "ECDSA"), ("ssh-rsa", "RSA"), ("new", "new")],
)
def test_key_kinds_have_openssh_names(kind: str, label: str) -> None:
    assert key_label(kind) == label
