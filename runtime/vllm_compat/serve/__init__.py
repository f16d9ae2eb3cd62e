"""`vllm serve` as its user starts it: its command line and configuration. For checks before a start, not for engines."""
