"""The operator as a task runs it."""
