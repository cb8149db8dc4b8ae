"""A planned switchover: the bouncers of a Postgres node are held while a replica takes its place."""
