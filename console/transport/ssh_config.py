"""From an inventory host and ~/.ssh/config to the hops an SSH connection takes.

The file is read by paramiko's `SSHConfig`; added are `Include`, `Match final all`, line numbers in
errors, the tokens paramiko does not expand, and ProxyJump chains. What the inventory says wins over the
file. Nothing here connects, except that `CanonicalizeHostname` may look names up.
"""

from __future__ import annotations

import getpass
import glob
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

from console.config.schema import Host
from console.errors import UsageError

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_DEFAULT_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ed25519")
_EXEC_LIMIT_S = 3.0
_INCLUDE_DEPTH = 16
"""As OpenSSH: readconf.c, READCONF_MAX_DEPTH."""
_JUMP = re.compile(
    r"^(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:@/\[\]\s]+)(?::(?P<port>\d+))?/?$"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One SSH server on the way, and how to log in to it."""

    name: str = field(compare=False)
    """As the user wrote it; two names of one place share a connection."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_named: bool
    """False: `identity_files` are OpenSSH's defaults, which need not exist."""
    identities_only: bool
    """Offer no agent key but those of `identity_files`."""
    identity_agent: str | None
    """The agent's socket; None uses $SSH_AUTH_SOCK; "none" uses no agent."""
    known_hosts_files: tuple[Path, ...]
    """In the order they are read; the first is where a new key would be accepted to."""
    host_key_alias: str | None

    @property
    def address(self) -> str:
        """For people: `user@host:port`."""
        return f"{self.user}@{self.hostname}:{self.port}"


class _Reader(paramiko.SSHConfig):
    """paramiko 4.0's reader, without its `%l` token and with `Match exec` of our own.

    The token's value costs a name lookup for every host; the tokens of paths are expanded by
    `_expand_path`. paramiko runs `Match exec` through a library that sets no limit and leaks its pipes.
    """

    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012  # paramiko's own attribute
        "hostname": ["%h"],
        "proxyjump": ["%h", "%p", "%r"],
        "match-exec": ["%d", "%h", "%L", "%n", "%p", "%r", "%u"],
    }

    def _does_match(
        self, criteria: list[dict[str, Any]], target: str, canonical: bool, final: bool, options: Any
    ) -> bool:
        plain = [one for one in criteria if one["type"] != "exec"]
        if plain and not super()._does_match(plain, target, canonical, final, options):  # type: ignore[misc]
            return False
        for one in criteria:
            if one["type"] == "exec":
                command = self._tokenize(options, target, "match-exec", one["param"])  # type: ignore[attr-defined]
                if _succeeds(command) == one["negate"]:
                    return False
        return bool(criteria)


