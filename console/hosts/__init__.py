"""The machines that poolers run on: commands there, and what their `/proc` tells of processes."""
