"""One line that says where you are: a word that must be read, and some detail.

Must not know what environments there are; the tone is given.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from textual.content import Content
from textual.widgets import Static

from widgets.cells import clean

BannerTone: TypeAlias = Literal["calm", "caution", "danger"]


class Banner(Static):
    """The environment banner: the word in capitals and a colour, so that neither is needed alone."""

    DEFAULT_CSS = """
    Banner { height: 1; width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    Banner.-calm { background: $success-muted; color: $text-success; }
    Banner.-caution { background: $warning-muted; color: $text-warning; }
    Banner.-danger { background: $error; color: $text; }
    """
    ALLOW_SELECT = False

    def __init__(
        self,
        word: str = "",
        detail: str = "",
        tone: BannerTone = "calm",
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self.say(word, detail, tone)

    def say(self, word: str, detail: str, tone: BannerTone) -> None:
        """Change what is said. `word` is shown in capitals; either text may be empty."""
        self.word, self.detail, self.tone = word, detail, tone
        for name in ("calm", "caution", "danger"):
            self.set_class(name == tone, f"-{name}")
        gap = "  " if word and detail else ""
        self.update(Content.assemble((clean(word.upper()), "bold"), gap + clean(detail)))
