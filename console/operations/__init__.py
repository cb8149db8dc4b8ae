"""The operations engine: registry, plan, executor, service. The only holder of an AdminWriter."""
