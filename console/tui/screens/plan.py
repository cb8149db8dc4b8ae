"""The plan of one operation: what is sent, what it means, and the one place where a person agrees to it.

The plan is made anew while the screen is open (every second for one target), so its numbers move; when what
it rests on changes, OK locks, and the person reads the new plan. Nothing is sent from here but by a permit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events, on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from console.errors import PooldeckError, UsageError
from console.guard.request import Request
from console.guard.verdict import Allow, Confirm, Deny, Tier, Verdict
from console.model.version import Version
from console.operations.plan import Plan
from console.operations.secrets_wanted import PROMPT
from console.operations.service import OperationService
from console.tui import keys
from console.tui.parts import content
from console.tui.plan_text import ascii_section, plan_sections, what_moved
from console.tui.screens.base import BACK, DeckScreen
from console.tui.screens.runs import RunScreen
from console.tui.screens.secret import SecretScreen, Typed, refuse_descriptors, typeable, wants
from console.tui.textual_quirks import while_widgets_leave
from console.tui.wishes import Wish
from console.view.cells import Cell, Tone
from widgets import confirm
from widgets.plan_view import PlanView, Section

REPLAN_S = 1.0
FEW = 5
"""More targets than this are planned anew three times as seldom as one, or less."""
REPLAN_PROBED_S = 5.0
"""For versions whose state is learnt by a probe that leaves a line in the pooler's log (below 1.19)."""
PLAN_LIMIT_S = 15.0
"""For one plan; a bouncer that answers slower than this is told as such."""
CHANGED_LOCK_S = 2.0
"""How long OK stays locked after the plan changed under the reader's eyes."""


