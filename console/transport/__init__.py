"""Getting from here to a node: SSH, tunnels, remote commands. It knows no pooler and no statement."""