def _succeeds(command: str) -> bool:
    try:
        done = subprocess.run(
            command,
            shell=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_EXEC_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"`Match exec` did not end within {_EXEC_LIMIT_S:g} s", where=command.split()[0]
        ) from None
    return done.returncode == 0


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """An inventory host as a chain of hops; the last is the host, those before are its jump hosts."""

    name: str
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an inventory entry or a jump specification says about a hop; None leaves it to the file."""

    name: str
    alias: str
    user: str | None = None
    port: int | None = None
    identity_file: Path | None = None
    known_hosts_file: Path | None = None
    proxy_jump: str | None = None


class SshConfig:
    """The ssh_config files in force, read once."""

    def __init__(self, files: tuple[Path, ...], home: Path) -> None:
        """Read `files` in order: the first value found wins. A file that does not exist is skipped.

        Raises:
            UsageError: naming file and line.
        """
        self._home = home
        self._parsed = [(path, _parse(path, home)) for path in files if path.exists()]

    @classmethod
    def load(cls, file: Path | None, home: Path) -> SshConfig:
        """Read `file` alone (as `ssh -F`), or with None the user's and then the system's.

        Raises:
            UsageError: naming file and line; also when `file` is given and does not exist.
        """
        if file is None:
            return cls((home / ".ssh" / "config", SYSTEM_CONFIG), home)
        if not file.exists():
            raise UsageError("the SSH configuration file does not exist", where=str(file))
        return cls((file,), home)

    def resolve(self, name: str, hosts: Mapping[str, Host]) -> ResolvedHost:
        """Return the hops to the inventory host `name`.

        Raises:
            UsageError: no such host; a ProxyJump that loops; a setting that cannot be used.
        """
        if name not in hosts:
            raise UsageError(
                f"no host {name!r} in the inventory", hint="add a [hosts." + name + "] section to it"
            )
        return ResolvedHost(name, self._chain(_from_inventory(name, hosts[name]), hosts, ()))

    def _chain(self, wanted: _Wanted, hosts: Mapping[str, Host], seen: tuple[str, ...]) -> tuple[Hop, ...]:
        options = self._lookup(wanted.alias)
        hop = self._hop(wanted, options)
        mark = hop.address
        if mark in seen:
            way = " -> ".join((*seen, mark))
            raise UsageError(f"ProxyJump loops: {way}", where=wanted.name)
        jump = wanted.proxy_jump or options.get("proxyjump") or "none"
        if jump.lower() == "none":
            self._refuse_proxy_command(wanted, options)
            return (hop,)
        before: tuple[Hop, ...] = ()
        for number, spec in enumerate(jump.split(",")):
            step = _jump_target(spec.strip(), wanted.name, hosts)
            if number == 0:
                before = self._chain(step, hosts, (*seen, mark))
                continue
            # A later jump is reached through the one before it, whatever its own ProxyJump says (ssh -J).
            before = (*before, self._hop(step, self._lookup(step.alias)))
        marks = [one.address for one in (*before, hop)]
        if len(set(marks)) != len(marks):
            raise UsageError(f"ProxyJump loops: {' -> '.join(marks)}", where=wanted.name)
        return (*before, hop)

    def _refuse_proxy_command(self, wanted: _Wanted, options: Mapping[str, str]) -> None:
        if options.get("proxycommand") and wanted.proxy_jump is None:
            raise UsageError(
                "its SSH configuration uses ProxyCommand, which Pooldeck does not run",
                where=wanted.name,
                hint="use ProxyJump, or proxy_jump in the inventory (`none` connects directly)",
            )

    def _lookup(self, alias: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, config in self._parsed:
            try:
                options: dict[str, str] = dict(config.lookup(alias))
            except (paramiko.SSHException, ValueError, KeyError) as error:
                raise UsageError(f"cannot be applied to {alias!r}: {error}", where=str(path)) from error
            # lookup() makes up a HostName where the file has none; a later file may have one.
            if options.get("hostname") == alias:
                del options["hostname"]
            files = options.pop("identityfile", None)
            if files is not None:
                found["identityfile"] = "\n".join(
                    [*filter(None, found.get("identityfile", "").split("\n")), *files]
                )
            found = {**options, **found}
        return found

    def _hop(self, wanted: _Wanted, options: Mapping[str, str]) -> Hop:
        hostname = options.get("hostname", wanted.alias)
        port = wanted.port or _port(options.get("port"), wanted.name)
        user = wanted.user or options.get("user") or getpass.getuser()
        tokens = {
            "%%": "%",
            "%d": str(self._home),
            "%h": hostname,
            "%k": options.get("hostkeyalias", wanted.alias),
            "%n": wanted.alias,
            "%p": str(port),
            "%r": user,
            "%u": getpass.getuser(),
        }

        def path(text: str) -> Path:
            return _expand_path(text, tokens, self._home)

        named = [path(text) for text in options.get("identityfile", "").split("\n") if text]
        named = [one for one in named if one.name != "none"]
        if wanted.identity_file is not None:
            named = [path(str(wanted.identity_file))]
        known = (str(wanted.known_hosts_file),) if wanted.known_hosts_file else self._known(options)
        return Hop(
            name=wanted.name,
            hostname=hostname,
            port=port,
            user=user,
            identity_files=tuple(named) or tuple(self._home / ".ssh" / one for one in _DEFAULT_IDENTITIES),
            identities_named=bool(named),
            identities_only=options.get("identitiesonly", "no").lower() == "yes",
            identity_agent=_agent(options.get("identityagent"), tokens, self._home),
            known_hosts_files=tuple(path(text) for text in known if text != "none"),
            host_key_alias=options.get("hostkeyalias"),
        )

    def _known(self, options: Mapping[str, str]) -> tuple[str, ...]:
        users = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        machines = options.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS)
        return (*_words(users), *_words(machines))


def _from_inventory(name: str, host: Host) -> _Wanted:
    return _Wanted(
        name=name,
        alias=host.hostname or name,
        user=host.user,
        port=host.port,
        identity_file=host.identity_file,
        known_hosts_file=host.known_hosts_file,
        proxy_jump=host.proxy_jump,
    )


def _jump_target(spec: str, where: str, hosts: Mapping[str, Host]) -> _Wanted:
    found = _JUMP.match(spec)
    if found is None or not 1 <= int(found["port"] or 22) <= 65535:
        raise UsageError(
            f"ProxyJump {spec!r} cannot be read", where=where, hint="write [user@]host[:port], commas between"
        )
    name = found["host"].strip("[]")
    base = _from_inventory(name, hosts[name]) if name in hosts else _Wanted(name=name, alias=name)
    return _Wanted(
        name=name,
        alias=base.alias,
        user=found["user"] or base.user,
        port=int(found["port"]) if found["port"] else base.port,
        identity_file=base.identity_file,
        known_hosts_file=base.known_hosts_file,
        proxy_jump=base.proxy_jump,
    )


def _port(text: str | None, where: str) -> int:
    if text is None:
        return 22
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise UsageError(f"Port {text!r} in the SSH configuration is not a port number", where=where)
    return int(text)


def _agent(text: str | None, tokens: Mapping[str, str], home: Path) -> str | None:
    if text is None or text == "SSH_AUTH_SOCK":
        return None
    if text.lower() == "none":
        return "none"
    return str(_expand_path(text, tokens, home))


def _expand_path(text: str, tokens: Mapping[str, str], home: Path) -> Path:
    text = re.sub(r"%.", lambda found: tokens.get(found[0], found[0]), text)
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return Path(text).expanduser()


def _words(text: str) -> list[str]:
    # paramiko takes one pair of quotes off the whole value: `"a b" "c"` arrives as `a b" "c`.
    if text.count('"') % 2 == 0 and re.search(r'"\s+"', text) and not text.startswith('"'):
        text = f'"{text}"'
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _parse(path: Path, home: Path) -> _Reader:
    relative_to = path.parent if path == SYSTEM_CONFIG else home / ".ssh"
    lines = list(_lines(path, relative_to, depth=0, home=home))
    try:
        return _Reader.from_text("\n".join(lines))
    except (paramiko.SSHException, ValueError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from error


def _lines(path: Path, relative_to: Path, *, depth: int, home: Path) -> Iterator[str]:
    """Yield the file's lines with every Include in its place; see ssh_config(5), Include.

    Raises:
        UsageError: naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    block: str | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        where = f"{path}:{number}"
        if not line or line.startswith("#"):
            continue
        found = paramiko.SSHConfig.SETTINGS_REGEX.match(line)
        if found is None:
            raise UsageError(f"not a setting: {line!r}", where=where, hint="write `Keyword value`")
        keyword, value = found[1].lower(), found[2]
        if keyword in ("host", "match"):
            block = _block(keyword, value, where)
            yield block
        elif keyword == "include":
            if depth >= _INCLUDE_DEPTH:
                raise UsageError("too many Includes inside one another", where=where)
            for included in _included(value, relative_to, home, where):
                inner = list(_lines(included, relative_to, depth=depth + 1, home=home))
                if block is not None and any(re.match(r"(?i)(host|match)\b", one) for one in inner):
                    raise UsageError(
                        f"Include of {included} inside a Host block, and it has blocks of its own",
                        where=where,
                        hint="move the Include to the top of the file",
                    )
                yield from inner
            yield block or "Host *"
        else:
            yield line


def _block(keyword: str, value: str, where: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise UsageError(f"{keyword.capitalize()}: {error}", where=where) from error
    if keyword == "match" and "all" in words and len(words) > 1:
        # `Match final all` is what Fedora ships; paramiko 4.0 refuses the `all`, which adds nothing.
        words.remove("all")
        value = shlex.join(words)
    return f"{keyword.capitalize()} {value}"


def _included(value: str, relative_to: Path, home: Path, where: str) -> list[Path]:
    paths: list[Path] = []
    for word in _words(value):
        pattern = str(_expand_path(word, {}, home))
        if not pattern.startswith("/"):
            pattern = str(relative_to / pattern)
        try:
            paths.extend(Path(one) for one in sorted(glob.glob(pattern)))
        except re.error as error:
            raise UsageError(f"Include {word!r}: {error}", where=where) from error
    return paths
