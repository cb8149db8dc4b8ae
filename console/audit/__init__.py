"""The append-only, hash-chained journal of what was done."""
