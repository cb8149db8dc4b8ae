"""Strict checking of SSH host keys against known_hosts files, as sshd(8) describes their format.

A key that is not known, or not the known one, is refused; accepting it is left to `ssh`, where a person
compares the fingerprint. This module never writes a file and never talks to a server.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.errors import NodeError, Phase
from console.transport.ssh_config import Hop

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}
"""Signature algorithms of a key type whose name is not its algorithm: RFC 8332."""
_LABELS = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a known_hosts file."""

    file: Path
    line: int
    """1-based."""
    marker: str
    """`@revoked`, `@cert-authority` or ""."""
    patterns: tuple[str, ...]
    key_type: str
    blob: bytes

    def matches(self, name: str) -> bool:
        """Say whether the line is about `name` (`host` or `[host]:port`); `!pattern` excludes."""
        hit = False
        for pattern in self.patterns:
            if pattern.startswith("|1|"):
                hit = hit or _hash_matches(pattern, name)
            elif pattern.startswith("!"):
                if _glob_matches(pattern[1:], name):
                    return False
            else:
                hit = hit or _glob_matches(pattern, name)
        return hit


def fingerprint(blob: bytes) -> str:
    """Return a public key's fingerprint as OpenSSH prints it: `SHA256:…` without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def key_label(key_type: str) -> str:
    """Return a key type's name as OpenSSH prints it, e.g. `ED25519`."""
    if key_type.startswith("ecdsa-"):
        return "ECDSA"
    return _LABELS.get(key_type, key_type)


class KnownHosts:
    """The keys known for one hop."""

    def __init__(self, hop: Hop, entries: Sequence[Entry], jumps: Sequence[Hop] = ()) -> None:
        """`jumps` are the hops on the way, for the command that accepts a key."""
        self._hop = hop
        self._jumps = jumps
        named = [entry for entry in entries if entry.matches(self.name)]
        if hop.host_key_alias is None and all(entry.marker for entry in named):
            # OpenSSH, too, takes a key known for the bare host when the port is not the usual one.
            named += [entry for entry in entries if entry.matches(hop.hostname.lower())]
        self._entries = named

    @classmethod
    def load(cls, hop: Hop, jumps: Sequence[Hop] = ()) -> KnownHosts:
        """Read the hop's files; one that does not exist holds nothing.

        Raises:
            NodeError: phase `ssh`, when a file is there but cannot be read.
        """
        return cls(hop, [entry for path in hop.known_hosts_files for entry in _read(path)], jumps)

    @property
    def name(self) -> str:
        """What the hop is called in known_hosts files: its alias, `host`, or `[host]:port`."""
        if self._hop.host_key_alias:
            return self._hop.host_key_alias.lower()
        host = self._hop.hostname.lower()
        return host if self._hop.port == 22 else f"[{host}]:{self._hop.port}"

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Host key algorithms to ask for first, so that the server shows a key that is known."""
        found: list[str] = []
        for entry in self._entries:
            if not entry.marker:
                found.extend(_ALGORITHMS.get(entry.key_type, (entry.key_type,)))
        return tuple(dict.fromkeys(found))

    def check(self, key_type: str, blob: bytes) -> None:
        """Return when the server's key is known.

        Raises:
            NodeError: phase `ssh`; the key is revoked, unknown or changed. The message has its type and
                fingerprint and the file, the hint the command that accepts it.
        """
        same = [entry for entry in self._entries if entry.blob == blob]
        revoked = next((entry for entry in same if entry.marker == "@revoked"), None)
        if revoked is not None:
            raise self._error(
                f"the host key {_show(key_type, blob)} is marked @revoked",
                f"{revoked.file}:{revoked.line} revokes it; the server must not use this key",
            )
        plain = [entry for entry in self._entries if not entry.marker]
        if any(entry in plain for entry in same):
            return
        changed = [entry for entry in plain if entry.key_type == key_type]
        if changed:
            known = ", ".join(f"{fingerprint(one.blob)} ({one.file}:{one.line})" for one in changed)
            raise self._error(
                f"the host key has CHANGED: the server shows {_show(key_type, blob)}, known is {known};"
                " somebody may be in the middle",
                "if the server was reinstalled and its administrator confirms the fingerprint, run: "
                + " && ".join((*self._forget(changed), self._accept())),
            )
        raise self._unknown(key_type, blob, plain)

    def _unknown(self, key_type: str, blob: bytes, plain: Sequence[Entry]) -> NodeError:
        others = ", ".join(sorted({key_label(entry.key_type) for entry in plain}))
        files = ", ".join(str(path) for path in self._hop.known_hosts_files) or "no file"
        said = f"the host key {_show(key_type, blob)} is not known for {self.name}"
        said += f" ({files} has only {others} for it)" if others else f" ({files})"
        hint = (
            f"compare the fingerprint with the server's administrator, then accept it with: {self._accept()}"
        )
        if any(entry.marker == "@cert-authority" for entry in self._entries):
            hint += " (its @cert-authority line cannot be used: host certificates are not supported)"
        return self._error(said, hint)

    def _forget(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        files = dict.fromkeys(str(entry.file) for entry in entries)
        return tuple(shlex.join(("ssh-keygen", "-R", self.name, "-f", file)) for file in files)

    def _accept(self) -> str:
        hop = self._hop
        words = ["ssh", "-o", "StrictHostKeyChecking=ask"]
        if hop.known_hosts_files:
            words += ["-o", f"UserKnownHostsFile={hop.known_hosts_files[0]}"]
        if hop.host_key_alias:
            words += ["-o", f"HostKeyAlias={hop.host_key_alias}"]
        if self._jumps:
            words += ["-J", ",".join(_jump(one) for one in self._jumps)]
        return shlex.join([*words, "-p", str(hop.port), f"{hop.user}@{hop.hostname}"])

    def _error(self, message: str, hint: str) -> NodeError:
        return NodeError(Phase.SSH, message, where=f"{self._hop.name} ({self._hop.address})", hint=hint)


def _jump(hop: Hop) -> str:
    host = f"[{hop.hostname}]" if ":" in hop.hostname else hop.hostname
    return f"{hop.user}@{host}:{hop.port}"


def _show(key_type: str, blob: bytes) -> str:
    return f"{key_label(key_type)} {fingerprint(blob)}"


def _read(path: Path) -> Iterator[Entry]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise NodeError(
            Phase.SSH, f"known_hosts cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        entry = _entry(path, number, line)
        if entry is not None:
            yield entry


def _entry(path: Path, number: int, line: str) -> Entry | None:
    """Read one line; None for a comment and, as OpenSSH does, for a line that cannot be read."""
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#"):
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return Entry(path, number, marker, tuple(words[0].split(",")), words[1], blob)


def _glob_matches(pattern: str, name: str) -> bool:
    # Only * and ? are special; fnmatch would read the brackets of [host]:port as a character set.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _hash_matches(pattern: str, name: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, wanted = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), wanted)
