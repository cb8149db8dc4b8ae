"""Debian packages without root: several PgBouncer versions, and what a machine lacks, in a cache folder.

A private apt state names one suite; apt checks the signatures (`signed-by` Debian's archive keyring);
`dpkg-deb -x` unpacks into one root folder a suite, and a wrapper script starts the program through
that root's own libc and loader, so that a trixie binary runs on bookworm. The mirror is the one this
machine's apt already uses, or `$POOLDECK_DEBIAN_MIRROR`; none is written here.

Standard library only: it runs before the virtual environment exists. It never changes the system.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from console.errors import LabError
from console.lab.tools import cache_dir, find_tool

SUITES = ("bookworm", "trixie", "sid")
"""Debian suites that carry the three PgBouncer lines; their versions move, so they are read, not assumed."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
COMMAND_LIMIT_S = 600
_SOURCES = Path("/etc/apt")


def pgbouncer_binaries() -> dict[str, Path]:
    """Return PgBouncer executables by version, oldest first: the machine's own and the unpacked ones.

    Nothing is fetched; `fetch_pgbouncers` does that.
    """
    found: dict[str, Path] = {}
    own = find_tool("pgbouncer")
    candidates = [own] if own else []
    candidates += [wrapper for suite in SUITES if (wrapper := _wrapper_path(suite)).exists()]
    for candidate in candidates:
        version = pgbouncer_version(candidate)
        if version is not None:
            found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda item: tuple(int(part) for part in item[0].split("."))))


