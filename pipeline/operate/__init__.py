"""For the operators of a server: checks before its start and while it runs."""
