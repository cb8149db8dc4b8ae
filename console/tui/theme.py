"""Pooldeck's two themes, and the one table that turns a view's tone into a style of theirs.

Every colour on screen comes from here or from a variable of the theme; screens name none. Contrast of
text on its ground is at least 4.5 : 1 in both themes (a test computes it).
"""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

from console.view.cells import Tone

DARK: Final = Theme(
    name="pooldeck-dark",
    primary="#6cb6ff",
    secondary="#8fa3bf",
    accent="#7ee0d0",
    warning="#f2c14e",
    error="#ff7b72",
    success="#5fd37a",
    foreground="#dfe5ee",
    background="#10151c",
    surface="#151b24",
    panel="#212b38",
    dark=True,
    variables={
        "block-cursor-background": "#2f4d73",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#26303e",
        "footer-background": "#212b38",
        "footer-key-foreground": "#7ee0d0",
        "footer-description-foreground": "#dfe5ee",
        "text-muted": "#9aa7b8",
        "text-success": "#5fd37a",
        "text-warning": "#f2c14e",
        "text-error": "#ff8f87",
        "text-accent": "#7ee0d0",
        "text-primary": "#8cc6ff",
        "primary-muted": "#2a4364",
    },
)
LIGHT: Final = Theme(
    name="pooldeck-light",
    primary="#1f5fae",
    secondary="#51627a",
    accent="#0b6b62",
    warning="#8a5a00",
    error="#b3261e",
    success="#007a33",
    foreground="#1b2430",
    background="#f7f8fa",
    surface="#ffffff",
    panel="#cbd3dd",
    dark=False,
    variables={
        "block-cursor-background": "#1f5fae",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-blurred-background": "#c6d3e3",
        "footer-background": "#cbd3dd",
        "footer-key-foreground": "#0b6b62",
        "footer-description-foreground": "#1b2430",
        "text-muted": "#4a5566",
        "text-success": "#007a33",
        "text-warning": "#7a4f00",
        "text-error": "#b3261e",
        "text-accent": "#075e56",
        "text-primary": "#1f5fae",
        "primary-muted": "#b4cfee",
    },
)
THEMES: Final = (DARK, LIGHT)

TONE_NAMES: Final[dict[Tone, str]] = {
    Tone.DIM: "dim",
    Tone.GOOD: "ok",
    Tone.WARN: "warning",
    Tone.BAD: "error",
    Tone.INFO: "accent",
}
"""Names that `widgets` understand; a tone that is missing here is drawn without a style."""

TONE_STYLES: Final[dict[Tone, str]] = {
    Tone.PLAIN: "",
    Tone.DIM: "$text-muted",
    Tone.GOOD: "$text-success",
    Tone.WARN: "$text-warning",
    Tone.BAD: "bold $text-error",
    Tone.INFO: "$text-accent",
    Tone.STRONG: "bold",
}
"""Styles for `textual.content.Content`, in the theme's own variables."""
