"""The plan of one operation: what is sent, what it means, and the one place where a person agrees to it.

The plan is made anew every second while the screen is open, so its numbers move; when what it rests on
changes, OK locks, and the person reads the new plan. Nothing is sent from here but through a permit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from console.errors import PooldeckError, UsageError
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from console.model.version import Version
from console.operations.plan import Plan
from console.operations.service import OperationService
from console.tui.parts import content
from console.tui.plan_text import plan_sections, what_moved
from console.tui.screens.base import BACK, DeckScreen
from console.tui.screens.runs import RunScreen
from console.tui.sources import to_ascii
from console.tui.textual_quirks import while_widgets_leave
from console.view.cells import Cell, Tone
from widgets import confirm
from widgets.plan_view import PlanView, Section

REPLAN_S = 1.0
REPLAN_PROBED_S = 5.0
"""For versions whose state is learnt by a probe that leaves a line in the pooler's log (below 1.19)."""
PLAN_LIMIT_S = 15.0
"""For one plan; a bouncer that answers slower than this is told as such."""
CHANGED_LOCK_S = 2.0
"""How long OK stays locked after the plan changed under the reader's eyes."""


class PlanScreen(DeckScreen):
    """Shows a plan, asks, starts the run."""

    AUTO_FOCUS: ClassVar[str | None] = "#confirm-cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        Binding("pageup", "scroll(-1)", "Plan up", key_display="PgUp", id="plan.up"),
        Binding("pagedown", "scroll(1)", "Plan down", key_display="PgDn", id="plan.down"),
    ]

    def __init__(self, op: str, selector: str) -> None:
        super().__init__()
        self._op = op
        self._selector = selector
        self._plan: Plan | None = None
        self._verdict: Verdict | None = None
        self._view: PlanView | None = None

    @property
    def place(self) -> str:
        """In the banner."""
        return f"plan: {self._op} {self._selector}"

    @property
    def takes_typing(self) -> bool:
        """A plan that asks for a phrase gets every key of it."""
        return isinstance(self._verdict, Confirm) and self._verdict.phrase is not None

    def body(self) -> Iterable[Widget]:
        """A word while the plan is made; then the plan."""
        with Vertical(id="plan-body"):
            yield Static(f"Making the plan: {self._op} {self._selector}", id="planning", markup=False)

    def on_mount(self) -> None:
        """Start planning."""
        super().on_mount()
        self._keep_planning()

    @property
    def _service(self) -> OperationService:
        service = self.deck.service
        assert service is not None, "the app opens this screen only with a service"
        return service

    @work(exclusive=True, group="plan")
    async def _keep_planning(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PLAN_LIMIT_S):
                    plan = await self._service.plan(self._op, self._selector)
            except UsageError as error:
                await self._cannot_plan(_with_hint(error), again=False)
                return
            except PooldeckError as error:
                await self._cannot_plan(_with_hint(error))
            except TimeoutError:
                await self._cannot_plan(f"{self._selector} did not answer within {PLAN_LIMIT_S:g} s")
            else:
                await self._take(plan)
            await asyncio.sleep(_interval_s(self._plan))

    async def _cannot_plan(self, reason: str, *, again: bool = True) -> None:
        if self._plan is None:
            end = "Esc goes back; it is tried again." if again else "Esc goes back."
            text = content(
                [Cell(f"This cannot be planned: {reason}\n\n{end}", Tone.BAD)],
                ascii_only=self.deck.ascii_only,
            )
            note = Static(id="planning", markup=False)
            note.update(text)
            await self._replace_body([note])
        else:
            self._lock(f"it cannot be planned now: {reason}")

    async def _take(self, plan: Plan) -> None:
        """Show a plan: the first one, newer numbers of the same one, or one of a changed world."""
        if self not in self.app.screen_stack:
            return
        verdict = self._service.judge(plan)
        old, self._plan = self._plan, plan
        shape, self._verdict = _shape(self._verdict), verdict
        if self._view is None or old is None or shape != _shape(verdict):
            if old is not None:
                self.notify(f"The plan is new: {what_moved(old, plan)}", severity="warning", markup=False)
            await self._build(plan, verdict)
            return
        self._view.show(self._sections(plan))
        if old.hash != plan.hash:
            self.notify(f"The plan is new: {what_moved(old, plan)}", severity="warning", markup=False)
            self._lock(f"the plan changed, read it again: {what_moved(old, plan)}")
            self.set_timer(CHANGED_LOCK_S, self._unlock)
        elif self._locked_by_error:
            self._unlock()

    def _sections(self, plan: Plan) -> Sequence[Section]:
        sections = plan_sections(plan)
        if not self.deck.ascii_only:
            return sections
        return [
            Section(
                to_ascii(section.title),
                [(to_ascii(label), to_ascii(value)) for label, value in section.facts],
                [to_ascii(statement) for statement in section.statements],
                [to_ascii(warning) for warning in section.warnings],
            )
            for section in sections
        ]

    async def _build(self, plan: Plan, verdict: Verdict) -> None:
        """Lay the screen out for a verdict."""
        view = self._view = PlanView(self._sections(plan))
        if isinstance(verdict, Confirm):
            panel = confirm.Confirm(
                f"{verdict.question}.",
                view,
                phrase=verdict.phrase,
                arm_after_s=verdict.arm_after_s,
                ok_label=plan.op.capitalize(),
                focus_on="ok" if verdict.tier <= Tier.HARMLESS and not verdict.arm_after_s else "cancel",
            )
            await self._replace_body([panel])
            return
        ascii_only = self.deck.ascii_only
        line = Static(content(_explain(verdict), ascii_only=ascii_only), id="verdict", markup=False)
        await self._replace_body([line, view])
        view.focus()

    async def _replace_body(self, widgets: Sequence[Widget]) -> None:
        with while_widgets_leave():
            body = self.query_one("#plan-body")
            await body.remove_children()
            await body.mount(*widgets)

    @property
    def _panel(self) -> confirm.Confirm | None:
        panels = list(self.query(confirm.Confirm).results(confirm.Confirm))
        return panels[0] if panels else None

    @property
    def _locked_by_error(self) -> bool:
        panel = self._panel
        return panel is not None and (panel.locked or "").startswith("it cannot be planned")

    def _lock(self, reason: str) -> None:
        panel = self._panel
        if panel is not None:
            panel.lock_ok(reason)

    def _unlock(self) -> None:
        panel = self._panel
        if panel is not None and panel.locked is not None:
            panel.unlock_ok()

    @on(confirm.Confirm.Confirmed)
    def _agreed(self, message: confirm.Confirm.Confirmed) -> None:
        message.stop()
        plan, verdict = self._plan, self._verdict
        assert plan is not None
        assert verdict is not None
        self.workers.cancel_group(self, "plan")
        answer = "name typed" if message.phrase else "reviewed"
        try:
            permit = self._service.permit(plan, verdict, message.phrase or None, answer=answer)
            run = self._service.submit(plan, permit)
        except PooldeckError as error:
            self.deck.complain(error)
            self.deck.go_back()
            return
        self.app.switch_screen(RunScreen(run))

    @on(confirm.Confirm.Cancelled)
    def _declined(self, message: confirm.Confirm.Cancelled) -> None:
        message.stop()
        self.deck.go_back()

    def action_scroll(self, pages: int) -> None:
        """Scroll the plan while the focus stays on the answer."""
        panel = self._panel
        page = panel.query_one(".confirm--body") if panel is not None else self._view
        if page is not None:
            page.scroll_relative(y=pages * max(1, page.size.height - 1), animate=False)


def _with_hint(error: PooldeckError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _shape(verdict: Verdict | None) -> object:
    """What decides the layout: the kind of verdict and what it asks for, not its moving numbers."""
    if isinstance(verdict, Confirm):
        return verdict.tier, verdict.phrase, verdict.arm_after_s
    return type(verdict), getattr(verdict, "reason", None)


def _interval_s(plan: Plan | None) -> float:
    versions = [Version.parse(item.version) for item in plan.targets] if plan is not None else []
    probed = any(version is not None and version < Version(1, 19) for version in versions)
    return REPLAN_PROBED_S if probed else REPLAN_S


def _explain(verdict: Allow | Deny) -> list[Cell]:
    if isinstance(verdict, Deny):
        return [Cell(f"Refused: {verdict.reason} ({verdict.rule}). Esc goes back.", Tone.BAD)]
    return [Cell("No change: it already is as wanted, nothing would be sent. Esc goes back.", Tone.GOOD)]
