"""The interactive console: screens, keys and the bridge from snapshots to widgets."""
