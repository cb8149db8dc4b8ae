"""The pause lease: what ends a pause of ours when nobody else does (design.md, 5)."""