class PlanScreen(DeckScreen):
    """Shows a plan, asks, starts the run."""

    KEYS = keys.PLAN
    AUTO_FOCUS: ClassVar[str | None] = "#confirm-cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        BACK,
        # First of all, since everything else typed goes to the phrase.
        Binding("question_mark", "help_here", "Help", key_display="?", priority=True),
        Binding("pageup", "scroll(-1)", "Up", key_display="PgUp", id="plan.up"),
        Binding("pagedown", "scroll(1)", "Down", key_display="PgDn", id="plan.down"),
    ]

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self._wish = wish
        self._reason = wish.reason
        self._request: Request | None = None
        """Who asks, and why: as it was judged."""
        self._plan: Plan | None = None
        self._verdict: Verdict | None = None
        self._view: PlanView | None = None
        self._submitted = False
        self._secrets: Typed = {}
        """Secrets for the run, from when they were typed until it is begun or the plan is left."""
        self._asks_secrets = False
        """OK leads to typing them."""

    @property
    def place(self) -> str:
        """In the banner."""
        return f"plan: {self._wish.op} {self._wish.selector}"

    @property
    def takes_typing(self) -> bool:
        """A plan that asks for a phrase, a reason or a secret gets every key of it."""
        if isinstance(self._verdict, Confirm):
            return self._asks_secrets or self._verdict.phrase is not None
        return super().takes_typing

    def body(self) -> Iterable[Widget]:
        """A word while the plan is made; then the plan."""
        with Vertical(id="plan-body"):
            yield self._planning_note()

    def _planning_note(self) -> Static:
        return Static(f"Making the plan: {self._wish.op} {self._wish.selector}", id="planning", markup=False)

    def on_mount(self) -> None:
        """Start planning."""
        super().on_mount()
        self._keep_planning()

    def on_screen_resume(self) -> None:
        """Have a guardian ready by the time that this is agreed to."""
        super().on_screen_resume()
        self._service.expect(self._wish.op)

    def on_unmount(self) -> None:
        """Left without a run, there is nothing to guard."""
        self._secrets = {}
        if not self._submitted:
            self._service.expect_nothing()

    @property
    def _service(self) -> OperationService:
        service = self.deck.service
        assert service is not None, "the app opens this screen only with a service"
        return service

    @work(exclusive=True, group="plan")
    async def _keep_planning(self) -> None:
        wish = self._wish
        while True:
            try:
                async with asyncio.timeout(PLAN_LIMIT_S):
                    plan = await self._service.plan(
                        wish.op,
                        wish.selector,
                        rollout=wish.rollout,
                        progress=self._planning,
                        **wish.parameters,
                    )
                    refuse_descriptors(plan)
            except UsageError as error:
                await self._cannot_plan(_with_hint(error), again=False)
                return
            except PooldeckError as error:
                await self._cannot_plan(_with_hint(error))
            except TimeoutError:
                await self._cannot_plan(f"{wish.selector} did not answer within {PLAN_LIMIT_S:g} s")
            else:
                await self._take(plan)
            await asyncio.sleep(interval_s(self._plan))

    def _planning(self, far: str) -> None:
        """Tell how far the first plan is; a later one takes the place of one that can be read meanwhile."""
        if self._plan is None and self.is_mounted:
            for note in self.query("#planning").results(Static):
                note.update(f"Making the plan: {self._wish.op} {self._wish.selector}: {far}")

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
        self._request = self._service.request(self._reason)
        verdict = self._service.judge(plan, self._request)
        old, self._plan = self._plan, plan
        shape, self._verdict = _shape(self._verdict), verdict
        asked, self._asks_secrets = self._asks_secrets, isinstance(verdict, Confirm) and self._lacks(plan)
        moved = old is not None and old.hash != plan.hash
        if self._view is None or old is None or (shape, asked) != (_shape(verdict), self._asks_secrets):
            if moved and old is not None:
                self.notify(f"The plan is new: {what_moved(old, plan)}", severity="warning", markup=False)
            await self._build(plan, verdict)
            return
        self._view.show(self._sections(plan))
        panel = self._panel
        if panel is not None and isinstance(verdict, Confirm) and not self._asks_secrets:
            panel.ask_for(_question(verdict), verdict.phrase, verdict.accepts)
        if moved:
            self.notify(f"The plan is new: {what_moved(old, plan)}", severity="warning", markup=False)
            self._lock(f"the plan changed, read it again: {what_moved(old, plan)}")
            self.set_timer(CHANGED_LOCK_S, self._unlock)
        elif self._locked_by_error:
            self._unlock()

    def _sections(self, plan: Plan) -> Sequence[Section]:
        sections = plan_sections(plan, self.app.size.width, self._reason)
        return [ascii_section(section) for section in sections] if self.deck.ascii_only else sections

    def on_resize(self, event: events.Resize) -> None:
        """Lay the plan out for another width."""
        super().on_resize(event)
        if self._plan is not None and self._view is not None:
            self._view.show(self._sections(self._plan))

    async def _build(self, plan: Plan, verdict: Verdict) -> None:
        """Lay the screen out for a verdict."""
        view = self._view = PlanView(self._sections(plan))
        if isinstance(verdict, Confirm) and self._asks_secrets:
            title = f"{_question(verdict)} {wants(typeable(plan))}"
            panel = confirm.Confirm(
                title, view, ok_label="Type it", focus_on="ok", typed_later="Press Enter first; then type it."
            )
            await self._replace_body([panel])
            return
        if isinstance(verdict, Confirm):
            panel = confirm.Confirm(
                _question(verdict),
                view,
                phrase=verdict.phrase,
                accepts=verdict.accepts,
                arm_after_s=verdict.arm_after_s,
                ok_label=plan.spec.verb.title,
                focus_on="ok" if verdict.tier <= Tier.HARMLESS and not verdict.arm_after_s else "cancel",
            )
            await self._replace_body([panel])
            return
        ascii_only = self.deck.ascii_only
        line = Static(content(_explain(verdict), ascii_only=ascii_only), id="verdict", markup=False)
        if _wants_reason(verdict):
            entry = Input(placeholder="why this is done; kept in the audit log", id="reason")
            await self._replace_body([line, entry, view])
            entry.focus()
            return
        await self._replace_body([line, view])
        view.focus()

    @on(Input.Submitted, "#reason")
    async def _reasoned(self, message: Input.Submitted) -> None:
        """Go on to the question with the reason that was given."""
        message.stop()
        reason = message.value.strip()
        if reason and self._plan is not None:
            self._reason = reason
            await self._take(self._plan)

    # -- secrets ------------------------------------------------------------------------------

    def _lacks(self, plan: Plan) -> bool:
        return any(one.is_typed and one.which not in self._secrets for one in typeable(plan))

    def _ask_secrets(self, plan: Plan) -> None:
        wanted = typeable(plan)
        screen = SecretScreen(plan.title, wanted, ascii_only=self.deck.ascii_only)

        async def take(typed: Typed | None) -> None:
            if typed is None:
                # The panel has been answered: another one, of the newest plan.
                if self._plan is not None and self._verdict is not None:
                    await self._build(self._plan, self._verdict)
                return
            self._secrets = typed
            given = {one.parameter: PROMPT for one in wanted if one.which in typed}
            self._wish = replace(self._wish, parameters={**self._wish.parameters, **given})
            # What is known of secrets is part of the plan: it is made anew before it can be agreed to.
            self._plan = self._view = None
            await self._replace_body([self._planning_note()])
            self._keep_planning()

        self.app.push_screen(screen, take)

    # -- the body -----------------------------------------------------------------------------

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
        if self._asks_secrets:
            self._ask_secrets(plan)
            return
        self.workers.cancel_group(self, "plan")
        answer = "name typed" if message.phrase else "reviewed"
        try:
            permit = self._service.permit(
                plan, verdict, message.phrase or None, request=self._request, answer=answer
            )
            run = self._service.submit(plan, permit, self._secrets)
            self._submitted = True
        except PooldeckError as error:
            self.deck.complain(error)
            self.deck.go_back()
            return
        self.app.switch_screen(RunScreen(run))

    @on(confirm.Confirm.Cancelled)
    def _declined(self, message: confirm.Confirm.Cancelled) -> None:
        message.stop()
        self.deck.go_back()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave `?` to what is typed where it may be meant."""
        if action == "help_here":
            phrase = self._verdict.phrase if isinstance(self._verdict, Confirm) else None
            return "?" not in (phrase or "") and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    def action_help_here(self) -> None:
        """Tell this screen's keys."""
        self.deck.action_help()

    def action_scroll(self, pages: int) -> None:
        """Scroll the plan while the focus stays on the answer."""
        panel = self._panel
        page = panel.query_one(".confirm--body") if panel is not None else self._view
        if page is not None:
            page.scroll_relative(y=pages * max(1, page.size.height - 1), animate=False)


