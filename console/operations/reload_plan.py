"""How a pooler stands before a RELOAD: what its files would do, in words, and whether it may be sent at all.

Pure. A RELOAD of files that have errors is refused, and nothing overrides that: mending the file is the way.
One of files that cannot all be read is refused unless `unchecked` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from console.config.pgbouncer_auth import AuthUser
from console.config.pgbouncer_lint_files import Lint
from console.guard.verdict import Tier
from console.model.version import Version
from console.operations.observe import Observation
from console.operations.reload_check import ExpectedReload, expected_reload
from console.operations.reload_files import GOOD, ConfigLook
from console.operations.spec import Ask, Parameters, Standing, state_words
from console.operations.step import plural

REPORTS_FAILURE = Version(1, 25)
_RECYCLES_FROM = Version(1, 16)
_RECYCLES_UNTIL = Version(1, 24)
_KEEPS_VERIFIERS = Version(1, 25)
"""Of removed users (pgbouncer-admin.md, 4, fact 6)."""
_LINES_SHOWN = 60
_NAMES_SHOWN = 8


class ReloadParameters(Parameters):
    """`unchecked`: reload although not every file could be read and checked beforehand."""

    unchecked: bool = False


def reload_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what RELOAD sends."""
    return (ask.dialect.reload(),)


def reload_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is sent once the last good files were put back."""
    look: ConfigLook = ask.found
    return () if look.good.why_not is not None else (ask.dialect.reload(),)


def what_would_change(ask: Ask[Observation], look: ConfigLook | None = None) -> ExpectedReload | None:
    """Return what a RELOAD would change; None when the files could not be judged.

    `look`: the files as they would be; None: as the ask found them.
    """
    look = look or ask.found
    assert look is not None, "RELOAD looks at files"
    judged = look.judged
    if judged is None:
        return None
    good = look.good.lint
    last_good = good.expected if good is not None and not good.errors and not good.unread else None
    return expected_reload(ask.seen, judged.expected, last_good=last_good, peers=look.peers)


def reload_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before a RELOAD."""
    look: ConfigLook = ask.found
    told = _Told()
    if look.lint is None:
        _unchecked(told, look.unread or "", ask)
    else:
        _linted(told, look, look.lint, ask)
    if told.blocked is None:
        told.warnings += of_the_version(ask.seen, known=told.known)
    return Standing(
        state_words(ask.target, ask.seen),
        blocked=told.blocked,
        warnings=tuple(told.warnings),
        notes=tuple(told.notes),
        tier=told.tier,
    )


@dataclass
class _Told:
    """A standing while it is made."""

    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocked: str | None = None
    tier: Tier | None = None
    known: bool = False
    """What the files would do is known."""


def _unchecked(told: _Told, reason: str, ask: Ask[Observation]) -> None:
    asked_for = bool(getattr(ask.parameters, "unchecked", False))
    if not asked_for:
        told.blocked = (
            f"its files cannot be checked beforehand: {reason}; --unchecked reloads it all the same, and "
            "one wrong line in them puts every setting at its default"
        )
        return
    told.tier = Tier.FELT
    told.warnings.append(
        f"its files are not checked beforehand: {reason}; one wrong line in them puts every setting at its "
        "default, every SET made since the last reload is undone, and clients of databases that left the "
        "file are cut: none of it can be listed here"
    )


def _linted(told: _Told, look: ConfigLook, lint: Lint, ask: Ask[Observation]) -> None:
    told.warnings += look.notices
    if lint.errors:
        first = lint.errors[0]
        told.blocked = f"{plural(len(lint.errors), 'error')} in its files: {first}"
        told.warnings += some_of([f"error: {finding}" for finding in lint.errors[1:]])
        told.warnings += some_of([str(finding) for finding in (*lint.unread, *lint.warnings)])
        return
    if lint.unread:
        _unchecked(told, "; ".join(str(finding) for finding in lint.unread[:3]), ask)
    told.warnings += some_of([str(finding) for finding in lint.warnings])
    would = what_would_change(ask)
    if would is None:
        return
    told.known = True
    told.notes += some_of([*would_change(would, look), *_copies(look)])
    told.warnings += would_warn(would, look, ask.seen.version)
    told.warnings += _about_copies(look)
    if would.doomed_clients:
        told.tier = Tier.CUT


