"""The waiting queue: its order by value, and the bounds on waits."""
