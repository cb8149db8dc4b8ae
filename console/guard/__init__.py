"""Policy, verdicts and permits: whether an operation may run. It sends nothing."""
