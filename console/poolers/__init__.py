"""Poolers' admin consoles: sessions and dialects. Reading and writing use different connections."""
