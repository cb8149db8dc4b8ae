"""Pooldeck: an operations console for fleets of PostgreSQL connection poolers."""

__version__ = "0.1.0"