def would_warn(would: ExpectedReload, look: ConfigLook, version: Version) -> Iterator[str]:
    """Yield what a RELOAD would do that one may not want."""
    yield from would.warnings
    if would.undone:
        yield (
            f"would undo {plural(len(would.undone), 'value')} that somebody SET: "
            f"{', '.join(line.partition(':')[0] for line in would.undone)} (trap T6)"
        )
    if would.doomed_clients:
        yield f"cuts {plural(would.doomed_clients, 'client')} (trap T7)"
    yield from _users_gone(look, version)


def would_change(would: ExpectedReload, look: ConfigLook) -> Iterator[str]:
    """Yield what a RELOAD would change, and what only a restart would."""
    if not (would.changes or would.undone):
        yield "nothing: its files give what runs already"
    yield from would.changes
    yield from (f"{line}, undoing a SET" for line in would.undone)
    yield from _users(look)
    yield from (f"needs a restart: {line}" for line in would.restart)


def _copies(look: ConfigLook) -> Iterator[str]:
    if look.good.why_not is None:
        yield "should it fail all the same, the files of the last good reload are put back and reloaded"
    if look.texts is not None:
        files = ", ".join(path for path, file in look.texts.files.items() if file.content is not None)
        yield f"once it went well, a copy of each file is kept beside it as NAME{GOOD}: {files}"


def _users(look: ConfigLook) -> Iterator[str]:
    """Say how the users of the auth_file differ from those of its last good copy."""
    old, new = _users_before_and_after(look)
    changed = [name for name in new if name in old and old[name].fingerprint != new[name].fingerprint]
    for word, names in (
        ("added", [name for name in new if name not in old]),
        ("removed", [name for name in old if name not in new]),
        ("with another secret", changed),
    ):
        if names:
            shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
            yield f"auth_file: {plural(len(names), 'user')} {word} since the last good reload: {shown}"


def _users_gone(look: ConfigLook, version: Version) -> Iterator[str]:
    old, new = _users_before_and_after(look)
    if version >= _KEEPS_VERIFIERS and any(name not in new for name in old):
        yield (
            f"{version} lets users who left auth_file log in with their old password until a restart, if "
            "they did so by SCRAM before: change their secret and reload before you take them out"
        )


def _users_before_and_after(look: ConfigLook) -> tuple[Mapping[str, AuthUser], Mapping[str, AuthUser]]:
    old = look.good.lint.users if look.good.lint is not None else None
    new = look.lint.users if look.lint is not None else None
    return ({}, {}) if old is None or new is None else (old.by_name, new.by_name)


def _about_copies(look: ConfigLook) -> Iterator[str]:
    good = look.good
    for path, reason in good.obstacles.items():
        yield f"no copy of {path} can be kept beside it: {reason}"
    if good.why_not is not None:
        yield f"if it fails all the same, nothing can be put back: {good.why_not}"


def of_the_version(seen: Observation, *, known: bool) -> Iterator[str]:
    """Yield what a RELOAD does on this version; `known`: what the files would do is."""
    if seen.version < REPORTS_FAILURE and not known:
        yield (
            f"{seen.version} answers success even when the file is broken: settings are compared "
            "before and after, but a mistake below the last setting cannot be told from success"
        )
    tls = seen.config.get("server_tls_sslmode")
    mode = tls.value if tls is not None else None
    if _RECYCLES_FROM <= seen.version < _RECYCLES_UNTIL and mode not in (None, "", "disable"):
        yield (
            f"{seen.version} with server_tls_sslmode = {mode} opens every server connection anew at "
            f"each reload: {plural(sum(pool.servers for pool in seen.pools), 'server connection')} now"
        )


def some_of(lines: Sequence[str]) -> Sequence[str]:
    """Return lines, of very many only the first ones and how many more."""
    if len(lines) <= _LINES_SHOWN:
        return lines
    return (*lines[: _LINES_SHOWN - 1], f"and {len(lines) - _LINES_SHOWN + 1} more")
