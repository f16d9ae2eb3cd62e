"""`vllm serve` as its user starts it: command line, configuration, combinations. For checks, not for engines."""
