"""RELOAD: read the configuration again, make sure that it did what its files say, and mend it when not.

Up to 1.24 the pooler answers success whatever happens, and a file that cannot be read whole leaves every
reloadable setting after the mistake at its compiled default (trap T5). So the files are judged beforehand
(`reload_files`, `reload_plan`), hashed once more just before the statement, and compared with what runs
afterwards, over a session opened before: a failed reload empties `admin_users`, and no new login would be let
in. After a good one its files are kept as copies; after one that fell to the defaults, locks the console's
admins out or reports failure, the copies of the last good one are put back and reloaded.
"""

from __future__ import annotations

from console.errors import AdminError, NodeError
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.reload_copies import PutBack, changed_files, keep_good, put_back
from console.operations.reload_files import BROKEN, GOOD, ConfigLook
from console.operations.reload_reading import FAILED_RELOAD, Reading, read_after
from console.operations.sending import Answer, ask, on_writer
from console.operations.sessions import WriteSession
from console.operations.spec import state_words
from console.operations.step import Step, plural, why


async def carry_out_reload(step: Step) -> TargetReceipt:
    """Reload the target of `step`."""
    look: ConfigLook = step.ask.found

    async def acting(session: WriteSession) -> TargetReceipt:
        changed = await changed_files(look)
        if changed:
            return _refused(step, changed)
        return await _reload(step, session, look)

    return await on_writer(step, acting)


def _refused(step: Step, changed: tuple[str, ...]) -> TargetReceipt:
    return step.receipt(
        Outcome.SKIPPED,
        f"changed since it was checked, so nothing was sent: {', '.join(changed)}",
        step.present,
        refused_by="guard.observed",
        next_steps=(f"{step.target.command('reload')} --plan",),
    )


async def _reload(step: Step, session: WriteSession, look: ConfigLook) -> TargetReceipt:
    answer = await ask(step, session, step.statements[0])
    expected = look.judged.expected if look.judged is not None else None
    try:
        reading = await read_after(step, session, look, expected, lost=answer.lost is not None)
    except (NodeError, AdminError) as error:
        return step.receipt(
            Outcome.UNKNOWN if answer.refused is None else Outcome.FAILED,
            f"{answer.words}; reading back failed: {why(error)}",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}", *_by_hand(step, look, locked_out=False)),
        )
    for note in reading.notes:
        step.warn(note)
    failed = answer.refused is not None and answer.refused.sqlstate == FAILED_RELOAD
    if failed or reading.must_be_mended:
        return await _mend(step, session, look, answer, reading)
    return await _settle(step, look, answer, reading, judged=expected is not None)


# -- all went well, or nearly -----------------------------------------------------------------------


async def _settle(
    step: Step, look: ConfigLook, answer: Answer, reading: Reading, *, judged: bool
) -> TargetReceipt:
    lines = reading.changes.lines
    words = state_words(step.target, reading.after)
    problem = reading.problem()
    if answer.refused is not None or problem is not None:
        detail = answer.words if problem is None else f"{answer.words}, but {problem}"
        return step.receipt(
            Outcome.FAILED,
            detail,
            words,
            differences=lines,
            next_steps=_by_hand(step, look, locked_out=False),
        )
    if answer.lost is not None and not lines:
        return step.receipt(
            Outcome.UNKNOWN,
            f"{why(answer.lost)}; nothing differs from before, so whether it was reloaded is not known",
            words,
            next_steps=(step.target.command("reload"),),
        )
    changed = await changed_files(look) if judged else ()
    if changed:
        return step.receipt(
            Outcome.FAILED,
            f"{answer.words}, but {', '.join(changed)} changed meanwhile: what was read may not be what was "
            "checked",
            words,
            differences=lines,
            next_steps=(f"{step.target.command('reload')} --plan",),
        )
    verified = ["settings and databases read before and after", "settings did not fall to defaults"]
    if judged:
        verified.append("settings, databases and peers are as the files say")
    if not reading.notes:
        verified.append("a new login to the console is let in")
    if judged:
        verified += await _keep(step, look)
    return step.receipt(
        Outcome.OK,
        f"{answer.words}; {plural(len(lines), 'difference')} in settings and databases",
        words,
        verified=tuple(verified),
        differences=lines,
    )


