"""Makes one held bouncer lead to the new primary: its files, RELOAD, and what it then reads as.

Nothing here decides whether; the promotion is over, and each bouncer is finished whatever another one does.
"""

from __future__ import annotations

from dataclasses import replace

from console.errors import AdminError, NodeError
from console.operations.config_files import HostFiles
from console.operations.observe import Observation
from console.operations.pausing import Pausing
from console.operations.reload_changes import changes_between
from console.operations.reload_check import mismatches
from console.operations.reload_copies import keep_good
from console.operations.step import why
from console.operations.switchover.arriving import until_it_leads
from console.operations.switchover.choosing import leads_to
from console.operations.switchover.commands import run_command
from console.operations.switchover.looking import SwitchLook
from console.operations.switchover.parameters import SwitchoverParameters


async def move(pausing: Pausing, started: str | None) -> str | None:
    """Move the bouncer of a target; None when it leads to the new primary, else what went wrong.

    `started`: when the new primary's postmaster started, as `NodeState.started`; None: not known.
    """
    step = pausing.step
    found: SwitchLook = step.ask.found
    parameters: SwitchoverParameters = step.parameters
    if parameters.retarget == "config":
        problem = await _write(found)
    elif parameters.retarget == "command":
        ran = await run_command(
            found.bouncer, step.reach.transport, parameters.retarget_command, timeout_s=parameters.hold_s
        )
        problem = None if ran.problem is None else f"the retarget command failed: {ran.problem}"
    else:
        problem = None
    if problem is not None:
        return problem
    if parameters.retarget != "config":
        await until_it_leads(pausing, started)
    try:
        await step.send(pausing.rescue, step.dialect.reload(), step.query_timeout_s)
        return _wrong(found, parameters, step.before, await _after(pausing))
    except (NodeError, AdminError) as error:
        return f"RELOAD or reading back failed: {why(error)}"


async def keep_copies(found: SwitchLook) -> str | None:
    """Make the new files those that a later bad RELOAD is mended with; None, or why some could not be.

    Otherwise it would bring the address of the old primary back.
    """
    if found.config is None or found.texts is None:
        return None
    kept = await keep_good(replace(found.config, texts=found.texts))
    return (
        "; ".join(f"no copy of {path} was kept: {why}" for path, why in (kept.failed or {}).items()) or None
    )


async def _write(found: SwitchLook) -> str | None:
    config, texts = found.config, found.texts
    if config is None or config.texts is None or config.host is None or texts is None:
        return "its files are not known"
    done: list[str] = []
    for path in found.changed:
        content, before = texts.files[path].content, config.texts.files[path].sha256
        assert content is not None, "what cannot be read is not changed"
        written = await config.host.write(path, content, expect_sha256=before, timeout_s=config.timeout_s)
        if written.problem is not None:
            left = await _put_back(config.host, found, done)
            return f"{path} was not written: {written.problem}{left}"
        done.append(path)
    return None


async def _put_back(host: HostFiles, found: SwitchLook, paths: list[str]) -> str:
    """Files go together: those that were written are as before again. Return what could not be put back."""
    assert found.config is not None
    assert found.config.texts is not None
    assert found.texts is not None
    left = ""
    for path in reversed(paths):
        old, new = found.config.texts.files[path], found.texts.files[path]
        assert old.content is not None, "it was read"
        written = await host.write(
            path, old.content, expect_sha256=new.sha256, timeout_s=found.config.timeout_s
        )
        if written.problem is not None:
            left += f"; {path} is changed already: {written.problem}"
    return left


async def _after(pausing: Pausing) -> Observation:
    step, session = pausing.step, pausing.rescue
    limit_s = step.query_timeout_s
    known = {one.name for one in step.before.databases}
    databases = step.dialect.parse_databases(await session.show("DATABASES", timeout_s=limit_s))
    config = step.dialect.parse_config(await session.show("CONFIG", timeout_s=limit_s))
    return replace(step.before, databases=tuple(one for one in databases if one.name in known), config=config)


def _wrong(
    found: SwitchLook, parameters: SwitchoverParameters, before: Observation, after: Observation
) -> str | None:
    expected = found.lint.expected if found.lint is not None else None
    changes = changes_between(before, after, expected)
    if changes.fell_to_defaults:
        return f"after RELOAD settings fell back to their defaults: {', '.join(changes.fallen)}"
    if expected is not None:
        different = mismatches(expected, before, after)
        if different:
            return f"after RELOAD it is not as its files say: {different[0]}"
    still = [one.name for one in after.databases if leads_to(one, parameters.old)]
    if still and parameters.retarget != "none":
        return f"after RELOAD {', '.join(still)} still leads to the old primary"
    return None
