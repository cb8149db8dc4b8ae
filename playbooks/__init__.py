"""Runbooks shipped with the program, as TOML beside this file."""
