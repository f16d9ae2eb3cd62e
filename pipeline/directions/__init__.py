"""Directions that papers report, tried on today's vLLM: the second half of `make compare`."""
