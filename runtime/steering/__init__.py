"""What a step may compute, and who is preempted."""
