"""Restarting a pooler: which method fits, what it does, and the proof that the new process serves."""
