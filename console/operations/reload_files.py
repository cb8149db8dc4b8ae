"""The look of RELOAD: the files that it would read, judged, and the copies of the last good ones beside them.

It only reads. Contents stay in memory; what a permit is bound to is their SHA-256.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from console.config.pgbouncer_expect import PeerLine
from console.config.pgbouncer_lint_files import Lint, Wanted, lint, wanted
from console.config.pgbouncer_texts import ConfigTexts, HostFile, Trouble
from console.config.schema import Bouncer
from console.model.rows import Setting
from console.model.version import Version
from console.operations.config_files import HostFiles, files_of
from console.operations.outcome import NOTHING
from console.operations.reload_check import read_peers
from console.operations.spec import Look
from console.poolers.base import Capability

GOOD = ".pooldeck-good"
"""Behind the name of a file: its copy of the last RELOAD that went well."""
BROKEN = ".pooldeck-broken"
"""Behind the name of a file: what a good copy replaced."""
_ROUNDS = 24
"""Includes nest 10 deep; each file may name others."""
_NOT_READ = "configuration files"


@dataclass(frozen=True, slots=True)
class GoodCopies:
    """What could be put back if RELOAD failed."""

    files: Mapping[str, HostFile] = field(default_factory=lambda: MappingProxyType({}))
    """The copies that are there, by the path of the file they are of."""
    lint: Lint | None = None
    """Of the configuration as it would be with them; None: the main file has no copy."""
    obstacles: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """Files that could not be replaced, and why."""

    @property
    def why_not(self) -> str | None:
        """Why they cannot be put back; None when they can."""
        if self.lint is None:
            return "there is no copy of the last good configuration"
        if self.lint.errors or self.lint.unread:
            return f"the copy of the last good configuration is not good: {self.lint.findings[0]}"
        for path in self.files:
            if path in self.obstacles:
                return f"{path} cannot be replaced: {self.obstacles[path]}"
        return None


@dataclass(frozen=True, slots=True)
class ConfigLook:
    """What RELOAD's look found. Implements `console.operations.spec.Found`."""

    unread: str | None
    """Why nothing could be read; None: `texts`, `lint` and `host` are there."""
    host: HostFiles | None = None
    texts: ConfigTexts | None = None
    lint: Lint | None = None
    good: GoodCopies = field(default_factory=GoodCopies)
    notices: tuple[str, ...] = ()
    peers: Mapping[int, PeerLine] | None = None
    """SHOW PEERS; None: not read, since the version has none or the files could not be judged."""
    timeout_s: float = 5.0
    """For each command on the host."""

    @property
    def facts(self) -> Mapping[str, str]:
        """The hash of each file that RELOAD would read, and of each copy; no secrets."""
        if self.texts is None:
            return {_NOT_READ: f"not read: {self.unread}"}
        return {
            **file_facts(self.texts.files),
            **{f"good copy of {path}": file.sha256 or "none" for path, file in self.good.files.items()},
        }

    @property
    def judged(self) -> Lint | None:
        """The lint, when every file could be read and none has an error; else None."""
        lint = self.lint
        return None if lint is None or lint.errors or lint.unread else lint


def file_facts(files: Mapping[str, HostFile]) -> dict[str, str]:
    """Return what a permit is bound to for files as read: their hashes, or why there is none."""
    return {f"file {path}": file.sha256 or file.why for path, file in sorted(files.items())}


async def look_at_files(look: Look) -> ConfigLook:
    """Read and judge what a RELOAD of the target would read.

    Raises:
        NodeError: the pooler did not answer. What is wrong with its host is in what is returned.
    """
    assert isinstance(look.node, Bouncer), "only poolers are reloaded"
    bouncer, seen = look.node, look.observation
    files = files_of(bouncer, look.reach.transport)
    if isinstance(files, str):
        return ConfigLook(files)
    # A command may have to wait for the SSH connection first.
    timeout_s = look.timeout_s + (bouncer.connect_timeout_s or look.timeout_s)
    reader = ConfigReader(files, seen.config, seen.version, bouncer, timeout_s)
    root, folder, assumed = await reader.place()
    if root is None:
        return ConfigLook("the path of its configuration file is not known")
    texts = await reader.gather(ConfigTexts(root, folder, {}, folder_assumed=assumed))
    main = texts.file(root)
    if main.content is None and main.trouble is not Trouble.MISSING:
        return ConfigLook(f"{root} on {files.where}: {main.why}")
    judged = await reader.judge(texts)
    found = ConfigLook(
        None, files, texts, judged, notices=tuple(_notices(bouncer, texts)), timeout_s=timeout_s
    )
    peers = None
    if found.judged is not None and look.dialect.has(seen.version, Capability.PEERS):
        peers = read_peers(await look.session.show("PEERS", timeout_s=look.timeout_s))
    return replace(found, good=await reader.good_copies(texts), peers=peers)


