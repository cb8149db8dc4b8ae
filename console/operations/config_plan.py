"""How a pooler stands before its configuration files are changed: the diff, its effect, why not. Pure.

Files that would have an error are never written, nor are files that cannot all be judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from console.config.pgbouncer_diff import shown_diff
from console.config.pgbouncer_ini import MAIN_SECTION, Entry, IniError
from console.config.pgbouncer_lint_files import Lint
from console.config.pgbouncer_pairs import connection_pairs
from console.config.pgbouncer_texts import ConfigTexts, scan
from console.guard.verdict import Tier
from console.operations.config_backups import backup_of
from console.operations.config_change import ConfigChange
from console.operations.observe import Observation
from console.operations.reload_check import ExpectedReload
from console.operations.reload_files import ConfigLook
from console.operations.reload_plan import (
    of_the_version,
    some_of,
    what_would_change,
    would_change,
    would_warn,
)
from console.operations.spec import Ask, Standing, state_words
from console.operations.step import plural


def change_statements(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is done, in order: files are written, then read by the pooler."""
    change: ConfigChange = ask.found
    return (*(edit.forth for edit in change.edits), ask.dialect.reload())


def change_rescue(ask: Ask[Observation]) -> tuple[str, ...]:
    """Return what is done besides when it does not go well."""
    change: ConfigChange = ask.found
    return (*(edit.back for edit in change.edits), ask.dialect.reload()) if change.edits else ()


def change_standing(ask: Ask[Observation]) -> Standing:
    """Return how a target stands before its files are changed."""
    change: ConfigChange = ask.found
    present = state_words(ask.target, ask.seen)
    after = change.after
    if after is None or after.lint is None:
        return Standing(present, blocked=change.refused)
    findings = [str(finding) for finding in after.lint.findings]
    blocked = _blocked(change, after.lint)
    if blocked is not None:
        return Standing(present, blocked=blocked, warnings=tuple(some_of(findings)))
    would = what_would_change(ask, after)
    assert would is not None, "it was judged"
    if _is_so(change, would):
        notes = (f"needs a restart: {line}" for line in would.restart)
        return Standing(present, already=True, notes=tuple(notes))
    wanted = change.wanted
    notes_ = [*(wanted.notes if wanted is not None else ()), *would_change(would, after)]
    if change.edits:
        backup = backup_of("NAME", "RUN")
        notes_.append(f"what is there stays beside it as {backup}, and is put back should anything go wrong")
    warnings = [*after.notices, *some_of(findings), *would_warn(would, after, ask.seen.version)]
    warnings += _users_keep(change.before, after)
    warnings += of_the_version(ask.seen, known=True)
    return Standing(
        present,
        warnings=tuple(warnings),
        notes=tuple(notes_),
        diff=tuple(_diff(ask, change)),
        tier=Tier.CUT if would.doomed_clients else None,
    )


def _blocked(change: ConfigChange, lint: Lint) -> str | None:
    if lint.errors:
        count = plural(len(lint.errors), "error")
        return f"{count} in the files as they would be, so nothing is written: {lint.errors[0]}"
    if lint.unread:
        return f"not everything can be checked beforehand, so nothing is written: {lint.unread[0]}"
    for edit in change.edits:
        obstacle = change.before.good.obstacles.get(edit.path)
        if obstacle is not None:
            return f"{edit.path} cannot be replaced: {obstacle}"
    return None


def _is_so(change: ConfigChange, would: ExpectedReload) -> bool:
    """Say whether the files hold what is wanted and the process runs with it."""
    if change.edits:
        return False
    keys = change.wanted.keys if change.wanted is not None else None
    if keys is None:
        return not (would.changes or would.undone)
    starts = tuple(
        f"{key.name}:" if key.section == MAIN_SECTION else f"{key.section.removesuffix('s')} {key.name}:"
        for key in keys
    )
    return not any(line.startswith(starts) for line in (*would.changes, *would.undone))


def _diff(ask: Ask[Observation], change: ConfigChange) -> Iterator[str]:
    for edit in change.edits:
        yield from shown_diff(edit.path, edit.old, edit.new, ask.dialect.may_be_secret)


def _users_keep(before: ConfigLook, after: ConfigLook) -> Iterator[str]:
    """Say which options of `[users]` go and stay all the same (PgBouncer issue 1594)."""
    if before.texts is None or after.texts is None:
        return
    old, new = _user_options(before.texts), _user_options(after.texts)
    gone = sorted(at for at in old.keys() - new.keys())
    if gone:
        names = ", ".join(f"{option} of {user}" for user, option in gone)
        yield f"PgBouncer keeps what [users] said of these until a restart: {names}"


def _user_options(texts: ConfigTexts) -> Mapping[tuple[str, str], str]:
    return {
        (entry.key, name): value
        for entry in scan(texts)[0].ini.effective("users").values()
        for name, value in _pairs(entry)
    }


def _pairs(entry: Entry) -> tuple[tuple[str, str], ...]:
    try:
        return connection_pairs(entry)
    except IniError:
        return ()
