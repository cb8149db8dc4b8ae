"""The keys to offer one SSH server, in order: from the agent and from key files.

A private key never leaves this module but as paramiko's object; what people see is a name and a
fingerprint. Everything here blocks (files, key derivation, the agent): run it in the transport's executor.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH

from console.transport.known_hosts import fingerprint, key_label
from console.transport.ssh_config import Hop

_OPENSSH_MAGIC = b"openssh-key-v1\0"
"""PROTOCOL.key of OpenSSH: cipher, kdf, kdf options, number of keys, then the public key in clear."""
MAX_OFFERED_KEYS = 12
"""sshd hangs up after MaxAuthTries (6 by default); more than this many only wastes its patience."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One key to try."""

    label: str
    """For people: where it is from, its type and fingerprint."""
    key: paramiko.PKey = field(repr=False)


class TimedAgent(AgentSSH):
    """An SSH agent that must answer within a limit; paramiko's own waits for ever."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Connect and list the keys.

        Raises:
            OSError, paramiko.SSHException: no agent there, or it does not answer as one.
        """
        super().__init__()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(path)
            self._connect(sock)  # type: ignore[attr-defined]
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close the connection; its keys can sign no more."""
        self._close()  # type: ignore[attr-defined]


@dataclass(slots=True)
class Keyring:
    """What can be offered, and why the rest cannot."""

    candidates: list[Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """One clause for each key or agent that cannot be used."""
    agent: TimedAgent | None = None

    def close(self) -> None:
        """Let go of the agent."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None


def load_keys(hop: Hop, timeout_s: float) -> Keyring:
    """Collect the hop's keys: named ones first (from the agent where it has them), then the agent's others.

    `timeout_s` is for one answer of the agent. OpenSSH tries the agent's other keys before a named file;
    with a full agent the server's MaxAuthTries then ends the login before the named key is tried.
    """
    ring = Keyring()
    agent_keys = _agent_keys(hop, timeout_s, ring)
    files = [_KeyFile.load(path, named=hop.identities_named) for path in hop.identity_files]
    wanted = {
        loaded.blob: path
        for path, loaded in zip(hop.identity_files, files, strict=True)
        if loaded is not None and loaded.blob is not None
    }
    in_agent = [
        Candidate(f"{wanted[blob]} (held by the agent) {_describe(one.key)}", one.key)
        for one in agent_keys
        if (blob := one.key.asbytes()) in wanted
    ]
    others = [one for one in agent_keys if one.key.asbytes() not in wanted]
    from_files = [
        loaded.candidate
        for loaded in files
        if loaded is not None
        and loaded.candidate is not None
        and loaded.blob not in {one.key.asbytes() for one in in_agent}
    ]
    if hop.identities_only:
        chosen = [*in_agent, *from_files]
    elif hop.identities_named:
        chosen = [*in_agent, *from_files, *others]
    else:
        chosen = [*in_agent, *others, *from_files]
    held = {one.key.asbytes() for one in in_agent}
    for loaded in files:
        if loaded is not None and loaded.problem is not None and loaded.blob not in held:
            ring.notes.append(loaded.problem)
    ring.candidates = chosen[:MAX_OFFERED_KEYS]
    return ring


def _agent_keys(hop: Hop, timeout_s: float, ring: Keyring) -> list[Candidate]:
    path = hop.identity_agent or os.environ.get("SSH_AUTH_SOCK")
    if path == "none" or not path:
        ring.notes.append("no SSH agent ($SSH_AUTH_SOCK is not set)" if not path else "the agent is off")
        return []
    try:
        ring.agent = TimedAgent(path, timeout_s)
    except (OSError, paramiko.SSHException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        ring.notes.append(f"the SSH agent at {path} does not answer: {why}")
        return []
    return [
        Candidate(f"agent key {key.comment!r} {_describe(key)}", key)
        for key in ring.agent.get_keys()
        if key.get_name() != "ssh-dss"
    ]


def _describe(key: paramiko.PKey) -> str:
    return f"{key_label(key.get_name())} {fingerprint(key.asbytes())}"


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """One identity file: usable, or with the reason why not."""

    candidate: Candidate | None
    blob: bytes | None
    """The public key, which finds the file's twin in the agent; None when it cannot be known."""
    problem: str | None

    @classmethod
    def load(cls, path: Path, *, named: bool) -> _KeyFile | None:
        blob = _public_blob(path)
        try:
            key = paramiko.PKey.from_path(path)
        except FileNotFoundError:
            if blob is None and not named:
                return None
            problem = f"{path} does not exist"
        except PermissionError:
            problem = f"{path} cannot be read: permission denied"
        except (paramiko.PasswordRequiredException, TypeError):
            # from_path lets cryptography's TypeError through when a passphrase is needed.
            problem = f"{path} is encrypted and its key is not in the agent (run: ssh-add {path})"
        except (
            OSError,
            ValueError,
            paramiko.SSHException,
            paramiko.pkey.UnknownKeyType,
            UnsupportedAlgorithm,
        ) as error:
            problem = f"{path} cannot be used as a private key: {_first_line(error)}"
        else:
            return cls(Candidate(f"{path} {_describe(key)}", key), key.asbytes(), None)
        return cls(None, blob, problem)


def _public_blob(path: Path) -> bytes | None:
    """Return the public key of a private one, from `FILE.pub` or its unencrypted head; None when unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = path.with_name(path.name + ".pub").read_text(encoding="utf-8", errors="replace")
        return paramiko.pkey.PublicBlob.from_string(text).key_blob
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = path.read_text(encoding="ascii").split("-----")
        body = base64.b64decode(lines[2])
        if lines[1] == "BEGIN OPENSSH PRIVATE KEY" and body.startswith(_OPENSSH_MAGIC):
            head = paramiko.Message(body[len(_OPENSSH_MAGIC) :])
            for _ in ("cipher", "kdf", "kdf options"):
                head.get_string()
            head.get_int()
            return head.get_string()
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
