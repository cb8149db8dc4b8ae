"""Screens, one a module. A screen shows and asks; it never acts on a pooler."""
