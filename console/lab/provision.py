"""What this machine needs before Pooldeck's lab can run: Debian packages, never started, never enabled.

As root or with sudo the missing packages are installed while a `policy-rc.d` forbids starting services,
and the services they bring are disabled. Without either, the packages are unpacked into the cache folder
and started from there. Run as `python3 -m console.lab.provision`; standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from console.errors import LabError
from console.lab import packages
from console.lab.packages import say
from console.lab.tools import (
    TEST_TOOLS,
    TOOLS,
    cache_dir,
    find_tool,
    pip_wheel,
    unpacked_root,
    write_wrappers,
)

POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_MARK = "# written by pooldeck for the length of one apt-get install"
_POLICY_TEXT = f"#!/bin/sh\n{_POLICY_MARK}\nexit 101\n"
_SERVICES = {
    "postgresql": ("postgresql",),
    "pgbouncer": ("pgbouncer",),
    "openssh-server": ("ssh", "ssh.socket", "sshd"),
    "haproxy": ("haproxy",),
}


def missing_packages(tools: Mapping[str, str] = TOOLS) -> list[str]:
    """Return the Debian packages whose programs are not to be found on this machine."""
    lacking = {package for tool, package in tools.items() if find_tool(tool) is None}
    if tools is TOOLS and find_spec("ensurepip") is None and pip_wheel() is None:
        # Debian splits `python3 -m venv` off; without it there is no virtual environment.
        lacking.add("python3-venv")
    return sorted(lacking)


def provide(wanted: list[str]) -> None:
    """Install or unpack `wanted`, as this user can.

    Raises:
        LabError: apt failed, or a program is still missing afterwards.
    """
    if not wanted:
        return
    if os.geteuid() == 0:
        _install(wanted)
    elif _sudo_works():
        say(f"installing {', '.join(wanted)} with sudo; none of their services is started or enabled")
        command = ["sudo", sys.executable, "-m", "console.lab.provision", "--install", *wanted]
        if subprocess.run(command, check=False).returncode:
            raise LabError(
                "installing packages with sudo failed", hint=f"install {' '.join(wanted)} yourself"
            )
    else:
        say(f"no root and no sudo: unpacking {', '.join(wanted)} into {cache_dir()}")
        _unpack(wanted)
    still = [name for name in (*missing_packages(), *missing_packages(TEST_TOOLS)) if name in wanted]
    if still:
        raise LabError(f"still missing after the installation: {', '.join(still)}")


def _install(wanted: list[str]) -> None:
    say(f"installing {', '.join(wanted)}; none of their services is started or enabled")
    with _no_service_starts():
        packages.run(["apt-get", "-q", "update"], what="apt-get update")
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", *wanted]
        packages.run(install, what=f"installing {', '.join(wanted)}")
    for package in wanted:
        for service in _SERVICES.get(package, ()):
            _disable(service)


def _disable(service: str) -> None:
    """Take a service out of the boot; where it does not exist there is nothing to disable."""
    for command in (["systemctl", "disable", "--quiet", service], ["update-rc.d", service, "disable"]):
        if shutil.which(command[0]):
            subprocess.run(command, capture_output=True, timeout=60, check=False)


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep invoke-rc.d from starting anything; the machine's own policy is put back, even after a crash."""
    kept = POLICY.with_name("policy-rc.d.pooldeck-kept")
    if POLICY.exists() and _POLICY_MARK in POLICY.read_text(encoding="utf-8", errors="replace"):
        POLICY.unlink()
    elif POLICY.exists():
        POLICY.rename(kept)
    try:
        POLICY.write_text(_POLICY_TEXT, encoding="utf-8")
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(POLICY)


def _sudo_works() -> bool:
    if shutil.which("sudo") is None:
        return False
    with_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    command = ["sudo", "-v"] if with_terminal else ["sudo", "-n", "true"]
    return subprocess.run(command, check=False, capture_output=not with_terminal).returncode == 0


def _unpack(wanted: list[str]) -> None:
    """Unpack `wanted` and what they need beyond this machine's packages; apt names and verifies them."""
    root = unpacked_root()
    with packages.locked(root.parent):
        apt = _own_lists(root.parent / "apt")
        packages.run(["apt-get", "-q", *apt, "update"], what="reading the package lists")
        simulated = packages.run(
            ["apt-get", "-s", "-q", *apt, "--no-install-recommends", "install", *wanted],
            what="asking apt what is missing",
        )
        names = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
        fresh = root.with_name("root.new")
        shutil.rmtree(fresh, ignore_errors=True)
        files = fresh / "packages"
        files.mkdir(parents=True)
        packages.run(["apt-get", "-q", *apt, "download", *names], what="downloading packages", cwd=files)
        packages.unpack(sorted(files.glob("*.deb")), fresh)
        shutil.rmtree(files)
        if root.exists():
            shutil.copytree(root, fresh, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root)
        fresh.rename(root)
        shutil.rmtree(root.parent / "apt")
        write_wrappers()


def _own_lists(folder: Path) -> list[str]:
    """Return apt options that keep lists and cache in `folder`; the sources are the machine's."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [
        f"-oDir::State::lists={folder / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
        "-oAPT::Sandbox::User=",
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
    ]


def main() -> int:
    """Provide what is missing; with `--versions` also what the tests need."""
    parser = argparse.ArgumentParser(prog="console.lab.provision", description=__doc__)
    parser.add_argument(
        "--versions", action="store_true", help="also what tests need: PgBouncer of other suites, haproxy"
    )
    parser.add_argument("--install", nargs="+", metavar="PACKAGE", help="install these packages (root)")
    told = parser.parse_args()
    try:
        if told.install:
            _install(told.install)
            return 0
        provide(missing_packages())
        if told.versions:
            provide(missing_packages(TEST_TOOLS))
            for version, path in packages.fetch_pgbouncers().items():
                say(f"PgBouncer {version}: {path}")
    except LabError as error:
        say(f"set-up: {error}" + (f"\n  next: {error.hint}" if error.hint else ""))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
