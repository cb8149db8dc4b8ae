"""From samples to snapshots: one task a node, rates, history, the store. It writes to no node."""