def _with_hint(error: PooldeckError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _question(verdict: Confirm) -> str:
    return f"{verdict.question}."


def _shape(verdict: Verdict | None) -> object:
    """What decides the layout: the kind of verdict and what it asks for, not its moving numbers."""
    if isinstance(verdict, Confirm):
        return verdict.tier, verdict.name, verdict.count is None, verdict.arm_after_s
    return type(verdict), getattr(verdict, "reason", None)


def interval_s(plan: Plan | None) -> float:
    """Return how long a plan stands before it is made anew: each one opens sessions on every bouncer."""
    if plan is None:
        return REPLAN_S
    count = plan.target_count
    times = 1.0 if count <= 1 else 2.0 if count <= FEW else max(3.0, count / 10)
    versions = [Version.parse(item.version) for item in plan.targets]
    probed = any(version is not None and version < Version(1, 19) for version in versions)
    return max(REPLAN_PROBED_S if probed else 0.0, REPLAN_S * times)


def _wants_reason(verdict: Verdict) -> bool:
    return isinstance(verdict, Deny) and verdict.rule == "policy.reason"


def _explain(verdict: Allow | Deny) -> list[Cell]:
    if _wants_reason(verdict):
        return [Cell(f"{getattr(verdict, 'reason', '')}. Type it, then Enter; Esc goes back.", Tone.WARN)]
    if isinstance(verdict, Deny):
        hint = f"; {verdict.hint}" if verdict.hint else ""
        return [Cell(f"Refused: {verdict.reason} ({verdict.rule}){hint}. Esc goes back.", Tone.BAD)]
    return [Cell("No change: it already is as wanted, nothing would be sent. Esc goes back.", Tone.GOOD)]