def pgbouncer_version(executable: Path) -> str | None:
    """Return what `pgbouncer --version` says (`1.24.1`), or None when it does not start."""
    try:
        said = subprocess.run(
            [str(executable), "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"PgBouncer (\d+\.\d+\.\d+)", said.stdout)
    return match[1] if match else None


def fetch_pgbouncers() -> dict[str, Path]:
    """Unpack PgBouncer of every suite that is not the machine's own; return all executables by version.

    Raises:
        LabError: apt refused, the network is away, or an unpacked program does not start.
    """
    own = _codename()
    for suite in SUITES:
        if suite != own and not _wrapper_path(suite).exists():
            say(f"unpacking PgBouncer of Debian {suite} into {cache_dir()}")
            _unpack_pgbouncer(suite)
    return pgbouncer_binaries()


def say(text: str) -> None:
    """Tell progress on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run(command: Sequence[str], *, what: str, cwd: Path | None = None) -> str:
    """Run a command of the package tools and return its standard output.

    Raises:
        LabError: with the command's own last lines, when it fails or takes too long.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        hint = "this works on Debian and Ubuntu"
        raise LabError(f"{what} needs the program {command[0]!r}", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{what} did not end within {COMMAND_LIMIT_S} s") from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise LabError(f"{what} failed: {tail}", where=command[0])
    return done.stdout


class PrivateApt:
    """apt with its own sources, lists and cache, all in one folder; `suite` is its only source."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.folder = folder
        self.suite = suite
        for name in ("lists/partial", "cache/archives/partial", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "state" / "status").touch()
        if not KEYRING.exists():
            raise LabError(
                f"Debian's archive keyring is missing ({KEYRING})",
                hint="install the package debian-archive-keyring",
            )
        (folder / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} main\n", encoding="utf-8"
        )
        self._options = [
            f"-oDir::Etc::sourcelist={folder / 'sources.list'}",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={folder / 'lists'}",
            f"-oDir::State::status={folder / 'state' / 'status'}",
            f"-oDir::Cache={folder / 'cache'}",
            "-oAPT::Sandbox::User=",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=3",
            "-oAPT::Get::List-Cleanup=false",
        ]

    def update(self) -> None:
        """Fetch and verify the suite's package lists."""
        run(["apt-get", "-q", *self._options, "update"], what=f"reading the package list of {self.suite}")

    def closure(self, package: str) -> list[str]:
        """Return `package` and every library it needs, directly or not; other dependencies are left out."""
        real = set(run(["apt-cache", *self._options, "pkgnames", "lib"], what="listing libraries").split())
        wanted, queue = [package], [package]
        while queue:
            records = run(
                ["apt-cache", *self._options, "show", "--no-all-versions", *queue],
                what="reading what a package needs",
            )
            queue = sorted({name for name in _library_names(records) if name in real} - set(wanted))
            wanted += queue
        return wanted

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download packages, checked against the signed list, and return the files."""
        run(
            ["apt-get", "-q", *self._options, "download", *packages],
            what=f"downloading {packages[0]} of {self.suite}",
            cwd=into,
        )
        return sorted(into.glob("*.deb"))


def debian_mirror() -> str:
    """Return the address of the Debian mirror this machine's apt uses.

    Raises:
        LabError: the machine names none (Ubuntu) and `$POOLDECK_DEBIAN_MIRROR` is not set.
    """
    told = os.environ.get("POOLDECK_DEBIAN_MIRROR")
    if told:
        return told
    files = [_SOURCES / "sources.list", *sorted((_SOURCES / "sources.list.d").glob("*"))]
    for file in files:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            sources = _without_comments(file.read_text(encoding="utf-8"))
            for uri in re.findall(r"\b(?:https?|file)://\S+", sources):
                if re.search(r"/debian/?$", uri):
                    return str(uri)
    raise LabError(
        "this machine's apt sources name no Debian mirror",
        where=str(_SOURCES),
        hint="set POOLDECK_DEBIAN_MIRROR to one",
    )


def unpack(files: Sequence[Path], root: Path) -> None:
    """Unpack packages into `root` without running their scripts."""
    for file in files:
        run(["dpkg-deb", "-x", str(file), str(root)], what=f"unpacking {file.name}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for one process at a time; a second one waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def wrapper_text(root: Path, program: str) -> str:
    """Return a script that starts `root/program` through the root's own loader and libraries."""
    loaders = sorted(root.glob("usr/lib/*/ld-linux-*.so.*")) + sorted(root.glob("lib/*/ld-linux-*.so.*"))
    if not loaders:
        raise LabError("the unpacked libc has no loader", where=str(root))
    triple = loaders[0].parent.name
    libraries = ":".join(str(root / place / triple) for place in ("usr/lib", "lib"))
    return f'#!/bin/sh\nexec "{loaders[0]}" --library-path "{libraries}" "{root / program}" "$@"\n'


def _unpack_pgbouncer(suite: str) -> None:
    folder = cache_dir() / "debian" / suite
    with locked(folder):
        wrapper = _wrapper_path(suite)
        if wrapper.exists():
            return
        apt = PrivateApt(folder / "apt", suite)
        apt.update()
        fresh = Path(tempfile.mkdtemp(prefix="root-", dir=folder))
        try:
            packages = fresh / "packages"
            packages.mkdir()
            unpack(apt.download(apt.closure("pgbouncer"), packages), fresh)
            shutil.rmtree(packages)
            shutil.rmtree(apt.folder)
            fresh.chmod(0o755)
            root = folder / "root"
            shutil.rmtree(root, ignore_errors=True)
            fresh.rename(root)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        trial = wrapper.with_suffix(".new")
        trial.write_text(wrapper_text(root, "usr/sbin/pgbouncer"), encoding="utf-8")
        trial.chmod(0o755)
        if pgbouncer_version(trial) is None:
            run([str(trial), "--version"], what=f"starting PgBouncer of {suite}")
            raise LabError(f"PgBouncer of {suite} does not tell its version", where=str(root))
        trial.rename(wrapper)


def _wrapper_path(suite: str) -> Path:
    return cache_dir() / "debian" / suite / "pgbouncer"


def _library_names(record: str) -> list[str]:
    names: list[str] = []
    for line in record.splitlines():
        if line.startswith(("Depends:", "Pre-Depends:")):
            for alternatives in line.split(":", 1)[1].split(","):
                name = alternatives.split("|")[0].split("(")[0].strip().split(":")[0]
                if name.startswith("lib"):
                    names.append(name)
    return names


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _codename() -> str | None:
    with contextlib.suppress(OSError):
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        facts = dict(line.split("=", 1) for line in lines if "=" in line)
        if facts.get("ID", "").strip('"') == "debian":
            return facts.get("VERSION_CODENAME", "").strip('"') or None
    return None
