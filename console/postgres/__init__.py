"""Postgres nodes, read with asyncpg. It changes nothing on a server but by an operation."""
