"""Starting a pooler that is down: what its host tells of it, its plan, the proof that it serves."""
