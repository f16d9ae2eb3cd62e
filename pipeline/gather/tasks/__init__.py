"""The task suite: a module a kind of task, each drafting sessions from templates and parameters."""
