"""The waiting queue: its order by value, its free room, and the bounds on waits."""
