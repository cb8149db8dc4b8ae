"""The look of START: a pooler that lets nobody in, seen from its host. It only asks.

That nobody answers is what START is for; so everything that can be known is asked of the host: whether a
process of the pooler lives all the same, who listens on its address, and what its files hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.config.pgbouncer_lint_files import Lint
from console.config.pgbouncer_offline import settings_of
from console.config.pgbouncer_texts import ConfigTexts
from console.config.schema import Bouncer
from console.errors import NodeError, Phase
from console.hosts.facts import ProcessFacts, read_facts
from console.hosts.listeners import Listeners, listeners_on
from console.hosts.processes import HostProcesses
from console.operations.config_files import files_of
from console.operations.process.finding import PROGRAM, Finder, ProcessLook
from console.operations.process.supervision import Kind, detected
from console.operations.reload_files import ConfigReader, file_facts
from console.operations.spec import Outside
from console.operations.step import why
from console.poolers.connect import route_of

_MAY_BE_DOWN = frozenset({Phase.TUNNEL, Phase.CONNECT, Phase.TLS, Phase.PROTOCOL})
_BY_FILE = frozenset({Kind.COMMAND, Kind.SYSTEMD})
"""Kinds whose processes see the host's own files: a process is known by the one it was started with."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that it is to be started with."""

    unread: str | None = None
    """Why they are not judged; None: `texts` and `lint` are there."""
    texts: ConfigTexts | None = None
    lint: Lint | None = None

    @property
    def settings(self) -> Mapping[str, str] | None:
        """What they give, as SHOW CONFIG prints it; None: not known."""
        if self.lint is None or self.lint.errors or self.lint.unread:
            return None
        return {key: value for key, value in self.lint.expected.settings.items() if value}


@dataclass(frozen=True, slots=True, eq=False)
class Down:
    """What was found instead of an `Observation`."""

    bouncer: Bouncer
    silence: str
    """How the login ended, as a clause."""
    process: ProcessLook
    living: ProcessFacts | None
    """A process of it that runs and lets nobody in; None: none is found."""
    listening: Listeners | None
    """Who listens on its address; None: not known."""
    files: Files
    command_timeout_s: float

    @property
    def address(self) -> str:
        """Where it is to listen, as its host calls it."""
        return str(route_of(self.bouncer).address)

    @property
    def listens(self) -> bool:
        """Whether somebody listens on its address."""
        return self.listening is not None and self.listening.sockets > 0

    @property
    def facts(self) -> dict[str, str]:
        """What a permit is bound to: no process, this supervision, these files; no secrets."""
        found, texts = self.process, self.files.texts
        return {
            "admin console": "lets nobody in",
            "process": self.living.process.identity if self.living is not None else "none is found",
            "somebody listens on its address": "yes" if self.listens else "no",
            "supervision": found.supervision.words if found.supervision is not None else "not known",
            "obstacle": found.cannot_start or "none",
            "next version": str(found.program_version or "not known"),
            **(file_facts(texts.files) if texts is not None else {"configuration files": "not read"}),
        }


async def look_if_down(outside: Outside) -> Down:
    """Look at a pooler that nobody could log in to.

    Raises:
        NodeError: its console refused the login, or its host cannot be reached: whether it is down is not
            known.
    """
    bouncer, error = outside.bouncer, outside.error
    if error.phase not in _MAY_BE_DOWN:
        raise error
    process = await Finder(bouncer, outside.reach.transport, timeout_s=outside.timeout_s).look(None)
    if process.is_silent:
        text = f"{error.message}; whether it is down cannot be seen: {process.why}"
        raise NodeError(error.phase, text, where=error.where, hint=error.hint)
    listening = None
    living = process.process
    if process.host is not None and process.supervision is not None:
        processes = HostProcesses(process.host, timeout_s=outside.timeout_s)
        if process.supervision.kind in _BY_FILE:
            listening = await listeners_on(processes, route_of(bouncer).address, PROGRAM)
            living = living or await _with_its_file(bouncer, process, processes)
    return Down(
        bouncer=bouncer,
        silence=why(error),
        process=process,
        living=living,
        listening=listening,
        files=await _files(outside, process),
        command_timeout_s=outside.timeout_s,
    )


def start_folder(process: ProcessLook, root: str) -> str | None:
    """Return where a start command is run, since relative names count from there.

    None: its supervisor says where.
    """
    if process.supervision is None or process.supervision.kind is not Kind.COMMAND:
        return None
    return root.rpartition("/")[0] or "/"


def _root(bouncer: Bouncer, process: ProcessLook) -> str | None:
    """Return the main configuration file that the start reads; None: not known."""
    own = bouncer.config_file
    return process.config_file or (own if own is not None and own.startswith("/") else None)


async def _with_its_file(
    bouncer: Bouncer, process: ProcessLook, processes: HostProcesses
) -> ProcessFacts | None:
    """Find a process that was started with its file though no pid file tells, e.g. since it was removed."""
    root = _root(bouncer, process)
    if root is None:
        return None
    for one in await processes.running(PROGRAM):
        facts = await read_facts(processes, one.pid) if root in one.argv else None
        if facts is None or facts.ended:
            continue
        keeper = detected(facts)
        if keeper is None or keeper.kind is not Kind.DOCKER:
            return facts
    return None


async def _files(outside: Outside, process: ProcessLook) -> Files:
    """Read and judge what the start would read."""
    bouncer, version = outside.bouncer, process.program_version
    host = files_of(bouncer, outside.reach.transport)
    if isinstance(host, str):
        return Files(host)
    root = _root(bouncer, process)
    if root is None:
        return Files("the path of its configuration file is not known (config_file in the inventory)")
    if version is None:
        return Files("which version the start takes is not known")
    known = settings_of(version)
    if known is None:
        return Files(f"what {version} takes is not known to this Pooldeck")
    reader = ConfigReader(host, known, version, bouncer, outside.timeout_s)
    folder = start_folder(process, root)
    texts = await reader.gather(ConfigTexts(root, folder or "/", {}, folder_assumed=folder is None))
    return Files(None, texts, await reader.judge(texts))
