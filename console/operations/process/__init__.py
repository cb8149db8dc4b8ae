"""A pooler's process on its host: how it is supervised, what /proc tells of it, its stop and start."""
