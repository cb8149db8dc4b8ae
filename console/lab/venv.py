"""The virtual environment of a checkout: made once, filled from the locked, hashed requirements.

Run as `python3 -m console.lab.venv`; standard library only. When nothing changed it touches no network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

from console.errors import LabError
from console.lab.packages import say
from console.lab.tools import pip_wheel

LIMIT_S = 1800
_LOCKS = ("requirements/uv.txt", "requirements/dev.txt", "pyproject.toml")


def ensure(folder: Path, checkout: Path) -> None:
    """Make `folder` hold exactly what the lock files say, and the checkout itself, editable.

    Raises:
        LabError: a step failed; its own words are in the message.
    """
    python = folder / "bin" / "python"
    stamp = folder / ".ready"
    wanted = _fingerprint(checkout)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return
    say(f"filling {folder.name} from the locked requirements")
    if not python.exists():
        _create(folder)
    uv = shutil.which("uv") or str(_own_uv(folder, checkout))
    target = ["--python", str(python)]
    # Compiled now: where PYTHONDONTWRITEBYTECODE is set, each start would compile what it imports anew.
    sync = [uv, "pip", "sync", "-q", *target, "--compile-bytecode", "--require-hashes"]
    _step([*sync, "requirements/dev.txt"], checkout)
    _step([uv, "pip", "install", "-q", *target, "--no-deps", "--no-build-isolation", "-e", "."], checkout)
    stamp.write_text(wanted, encoding="utf-8")


def _create(folder: Path) -> None:
    if find_spec("ensurepip") is not None:
        venv.create(folder, with_pip=True)
        return
    venv.create(folder, with_pip=False)
    wheel = pip_wheel()
    if wheel is None:
        raise LabError("this Python has no ensurepip, so pip cannot be had", hint="install python3-venv")
    _step(
        [str(folder / "bin" / "python"), f"{wheel}/pip", "install", "-q", "--no-index", str(wheel)],
        folder,
    )


def _own_uv(folder: Path, checkout: Path) -> Path:
    uv = folder / "bin" / "uv"
    if not uv.exists():
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _step([*pip, "--require-hashes", "-r", "requirements/uv.txt"], checkout)
    return uv


def _step(command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=where,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{Path(command[0]).name} did not end within {LIMIT_S} s") from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise LabError(f"{' '.join(command[1:4])} failed: {tail}", where=Path(command[0]).name)


def _fingerprint(checkout: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in _LOCKS:
        digest.update((checkout / name).read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Make `.venv` in the current folder ready."""
    if sys.version_info < (3, 11):  # noqa: UP036 - told kindly to whoever starts it with an older one
        say("set-up: Pooldeck needs Python 3.11 or newer")
        return 1
    checkout = Path.cwd()
    try:
        ensure(checkout / ".venv", checkout)
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        hint = getattr(error, "hint", None)
        say(f"set-up: {error}" + (f"\n  next: {hint}" if hint else ""))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
