"""Shows a plan: sections of facts, the exact statements, and what to mind. It must not make or run one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from widgets.cells import clean


@dataclass(frozen=True, slots=True)
class Columns:
    """A small table: a line for each of many targets."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    """Columns of numbers: at the right, never broken."""
    whole: frozenset[int] = frozenset()
    """Columns of text that are never broken."""
    urgent: frozenset[int] = frozenset()
    """Rows that must be seen."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One of several that are done in order."""

    where: str
    what: str
    then: str = ""
    """What must be so before the next one is begun."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part, such as one target of an operation."""

    title: str
    facts: Sequence[tuple[str, str]] = ()
    """Label and value; the value wraps."""
    statements: Sequence[str] = ()
    """Numbered in the order they are sent; wrapped, never cut."""
    warnings: Sequence[str] = ()
    """Sentences, each shown with the word `warning`."""
    lines: Sequence[str] = ()
    """Lines as they are, after all else but the table."""
    columns: Columns | None = None
    steps: Sequence[PlannedStep] = ()
    """Numbered."""
    diff: Sequence[str] = ()
    """Lines of a unified diff, each file's after one with its path."""


class PlanView(VerticalScroll, can_focus=True):
    """A scrollable list of sections."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "plan-view--title",
        "plan-view--label",
        "plan-view--statement",
        "plan-view--warning",
        "plan-view--added",
        "plan-view--removed",
        "plan-view--hunk",
    }
    DEFAULT_CSS = """
    PlanView { height: 1fr; background: $surface; color: $foreground; padding: 0 1; }
    PlanView > Static { width: 1fr; height: auto; }
    PlanView > .plan-view--title { color: $text-accent; text-style: bold; }
    PlanView > .plan-view--label { color: $text-muted; }
    PlanView > .plan-view--statement { color: $text-primary; text-style: bold; }
    PlanView > .plan-view--warning { color: $text-warning; text-style: bold; }
    PlanView > .plan-view--added { color: $text-success; }
    PlanView > .plan-view--removed { color: $text-error; }
    PlanView > .plan-view--hunk { color: $text-muted; }
    """

    def __init__(
        self, sections: Sequence[Section] = (), *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._sections = tuple(sections)
        self._body = Static("", markup=False)
        # Textual calls a widget mounted a moment before its component styles can be had.
        self._is_styled = False

    def compose(self) -> ComposeResult:
        """The one widget that holds the text."""
        yield self._body

    @property
    def sections(self) -> tuple[Section, ...]:
        """What is shown."""
        return self._sections

    def show(self, sections: Sequence[Section]) -> None:
        """Show other sections; the scroll position stays, so that moving numbers can be read."""
        self._sections = tuple(sections)
        if self._is_styled and self.is_attached:
            self._draw()

    def on_mount(self) -> None:
        """Draw, now that the theme's colours are known."""
        self._is_styled = True
        self._draw()

    def notify_style_update(self) -> None:
        """Take over another theme's colours."""
        super().notify_style_update()
        if self._is_styled:
            self.call_next(self._draw)

    def _draw(self) -> None:
        parts: list[RenderableType] = []
        for section in self._sections:
            if parts:
                parts.append("")
            parts.append(Text(clean(section.title), style=self._style("title")))
            parts.extend(self._parts(section))
        self._body.update(Group(*parts))

    def _parts(self, section: Section) -> list[RenderableType]:
        parts: list[RenderableType] = []
        if section.facts:
            table = self._table()
            for label, value in section.facts:
                table.add_row("", Text(clean(label), style=self._style("label")), Text(clean(value)))
            parts.append(table)
        if section.statements:
            table = self._table()
            for number, statement in enumerate(section.statements, 1):
                table.add_row("", f"{number}.", Text(clean(statement), style=self._style("statement")))
            parts.append(table)
        for warning in section.warnings:
            table = self._table()
            table.add_row("", Text("warning", style=self._style("warning")), Text(clean(warning)))
            parts.append(table)
        if section.steps:
            parts.append(self._steps(section.steps))
        parts += self._diff(section.diff)
        parts += [Text(f" {clean(line)}") for line in section.lines]
        if section.columns is not None:
            parts.append(self._columns(section.columns))
        return parts

    def _steps(self, steps: Sequence[PlannedStep]) -> RenderableType:
        label, where = self._style("label"), self._style("statement")
        table = self._table()
        table.columns[1].justify = "right"
        for number, step in enumerate(steps, 1):
            words = Text.assemble((clean(step.where), where), "  ", clean(step.what))
            table.add_row("", Text(f"{number}", style=label), words)
            if step.then:
                table.add_row("", "", Text(f"then {clean(step.then)}", style=label))
        return table

    def _diff(self, lines: Sequence[str]) -> list[RenderableType]:
        """Return lines whose sign stands apart, so that what goes on below is not taken for another line."""
        parts: list[RenderableType] = []
        styles = {"+": "added", "-": "removed", "@": "hunk"}
        for line in map(clean, lines):
            sign = line[:1]
            if sign not in (*styles, " ", ""):
                parts.append(Text(f" {line}", style="bold"))
                continue
            style = self._style(styles[sign]) if sign in styles else Style.null()
            row = Table.grid(padding=(0, 1, 0, 0))
            row.add_column(width=2)
            row.add_column(overflow="fold")
            sign, rest = ("", line) if sign == "@" else (sign, line[1:])
            row.add_row(Text(f" {sign}", style=style), Text(rest, style=style))
            parts.append(row)
        return parts

    def _columns(self, columns: Columns) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0))
        for number in range(len(columns.head)):
            right = number in columns.right
            table.add_column(
                justify="right" if right else "left",
                no_wrap=right or number in columns.whole,
                overflow="fold",
            )
        label, urgent = self._style("label"), self._style("warning")
        table.add_row(*(Text(clean(title), style=label) for title in columns.head))
        for place, row in enumerate(columns.rows):
            style = urgent if place in columns.urgent else Style.null()
            table.add_row(*(Text(clean(cell), style=style) for cell in row))
        return Padding(table, (0, 0, 0, 1))

    @staticmethod
    def _table() -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=0)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        return table

    def _style(self, name: str) -> Style:
        return self.get_component_styles(f"plan-view--{name}").partial_rich_style
