"""Changes a pooler's configuration files: kept, written, reloaded, read back; put back when that went wrong.

The admin session is opened before the first file is written and held over RELOAD: one that goes wrong may let
no new login in. An interruption before RELOAD puts the files back; after it, reading back decides. What could
not be put back is named in the receipt, with the command that does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console.config.pgbouncer_expect import Expected
from console.config.pgbouncer_texts import Trouble
from console.errors import AdminError, NodeError
from console.operations.config_backups import backup_of, remove_old
from console.operations.config_change import ConfigChange, FileEdit
from console.operations.config_files import HostFiles
from console.operations.outcome import EventKind, Outcome, TargetReceipt
from console.operations.reload_copies import changed_files, keep_good
from console.operations.reload_files import ConfigLook
from console.operations.reload_reading import Reading, read_after
from console.operations.sending import Answer, ask, on_writer
from console.operations.sessions import WriteSession, close_quietly
from console.operations.spec import state_words
from console.operations.step import Step, plural, why

UNDO_LIMIT_S = 10.0
"""So long the host and the pooler are tried again, when contact is lost, to put the files back."""
_RETRY_S = 0.5


async def carry_out_change(step: Step) -> TargetReceipt:
    """Change the files of the target of `step`."""
    if step.already:
        return step.receipt(
            Outcome.NO_CHANGE, "its files say so already, and it runs as they say", step.present
        )

    async def acting(session: WriteSession) -> TargetReceipt:
        change = _Change(step, session)
        try:
            return await change.make()
        finally:
            await change.close()

    return await on_writer(step, acting)


async def take_back_change(step: Step) -> TargetReceipt:
    """Put the files back, when a run is interrupted after this target was done."""

    async def acting(session: WriteSession) -> TargetReceipt:
        change = _Change(step, session)
        try:
            return await change.take_back()
        finally:
            await change.close()

    return await on_writer(step, acting)


class _Change:
    """One target's change while it is made."""

    def __init__(self, step: Step, session: WriteSession) -> None:
        change: ConfigChange = step.ask.found
        assert change.after is not None, "the plan has seen to that"
        assert change.before.host is not None, "the plan has seen to that"
        self._step = step
        self._session = session
        self._own_session: WriteSession | None = None
        self._before: ConfigLook = change.before
        self._after: ConfigLook = change.after
        self._edits: Sequence[FileEdit] = change.edits
        self._host: HostFiles = change.before.host
        self._timeout_s = change.before.timeout_s
        self._backups: list[str] = []

    async def close(self) -> None:
        """Close what was opened besides the session it was given."""
        await close_quietly(self._own_session)

    # -- forth ----------------------------------------------------------------------------------

    async def make(self) -> TargetReceipt:
        """Keep, write, reload, read back."""
        step = self._step
        changed = await changed_files(self._before)
        if changed:
            return step.receipt(
                Outcome.SKIPPED,
                f"changed since it was checked, so nothing was written: {', '.join(changed)}",
                step.present,
                refused_by="guard.observed",
            )
        problem = await self._keep() or await self._write()
        if problem is not None:
            return await self._undo(problem, reloaded=False)
        if step.control.stopped:
            return await self._undo("interrupted before RELOAD", reloaded=False, interrupted=True)
        answer = await self._reload()
        expected = self._after.judged
        try:
            reading = await self._read(self._after, expected.expected if expected is not None else None)
        except (NodeError, AdminError) as error:
            return await self._undo(f"{answer.words}; reading back failed: {why(error)}", reloaded=True)
        problem = reading.problem()
        if answer.refused is not None or problem is not None:
            told = answer.words if problem is None else f"{answer.words}, but {problem}"
            return await self._undo(told, reloaded=True, reading=reading)
        return await self._settle(answer, reading)

    async def _keep(self) -> str | None:
        """Keep a copy of each file beside it."""
        for edit in self._edits:
            backup = backup_of(edit.path, self._step.run_id)
            problem = await self._host.copy(
                edit.path, backup, sha256=edit.old_sha256, timeout_s=self._timeout_s
            )
            if problem is not None:
                return f"{edit.path} could not be kept as {backup}: {problem}"
            self._backups.append(backup)
        if self._backups:
            self._step.tell(EventKind.NOTE, f"kept: {', '.join(self._backups)}")
        return None

    async def _write(self) -> str | None:
        for edit in self._edits:

            async def write(edit: FileEdit = edit) -> str | None:
                done = await self._host.write(
                    edit.path, edit.new, expect_sha256=edit.old_sha256, timeout_s=self._timeout_s
                )
                return done.problem

            problem = await self._step.act(edit.forth, write)
            if problem is not None:
                return f"{edit.path} could not be written: {problem}"
        return None

    async def _reload(self) -> Answer:
        """Send RELOAD; once more over a new session when no answer came: it may be sent twice."""
        step = self._step
        statement = step.dialect.reload()
        answer = await ask(step, self._session, statement)
        if answer.lost is None:
            return answer
        fresh = await step.reopen(until_s=asyncio.get_running_loop().time() + UNDO_LIMIT_S)
        if fresh is None:
            return answer
        await close_quietly(self._own_session)
        self._session = self._own_session = fresh
        return await ask(step, fresh, statement)

    async def _read(self, look: ConfigLook, expected: Expected | None) -> Reading:
        reading = await read_after(self._step, self._session, look, expected, lost=False)
        for note in reading.notes:
            self._step.warn(note)
        return reading

    async def _settle(self, answer: Answer, reading: Reading) -> TargetReceipt:
        step = self._step
        lines = reading.changes.lines
        words = state_words(step.target, reading.after)
        changed = await self._changed_since()
        if changed:
            return step.receipt(
                Outcome.FAILED,
                f"{answer.words}, but {', '.join(changed)} changed meanwhile: what was read may not be what "
                "was written",
                words,
                differences=lines,
                next_steps=(f"pooldeck config diff {step.target}",),
            )
        verified = ["settings, databases and peers are as the files say"]
        if not reading.notes:
            verified.append("a new login to the console is let in")
        if self._backups:
            verified.append(f"kept: {', '.join(self._backups)}")
        await self._keep_good(self._after)
        for problem in await remove_old(
            self._host, [edit.path for edit in self._edits], timeout_s=self._timeout_s
        ):
            step.warn(problem)
        files = plural(len(self._edits), "file")
        return step.receipt(
            Outcome.OK,
            f"{files} written, {answer.words}; {plural(len(lines), 'difference')} in settings and databases",
            words,
            verified=tuple(verified),
            differences=lines,
            next_steps=(*self._restart(reading), *self._rollback()),
        )

    async def _changed_since(self) -> list[str]:
        """Return the files that somebody else has changed; one that cannot be read now is only told."""
        texts = self._after.texts
        assert texts is not None, "it was judged"
        found = await asyncio.gather(
            *(self._host.read(path, timeout_s=self._timeout_s) for path in texts.files)
        )
        changed = []
        for now in found:
            written = texts.files[now.path]
            if now.content is None and now.trouble is Trouble.OTHER and written.content is not None:
                self._step.warn(f"{now.path} could not be read once more: {now.why}")
            elif (now.sha256, now.trouble) != (written.sha256, written.trouble):
                changed.append(now.path)
        return changed

    async def _keep_good(self, look: ConfigLook) -> None:
        kept = await keep_good(look)
        for path, reason in (kept.failed or {}).items():
            self._step.warn(f"no good copy of {path} was kept: {reason}")

    def _restart(self, reading: Reading) -> list[str]:
        """Say which settings wait for a restart."""
        judged = self._after.judged
        waiting = {
            key: value
            for key, value in (judged.expected.at_start if judged is not None else {}).items()
            if (setting := reading.after.config.get(key)) is None or value != (setting.value or "")
        }
        if not waiting:
            return []
        names = ", ".join(f"{key} = {value or 'empty'}" for key, value in sorted(waiting.items()))
        return [f"needs a restart: {names}", self._step.target.command("restart")]

    def _rollback(self) -> list[str]:
        if not self._backups:
            return []
        return [f"{self._step.target.command('config rollback')} --run {self._step.run_id}"]

    # -- back -----------------------------------------------------------------------------------

    async def take_back(self) -> TargetReceipt:
        """Undo what `make` did well."""
        self._backups = [backup_of(edit.path, self._step.run_id) for edit in self._edits]
        return await self._undo("the run was interrupted", reloaded=True, interrupted=True, was_good=True)

    async def _undo(
        self,
        detail: str,
        *,
        reloaded: bool,
        reading: Reading | None = None,
        interrupted: bool = False,
        was_good: bool = False,
    ) -> TargetReceipt:
        """Put the files back, and have them read when the others may have been.

        Args:
            detail: what went wrong.
            reloaded: RELOAD was sent.
            reading: the pooler after it; None: not read.
            interrupted: somebody stopped the run.
            was_good: nothing went wrong; it is only taken back.
        """
        step = self._step
        lines = reading.changes.lines if reading is not None else ()
        problem = await self._put_back()
        if problem is not None:
            return step.receipt(
                Outcome.UNKNOWN if reading is None and reloaded else Outcome.FAILED,
                f"{detail}; {problem}",
                None if reading is None else state_words(step.target, reading.after),
                differences=lines,
                next_steps=self._by_hand(),
                interrupted=interrupted,
            )
        if not reloaded:
            await self._forget_backups()
            told = "the files are as they were, and RELOAD was not sent"
            return step.receipt(Outcome.FAILED, f"{detail}; {told}", step.present, interrupted=interrupted)
        if self._before.judged is None:
            # To reload a file with an error would be the outage that this is to prevent.
            return step.receipt(
                Outcome.FAILED,
                f"{detail}; the files were put back and not reloaded: they have errors of their own",
                None if reading is None else state_words(step.target, reading.after),
                differences=lines,
                next_steps=self._by_hand(),
                interrupted=interrupted,
            )
        return await self._reload_old(detail, interrupted=interrupted, was_good=was_good)

    async def _reload_old(self, detail: str, *, interrupted: bool, was_good: bool) -> TargetReceipt:
        step = self._step
        answer = await self._reload()
        judged = self._before.judged
        assert judged is not None, "files with errors are not reloaded"
        told = f"{detail}; the files were put back"
        try:
            reading = await self._read(self._before, judged.expected)
        except (NodeError, AdminError) as error:
            return step.receipt(
                Outcome.UNKNOWN,
                f"{told}, {answer.words}; reading back failed: {why(error)}",
                None,
                next_steps=(f"pooldeck config diff {step.target}", step.target.command("reload")),
                interrupted=interrupted,
            )
        words = state_words(step.target, reading.after)
        problem = reading.problem() or (answer.words if answer.refused is not None else None)
        if answer.lost is not None or problem is not None:
            return step.receipt(
                Outcome.FAILED,
                f"{told} and reloaded: {problem or answer.words}",
                words,
                differences=reading.changes.lines,
                next_steps=(f"pooldeck config diff {step.target}",),
                interrupted=interrupted,
            )
        await self._keep_good(self._before)
        await self._forget_backups()
        return step.receipt(
            Outcome.OK if was_good else Outcome.FAILED,
            f"{told} and reloaded: it runs as they say",
            words,
            verified=("the files of before: settings, databases and peers are as they say",),
            differences=reading.changes.lines,
            interrupted=interrupted,
        )

    async def _put_back(self) -> str | None:
        """Put every file back; say which ones could not be."""
        self._step.tell(EventKind.UNDOING, "putting the files back")
        end = asyncio.get_running_loop().time() + UNDO_LIMIT_S
        problems = [await self._put_one_back(edit, end) for edit in reversed(self._edits)]
        told = "; ".join(problem for problem in problems if problem is not None)
        return told or None

    async def _put_one_back(self, edit: FileEdit, end: float) -> str | None:
        """Put one back, trying again until the loop's time `end` while the host cannot be reached."""
        while True:
            now = await self._host.read(edit.path, timeout_s=self._timeout_s)
            if now.sha256 == edit.old_sha256:
                return None
            problem = now.why
            if now.content is not None and now.sha256 != edit.new_sha256:
                return f"{edit.path} was changed by somebody else, so it was left as it is"
            if now.content is not None:

                async def write() -> str | None:
                    done = await self._host.write(
                        edit.path, edit.old, expect_sha256=edit.new_sha256, timeout_s=self._timeout_s
                    )
                    return done.problem

                found = await self._step.act(edit.back, write)
                if found is None:
                    return None
                problem = found
            if asyncio.get_running_loop().time() + _RETRY_S >= end:
                backup = backup_of(edit.path, self._step.run_id)
                return (
                    f"{edit.path} could not be put back: {problem}; it may hold the new text, and {backup} "
                    "the old one"
                )
            await asyncio.sleep(_RETRY_S)

    async def _forget_backups(self) -> None:
        """Remove this run's backups: the files are what they were."""
        for backup in self._backups:
            problem = await self._host.remove(backup, timeout_s=self._timeout_s)
            if problem is not None:
                self._step.warn(f"{backup} is still there: {problem}")

    def _by_hand(self) -> tuple[str, ...]:
        return (f"pooldeck config diff {self._step.target}", *self._rollback())
