"""A real fleet on loopback: Postgres, poolers, sshd and load; and a wire-level simulator."""