async def _keep(step: Step, look: ConfigLook) -> list[str]:
    kept = await keep_good(look)
    for path, reason in (kept.failed or {}).items():
        step.warn(f"no copy of {path} was kept: {reason}")
    return [f"copies kept as NAME{GOOD}: {', '.join(kept.paths)}"] if kept.paths else []


# -- it went wrong ----------------------------------------------------------------------------------


async def _mend(
    step: Step, session: WriteSession, look: ConfigLook, answer: Answer, reading: Reading
) -> TargetReceipt:
    """Put the last good files back and reload them."""
    problem = reading.problem()
    detail = answer.words if problem is None else f"{answer.words}, but {problem}"
    locked_out = reading.locked_out is not None or "admin_users" in reading.changes.fallen
    result = await _put_back(step, look)
    if result.failed is not None or answer.lost is not None:
        return step.receipt(
            Outcome.FAILED,
            f"{detail}; {_put_back_words(result)}",
            state_words(step.target, reading.after),
            differences=reading.changes.lines,
            next_steps=_by_hand(step, look, locked_out=locked_out, put_back=result.failed is None),
        )
    return await _reload_good(step, session, look, detail, result)


async def _put_back(step: Step, look: ConfigLook) -> PutBack:
    if look.good.why_not is None:
        step.tell(EventKind.UNDOING, "putting the files of the last good RELOAD back")
    result = await put_back(look)
    if result.paths:
        step.tell(EventKind.NOTE, f"put back: {', '.join(result.paths)}")
    return result


async def _reload_good(
    step: Step, session: WriteSession, look: ConfigLook, detail: str, result: PutBack
) -> TargetReceipt:
    good = look.good.lint
    answer = await ask(step, session, step.statements[0])
    broken = tuple(f"mend {path}{BROKEN}, put it in place of {path}" for path in result.paths)
    try:
        reading = await read_after(
            step, session, look, good.expected if good is not None else None, lost=answer.lost is not None
        )
    except (NodeError, AdminError) as error:
        return step.receipt(
            Outcome.FAILED,
            f"{detail}; {_put_back_words(result)}, {answer.words}; reading back failed: {why(error)}",
            None,
            next_steps=(f"pooldeck status {step.target.bouncer}", *broken),
        )
    words = state_words(step.target, reading.after)
    problem = reading.problem() or (answer.words if answer.refused is not None else None)
    if problem is not None:
        return step.receipt(
            Outcome.FAILED,
            f"{detail}; {_put_back_words(result)}, and reloaded: {problem}",
            words,
            differences=reading.changes.lines,
            next_steps=_by_hand(step, look, locked_out=reading.locked_out is not None, put_back=True),
        )
    return step.receipt(
        Outcome.FAILED,
        f"{detail}; {_put_back_words(result)} and reloaded: it runs as they say",
        words,
        verified=("the last good files: settings, databases and peers are as they say",),
        differences=reading.changes.lines,
        next_steps=(*broken, step.target.command("reload")),
    )


def _put_back_words(result: PutBack) -> str:
    names = ", ".join(result.paths)
    if result.failed is None:
        return f"the files of the last good RELOAD were put back ({names})"
    partly = f" beyond {names}" if names else ""
    return f"nothing could be put back{partly}: {result.failed}"


def _by_hand(step: Step, look: ConfigLook, *, locked_out: bool, put_back: bool = False) -> tuple[str, ...]:
    """Return what a person has to do on the pooler's host."""
    conffile = step.before.config.get("conffile")
    name = conffile.value if conffile is not None and conffile.value else "the configuration file"
    logfile = step.before.config.get("logfile")
    log = logfile.value if logfile is not None and logfile.value else "its log"
    steps = [] if put_back else [f"read {log} on its host: it names the line", f"mend {name} on its host"]
    if not put_back and look.texts is not None and look.texts.root in look.good.files:
        steps[-1] += f"; {look.texts.root}{GOOD} is the last good one"
    if locked_out:
        steps.append(
            "nobody can log in to its console now: send the process SIGHUP on its host "
            "(kill -HUP PID, or systemctl reload), which reads the files again"
        )
    else:
        steps.append(step.target.command("reload"))
    return tuple(steps)