class ConfigReader:
    """Reads the files of one pooler; several at a time."""

    def __init__(
        self,
        files: HostFiles,
        running: Mapping[str, Setting],
        version: Version,
        bouncer: Bouncer,
        timeout_s: float,
    ) -> None:
        self._files = files
        self._running = running
        self._version = version
        self._bouncer = bouncer
        self._timeout_s = timeout_s

    async def place(self) -> tuple[str | None, str, bool]:
        """Return the main file, the working folder, and whether that one is a guess."""
        own = _value(self._running, "conffile")
        root = own if own.startswith("/") or not self._bouncer.config_file else self._bouncer.config_file
        if not root:
            return None, "/", True
        pid_file = _value(self._running, "pidfile")
        if not pid_file and self._bouncer.process is not None and self._bouncer.process.pid_file is not None:
            pid_file = str(self._bouncer.process.pid_file)
        folder = None
        if pid_file.startswith("/"):
            folder = await self._files.working_folder(pid_file, own or root, timeout_s=self._timeout_s)
        if folder is not None:
            return f"{folder}/{root}" if not root.startswith("/") else root, folder, False
        if not root.startswith("/"):
            return None, "/", True
        return root, root.rpartition("/")[0] or "/", True

    async def gather(self, texts: ConfigTexts) -> ConfigTexts:
        """Read everything that `texts` still wants."""
        for _ in range(_ROUNDS):
            more = await asyncio.to_thread(self._wanted, texts)
            if not (more.files or more.looks):
                break
            found, looks = await asyncio.gather(
                asyncio.gather(*(self._files.read(path, timeout_s=self._timeout_s) for path in more.files)),
                asyncio.gather(*(self._look_for(path) for path in more.looks)),
            )
            texts = replace(
                texts.with_files({file.path: file for file in found}),
                looked_for={**texts.looked_for, **dict(zip(more.looks, looks, strict=True))},
            )
        return texts

    async def _look_for(self, path: str) -> Trouble | None:
        """Look for a TLS file without reading it: it may be a private key."""
        trouble = await self._files.look_for(path, timeout_s=self._timeout_s)
        if trouble is None and await self._files.has_no_pem(path, timeout_s=self._timeout_s):
            return Trouble.NO_PEM
        return trouble

    async def judge(self, texts: ConfigTexts) -> Lint:
        """Judge what was read, off the loop: a file may have thousands of lines."""
        return await asyncio.to_thread(
            lint,
            texts,
            self._running,
            self._version,
            admin_user=self._bouncer.admin_user,
            monitor_user=self._bouncer.monitor_user,
        )

    async def good_copies(self, texts: ConfigTexts) -> GoodCopies:
        """Read the copies beside the files, and judge the configuration with them."""
        paths = [path for path, file in texts.files.items() if file.content is not None]
        copies, obstacles = await asyncio.gather(
            asyncio.gather(
                *(self._files.read(f"{path}{GOOD}", timeout_s=self._timeout_s) for path in texts.files)
            ),
            asyncio.gather(
                *(self._files.why_not_writable(path, timeout_s=self._timeout_s) for path in paths)
            ),
        )
        found = {
            path: replace(copy, path=path)
            for path, copy in zip(texts.files, copies, strict=True)
            if copy.content is not None
        }
        hindered = {path: why for path, why in zip(paths, obstacles, strict=True) if why is not None}
        if texts.root not in found:
            return GoodCopies(found, None, hindered)
        start = ConfigTexts(
            texts.root,
            texts.working_folder,
            {**texts.files, **found},
            texts.looked_for,
            texts.folder_assumed,
        )
        return GoodCopies(found, await self.judge(await self.gather(start)), hindered)

    def _wanted(self, texts: ConfigTexts) -> Wanted:
        return wanted(texts, self._running, self._version)


def _notices(bouncer: Bouncer, texts: ConfigTexts) -> Iterable[str]:
    given = bouncer.config_file
    if given is not None and given != texts.root:
        yield f"config_file of the inventory is {given}; the process reads {texts.root}, so that is checked"


def _value(config: Mapping[str, Setting], key: str) -> str:
    setting = config.get(key)
    return (setting.value or "") if setting is not None else ""
