"""What Pooldeck knows about a fleet: frozen values, no IO, no clock, no formatting.

A missing value is `None`, never 0. Units stand in names (`wait_us`, `sent_bytes`).
"""
